"""What a loss is told of the images that train, and the losses and settings that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotag.data.splits import Roles
from cotag.errors import SettingError
from cotag.models.heads.linear import LinearHead
from cotag.recipe import Recipe
from cotag.run.checks import check_recipe
from cotag.run.losses import as_taught, head_criteria, label_counts, require_loss, whole_criterion
from cotag.training.features import FeatureSet
from cotag.training.head_fit import CachedHead, Part
from cotag.training.label_counts import LabelCounts
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

COUNTS = {"positive": [30, 12, 4], "unknown": [30, 11, 4], "absent": [30, 11, 4]}


@pytest.fixture
def index() -> Index:
    """40 images of three labels: 30, 11 and 4 present, one difficult and five unknown."""
    random = np.random.default_rng(0)
    places = [set(random.permutation(40)[:count].tolist()) for count in (30, 11, 4)]
    positives = [[k for k in range(3) if row in places[k]] for row in range(40)]
    free = [[row for row in range(40) if row not in places[k]] for k in range(3)]
    difficult = [[1] if row == free[1][0] else [] for row in range(40)]
    unknowns = [[2] if row in free[2][:5] else [] for row in range(40)]
    columns = {
        "image": [f"{row}.jpg" for row in range(40)],
        "positives": positives,
        "difficult": difficult,
        "unknowns": unknowns,
    }
    return Index.build(columns, LabelSpace(("a", "b", "c")))


def recipe(*overrides: str) -> Recipe:
    return Recipe.load("quick", ["train.optimizer=adamw", *overrides])


def roles(train: int = 40) -> Roles:
    rows = np.arange(40)
    return Roles(rows[:train], rows[train:], rows, ("", "", ""))


@pytest.mark.parametrize("difficult", COUNTS)
def test_counts_of_rows_are_those_of_their_targets(index: Index, difficult: str) -> None:
    rows = np.arange(3, 37)
    found = label_counts(index, rows, recipe(f"data.difficult={difficult}"))
    wanted = LabelCounts.of(index.targets(rows, difficult))
    assert found.present_K.tolist() == wanted.present_K.tolist()
    assert found.known_K.tolist() == wanted.known_K.tolist()
    assert (
        label_counts(index, np.arange(40), recipe(f"data.difficult={difficult}")).present_K.tolist()
        == (COUNTS[difficult])
    )


def test_weights_come_from_the_images_that_train(index: Index) -> None:
    given = recipe("train.loss_args={positive_weight: balanced, infrequent_weight: 1.2}", "train.mode=end_to_end")
    loss = whole_criterion(given, LinearHead(4, 3), index, np.arange(40)).loss
    torch.testing.assert_close(loss.positive_weights_K, torch.tensor([10 / 30, 28 / 11, 31 / 4]))
    # Fewer than 20 images: b and c.
    torch.testing.assert_close(loss.weights_K, torch.tensor([1.0, 1.2, 1.2]))


def test_on_features_each_fit_counts_its_own_images_and_none_changes_what_is_infrequent(index: Index) -> None:
    parts = {
        name: Part(FeatureSet(np.zeros((len(rows), 4), np.float32), rows, {}, 0), index.targets(rows))
        for name, rows in (("train", np.arange(20)), ("choose", np.arange(20, 40)))
    }
    given = recipe("train.loss_args={positive_weight: balanced, infrequent_weight: 1.2}", "train.l1=0.25")
    make = head_criteria(given, parts)
    model = CachedHead(LinearHead(4, 3))
    counts = LabelCounts.of(parts["train"].targets_NK)
    assert (counts.present_K < 20).all()
    found = make(model, counts)
    assert found.l1 == 0.25
    torch.testing.assert_close(found.loss.weights_K, torch.tensor([1.0, 1.2, 1.2]))
    wanted = (counts.known_K - counts.present_K) / counts.present_K
    torch.testing.assert_close(found.loss.positive_weights_K, torch.from_numpy(wanted).float())


@pytest.mark.parametrize(
    ("overrides", "absent"),
    [
        ([], False),
        (["train.loss_args={infrequent_weight: 1.2}"], False),
        (["train.loss=zlpr"], False),
        (["train.loss=assume_negative"], True),
        (["train.loss=hill"], True),
        (["train.loss=hill", "train.loss_args.unknown=left_out"], False),
    ],
)
def test_training_begins_at_the_base_rate_of_what_the_loss_teaches(overrides: list[str], absent: bool) -> None:
    targets = np.array([[1, -1, 0], [-1, 1, 0]], dtype=np.int8)
    found = as_taught(recipe(*overrides), LabelCounts.of(targets), len(targets))
    assert found.present_K.tolist() == [1, 1, 0]
    assert found.known_K.tolist() == ([2, 2, 2] if absent else [1, 1, 2])


REFUSED: dict[str, tuple[list[str], str]] = {
    "too few weights": (
        ["train.loss_args.weights=[1, 2]"],
        "loss_args.weights: 2 weights are given for 3 labels; give one for each",
    ),
    "too many positive weights": (
        ["train.loss_args.positive_weight=[1, 2, 3, 4]"],
        "loss_args.positive_weight: 4 weights are given for 3 labels; give one for each",
    ),
    "a weight below 0": (
        ["train.loss_args.weights=[1, -2, 1]"],
        "loss_args.weights = -2: a weight must be a number of 0 or more",
    ),
    "a weight that is text": (
        ["train.loss_args.weights=[1, x, 1]"],
        "loss_args.weights = 'x': a weight must be a number of 0 or more",
    ),
    "another word": (
        ["train.loss_args.positive_weight=balance"],
        "loss_args.positive_weight = 'balance': must be a number, one for each label, or balanced",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_loss_that_does_not_fit_is_refused_before_any_work(index: Index, name: str) -> None:
    overrides, said = REFUSED[name]
    with pytest.raises(SettingError) as caught:
        require_loss(recipe(*overrides), index, roles())
    assert str(caught.value) == said


def test_a_weight_for_infrequent_labels_needs_some(index: Index) -> None:
    many = Index.build(
        {"image": [f"{row}.jpg" for row in range(40)], "positives": [[0, 1, 2]] * 40}, LabelSpace(("a", "b", "c"))
    )
    require_loss(recipe("train.loss_args.infrequent_weight=1.2"), index, roles())
    with pytest.raises(SettingError, match=r"infrequent_weight = 1\.2: none of the 3 labels is infrequent"):
        require_loss(recipe("train.loss_args.infrequent_weight=1.2"), many, roles())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.loss_args.counts_K=[1, 2, 3]"], "train.loss_args.counts_K: is counted on the images that train"),
        (["train.loss_args.weight=[1]"], "loss bce: setting 'weight' is not known; did you mean weights?"),
        (["train.loss=asymmetric", "train.loss_args.weights=[1]"], "loss asymmetric: setting 'weights' is not known"),
    ],
)
def test_settings_that_a_loss_does_not_take(overrides: list[str], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_recipe(recipe(*overrides))
    assert said in str(caught.value)


def test_the_solver_knows_no_such_penalty() -> None:
    with pytest.raises(SettingError, match=r"train\.l1: train\.optimizer = lbfgs does not use it"):
        check_recipe(Recipe.load("quick", ["train.l1=0.1"]))
    with pytest.raises(SettingError, match=r"train\.l1 = -1"):
        Recipe.load("quick", ["train.l1=-1"])
