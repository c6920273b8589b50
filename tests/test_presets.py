"""The recipes that ship: each says how to run it, and builds."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from cotag.data.augmentations import build_augmentations
from cotag.data.splits import assign_roles
from cotag.models.tagger import Tagger, build_tagger, head_needs
from cotag.recipe import Recipe, presets
from cotag.registry import LOSSES, OPTIMIZERS, SCHEDULES
from cotag.run.checks import check_recipe
from cotag.run.train import make_tagger
from cotag.training.optim import parameter_groups
from cotag.training.schedules import factor
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

PUBLISHED = ["csra", "gmp-resnet101", "mlgcn-coco", "mlgcn-repro", "mlgcn-voc07", "mldecoder-tresnet", "q2l"]
PSG = ["psg-resnet101", "psg-resnet50", "psg-swin-b"]
NAMES = sorted(["finetune", "longtail", "quick", "scenes-tiny", *PUBLISHED, *PSG])
LABELS = LabelSpace(("a", "b", "c"))
REPOSITORY = Path(__file__).resolve().parents[1]


def test_how_many_there_are() -> None:
    files = [file.name for file in (resources.files("cotag") / "recipes").iterdir() if file.name.endswith(".yaml")]
    assert sorted(files) == [f"{name}.yaml" for name in NAMES]
    assert list(presets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_command_hardware_minutes_and_what_to_expect(name: str) -> None:
    text = (resources.files("cotag") / "recipes" / f"{name}.yaml").read_text("utf-8")
    header = "\n".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    assert re.match(rf"cotag .*\b{name}\b.*: \w+", header)
    assert re.search(r"^Hardware: \w+", header, re.MULTILINE)
    assert re.search(r"\bMinutes: [^.]*\d", header)
    expected = re.search(r"^Expected: (.+)", header, re.MULTILINE | re.DOTALL)
    assert expected is not None
    for page in re.findall(r"\b(?:docs|benchmarks)/[\w.]+\w", header):
        assert (REPOSITORY / page).is_file(), f"{name} names {page}, which is not there"
    assert presets()[name] == header.splitlines()[0]


def tiny_tagger(recipe: Recipe) -> Tagger:
    """The recipe's model with a small backbone and a narrow head; graph and vectors are given to what needs them."""
    model, size = recipe.model, {"image_size": recipe.data.image_size, "resize": recipe.data.resize}
    narrow = {"width": 16, "feedforward": 32} if "width" in model.head_args else {}
    if not head_needs(model.head) and not narrow:
        return make_tagger(recipe, LABELS)
    supplies = {"graph": torch.eye(3).to_sparse_coo().coalesce(), "vectors": torch.rand(3, 300)}
    args = {**model.head_args, **narrow}
    return build_tagger(LABELS, model.backbone, model.head, {}, model.weights, args, size, supplies)


@pytest.mark.parametrize("name", NAMES)
def test_it_builds_a_tiny_model_that_can_be_trained(name: str, tiny: list[str]) -> None:
    recipe = Recipe.load(name, tiny)
    check_recipe(recipe)
    tagger = tiny_tagger(recipe)
    assert tagger.preprocessing.image_size == 48
    assert len(build_augmentations(recipe.data.augment, 48)) == len(recipe.data.augment)
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    logits = tagger(images).logits_BK
    assert logits.shape == (2, 3)
    given = recipe.train
    known = {"infrequent_K": np.array([False, True, True])} if "infrequent_weight" in given.loss_args else {}
    assert LOSSES.build(given.loss, **given.loss_args, **known)(logits, torch.ones(2, 3)).shape == (2, 3)
    assert 0 <= SCHEDULES.build(given.schedule, **given.schedule_args)(0.5) <= 1
    if given.optimizer != "lbfgs":
        groups = parameter_groups(tagger, given.learning_rate, given.backbone_rate, 0.1)
        assert OPTIMIZERS.build(given.optimizer, groups, **given.optimizer_args).param_groups


# Those that repeat published work


@pytest.mark.parametrize("name", [*PUBLISHED, *PSG])
def test_a_published_recipe_says_whose_number_it_expects_and_whether_it_was_run(name: str) -> None:
    text = (resources.files("cotag") / "recipes" / f"{name}.yaml").read_text("utf-8")
    header = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    expected = header.split("Expected: ")[1]
    assert re.search(r"0\.\d{3}", expected)
    assert "not run here" in expected
    assert re.search(r"authors|CVPR|ICCV|reproduction|report of", expected)
    assert ("Needs: glove.6B.300d.txt" in header) == ("vectors" in head_needs(Recipe.load(name).model.head))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_begins_at_weights_that_timm_has_and_at_448_pixels(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.model.weights == "hub"
    assert recipe.model.backbone in timm.list_models(pretrained=True)
    assert (recipe.data.image_size, recipe.data.resize) == (448, "squash")
    assert recipe.train.mode == "end_to_end"


@pytest.mark.parametrize("name", PSG)
def test_a_recipe_of_psg_names_three_evaluated_relations_and_helps_the_infrequent(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.model.weights == "hub"
    assert recipe.model.backbone in timm.list_models(pretrained=True)
    assert recipe.decide.evaluated_only
    assert (recipe.decide.objective, recipe.decide.multiplier) == ("mR@3", 1.2)
    assert recipe.train.loss_args == {"infrequent_weight": 1.2}
    assert recipe.train.learning_rate == 7e-5
    norm = "norm" if name == "psg-swin-b" else "dropout"
    assert norm in recipe.model.head_args


@pytest.mark.parametrize("name", [*PUBLISHED, *PSG])
@pytest.mark.parametrize("splits", [("train2014", "val2014"), ("train", "val", "test")])
def test_the_images_that_judge_never_choose(name: str, splits: tuple[str, ...]) -> None:
    count = 40 * len(splits)
    columns = {
        "image": [f"{number}.jpg" for number in range(count)],
        "split": [splits[number % len(splits)] for number in range(count)],
        "positives": [[number // 7 % 3] for number in range(count)],
    }
    index = Index.build(columns, LABELS)
    data = Recipe.load(name).data
    roles = assign_roles(index, data.train, data.choose, data.test)
    assert set(roles.test) == set(index.rows_of(splits[-1]))
    assert len(roles.choose) > 0
    assert not set(roles.test) & {*roles.train, *roles.choose}


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("mlgcn-coco", {1: (0.01, 0.001), 40: (0.01, 0.001), 41: (1e-3, 1e-4), 80: (1e-3, 1e-4), 81: (1e-4, 1e-5)}),
        (
            "csra",
            {3: (0.1, 0.01), 5: (0.1, 0.01), 6: (0.01, 1e-3), 10: (0.01, 1e-3), 11: (1e-3, 1e-4), 26: (1e-6, 1e-7)},
        ),
        ("mlgcn-repro", {1: (0.1, 0.01), 20: (0.1, 0.01), 21: (0.01, 0.001), 40: (0.01, 0.001)}),
    ],
)
def test_the_rates_of_head_and_backbone_are_the_published_ones(
    name: str, rates: dict[int, tuple[float, float]]
) -> None:
    given, batches = Recipe.load(name).train, 4657
    schedule = SCHEDULES.build(given.schedule, **given.schedule_args)
    warmup = round(given.warmup_epochs * batches)
    for epoch, wanted in rates.items():
        for step in ((epoch - 1) * batches, epoch * batches - 1):
            rate = given.learning_rate * factor(schedule, step, given.epochs * batches, warmup)
            assert (rate, rate * given.backbone_rate) == pytest.approx(wanted)
