from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cotag.data import splits
from cotag.data.splits import ROLES, Roles, assign_roles, judging_split, stratified_folds, stratified_parts
from cotag.errors import DataError
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

LABELS = 6


def index_of(splits: Sequence[str | None], withheld: Sequence[str] = (), seed: int = 0) -> Index:
    """Rows in these splits; label k on a share of 0.5 to 0.05 of them; all labels of withheld splits unknown."""
    random = np.random.default_rng(seed)
    has = random.random((len(splits), LABELS)) < np.geomspace(0.5, 0.05, LABELS)
    names = [str(row) for row in range(len(splits))]
    hidden = [split in withheld for split in splits]
    columns = {
        "image": names,
        "positives": [[] if hide else np.flatnonzero(row).tolist() for row, hide in zip(has, hidden, strict=True)],
        "unknowns": [list(range(LABELS)) if hide else [] for hide in hidden],
        "split": list(splits),
    }
    return Index.build(columns, LabelSpace(tuple("abcdef")))


def split_names(**counts: int) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def require_apart(roles: Roles, count: int) -> None:
    rows = np.concatenate([roles.train, roles.choose, roles.test])
    assert sorted(rows) == list(range(count))
    assert all((np.diff(part) > 0).all() for part in (roles.train, roles.choose, roles.test))


def rows_named(index: Index, name: str) -> list[int]:
    return index.rows_of(name).tolist()


# Rules


def test_without_splits_a_fifth_judges_and_a_fifth_of_the_rest_chooses() -> None:
    index = index_of([None] * 200)
    roles = assign_roles(index)
    require_apart(roles, 200)
    assert abs(len(roles.test) - 40) <= 5
    assert abs(len(roles.choose) - 32) <= 5
    assert roles.split_off
    assert roles.told == (
        f"trains: {len(roles.train)} images",
        f"chooses: {len(roles.choose)} of the {200 - len(roles.test)} training images, stratified, seed 1",
        f"judges: {len(roles.test)} images, a share of 0.2 of all images, stratified, seed 0",
    )


def test_shares_without_splits() -> None:
    roles = assign_roles(index_of([None] * 200), choose=0.5, test=0.4)
    require_apart(roles, 200)
    assert abs(len(roles.test) - 80) <= 3
    assert abs(len(roles.choose) - 60) <= 3


def test_a_test_split_judges_and_a_part_of_the_training_images_chooses() -> None:
    index = index_of(split_names(train=100, test=30))
    roles = assign_roles(index)
    require_apart(roles, 130)
    assert roles.test.tolist() == rows_named(index, "test")
    assert abs(len(roles.choose) - 20) <= 2
    assert roles.split_off
    assert roles.told[2] == "judges: split test, 30 images"


def test_a_validation_split_alone_judges() -> None:
    index = index_of(split_names(train=100, val=30))
    roles = assign_roles(index)
    require_apart(roles, 130)
    assert roles.test.tolist() == rows_named(index, "val")


def test_a_validation_split_beside_a_test_split_chooses() -> None:
    index = index_of(split_names(test=20, train=100, val=30))
    roles = assign_roles(index)
    require_apart(roles, 150)
    assert roles.train.tolist() == rows_named(index, "train")
    assert roles.choose.tolist() == rows_named(index, "val")
    assert roles.test.tolist() == rows_named(index, "test")
    assert not roles.split_off
    assert roles.told[1] == "chooses: split val, 30 images"


@pytest.mark.parametrize(
    ("train", "choose", "test"),
    [("train2017", "val2017", "test2017"), ("trainval", "dev", "testing"), ("Training", "Validation", "TEST")],
)
def test_usual_names_in_other_spellings(train: str, choose: str, test: str) -> None:
    index = index_of([train] * 20 + [choose] * 10 + [test] * 10)
    roles = assign_roles(index)
    assert [len(roles.train), len(roles.choose), len(roles.test)] == [20, 10, 10]


def test_given_names_and_images_without_a_split() -> None:
    index = index_of([*split_names(a=20, b=10, c=15, test=5), None, None])
    roles = assign_roles(index, train="a", choose="b", test="c")
    assert [part.tolist() for part in (roles.train, roles.choose, roles.test)] == [
        rows_named(index, name) for name in "abc"
    ]
    names = [(*ROLES, None)[code] for code in roles.codes(len(index))]
    assert names[:20] == ["train"] * 20
    assert names[20:45] == ["choose"] * 10 + ["test"] * 15
    assert names[45:] == [None] * 7


def test_a_given_validation_split_chooses_and_then_cannot_judge() -> None:
    index = index_of(split_names(train=100, val=30))
    roles = assign_roles(index, choose="val")
    require_apart(roles, 130)
    assert roles.choose.tolist() == rows_named(index, "val")
    assert abs(len(roles.test) - 20) <= 3
    assert "a share of 0.2 of split train" in roles.told[2]


def test_a_test_split_given_by_name_leaves_the_validation_split_to_choose() -> None:
    index = index_of(split_names(train=50, val=20, fresh=10))
    roles = assign_roles(index, test="fresh")
    assert roles.choose.tolist() == rows_named(index, "val")


def test_shares_with_splits_are_of_the_training_split() -> None:
    index = index_of(split_names(train=100, test=30))
    roles = assign_roles(index, choose=0.5, test=0.1)
    assert not set(roles.test) & set(rows_named(index, "test"))
    assert abs(len(roles.test) - 10) <= 2
    assert abs(len(roles.choose) - 45) <= 2
    assert len(roles.train) + len(roles.choose) + len(roles.test) == 100


def test_a_withheld_test_split_is_passed_over() -> None:
    index = index_of(split_names(train=50, val=20, test=30), withheld=["test"])
    roles = assign_roles(index)
    assert roles.test.tolist() == rows_named(index, "val")
    assert set(roles.choose) <= set(rows_named(index, "train"))
    assert judging_split(index) == "val"


def test_a_withheld_validation_split_neither_chooses_nor_judges() -> None:
    index = index_of(split_names(train=50, val=20, test=30), withheld=["val"])
    roles = assign_roles(index)
    assert roles.test.tolist() == rows_named(index, "test")
    assert set(roles.choose) <= set(rows_named(index, "train"))
    both = index_of(split_names(train=50, val=20, test=30), withheld=["val", "test"])
    assert set(assign_roles(both).test) <= set(rows_named(both, "train"))
    assert judging_split(both) is None


def test_one_known_label_is_enough_to_judge() -> None:
    index = index_of(split_names(train=20, test=10), withheld=["test"])
    unknowns = index.table["unknowns"].to_pylist()
    unknowns[-1] = [0, 1]
    columns = {name: index.table[name] for name in ("image", "positives", "split")}
    known = Index.build({**columns, "unknowns": unknowns}, index.label_space)
    assert assign_roles(known).test.tolist() == rows_named(known, "test")


# Refusals


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"choose": "test", "test": "test"}, "image '100' would have two roles"),
        ({"choose": "train"}, "image '0' would have two roles"),
        ({"test": "train"}, "image '0' would have two roles"),
        ({"test": "tset"}, "split 'tset' has no images; did you mean test"),
        ({"choose": "nope"}, "split 'nope' has no images; allowed: train, test"),
        ({"train": "nope"}, "split 'nope' has no images"),
        ({"choose": 1.0}, "a share of 1 cannot be split off; give a number between 0 and 1"),
        ({"choose": 0.999}, "a share of 0.999 of 100 images leaves none"),
        ({"test": 0.0}, "a share of 0 cannot be split off"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, str | float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        assign_roles(index_of(split_names(train=100, test=30)), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["train", "choose", "test"])
def test_a_split_of_data_without_splits_is_refused(role: str) -> None:
    with pytest.raises(DataError, match=f"data.{role} = 'val': the data have no splits; give a share"):
        assign_roles(index_of([None] * 20), **{role: "val"})  # type: ignore[arg-type]


def test_splits_without_a_usual_name_are_listed() -> None:
    with pytest.raises(DataError, match=r"for train; there are part1 \(9\), part2 \(4\); set data.train=NAME"):
        assign_roles(index_of(split_names(part1=9, part2=4)))


def test_too_few_images_to_split() -> None:
    with pytest.raises(DataError, match="3 images are too few to split; at least 4 are needed"):
        assign_roles(index_of([None] * 3))


# Stratification


def counts(index: Index, rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (index.targets(rows) == 1).sum(0)
    return found


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_label_keeps_its_share_in_both_parts(share: float, seed: int) -> None:
    index = index_of([None] * 300, seed=seed)
    rows = np.random.default_rng(seed).permutation(300)[:250]
    rest, part = stratified_parts(index, rows, share, seed)
    assert sorted([*rest, *part]) == sorted(rows)
    total = counts(index, rows)
    assert total.min() > 5
    assert counts(index, part).min() > 0
    assert counts(index, rest).min() > 0
    np.testing.assert_allclose(counts(index, part), share * total, atol=4)


def test_the_seed_decides_the_parts() -> None:
    index = index_of([None] * 100)
    first, again, other = (assign_roles(index, seed=seed) for seed in (4, 4, 5))
    assert all(np.array_equal(getattr(first, role), getattr(again, role)) for role in ("train", "choose", "test"))
    assert not np.array_equal(first.test, other.test)


def test_images_without_labels_are_shared_too() -> None:
    columns = {"image": [str(row) for row in range(40)], "positives": [[0] if row < 20 else [] for row in range(40)]}
    index = Index.build(columns, LabelSpace(("a", "b")))
    _, part = stratified_parts(index, np.arange(40), 0.5, 0)
    assert (part < 20).sum() == pytest.approx(10, abs=1)
    assert (part >= 20).sum() == pytest.approx(10, abs=1)


@pytest.mark.parametrize("folds", [2, 5])
def test_every_label_is_in_every_fold(folds: int) -> None:
    index = index_of([None] * 300)
    rows = np.arange(20, 280)
    found = stratified_folds(index, rows, folds, 0)
    assert found.shape == (260,)
    assert set(found) == set(range(folds))
    total = counts(index, rows)
    for fold in range(folds):
        inside = rows[found == fold]
        assert len(inside) == pytest.approx(260 / folds, abs=4)
        np.testing.assert_allclose(counts(index, inside), total / folds, atol=2.5)
        assert counts(index, inside).min() > 0
    assert np.array_equal(found, stratified_folds(index, rows, folds, 0))
    assert not np.array_equal(found, stratified_folds(index, rows, folds, 1))


@pytest.mark.parametrize("folds", [1, 11])
def test_folds_that_cannot_be(folds: int) -> None:
    with pytest.raises(DataError, match=f"10 images cannot be put into {folds} folds; give 2 to 10"):
        stratified_folds(index_of([None] * 10), np.arange(10), folds, 0)


@pytest.mark.parametrize("share", [0.2, 0.35])
def test_many_images_are_split_by_their_rarest_label(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(splits, "MOST_CELLS", 100)
    index = index_of([None] * 3000)
    rows = np.arange(3000)[::-1]
    rest, part = stratified_parts(index, rows, share, 0)
    assert sorted([*rest, *part]) == list(range(3000))
    assert len(part) == round(share * 3000)
    # The rarest label of all has its share to the image; others as near as chance leaves them.
    targets = index.targets() == 1
    rarest = targets[:, np.argmin(targets.sum(0))]
    assert abs(rarest[part].sum() - share * rarest.sum()) <= 1
    assert np.abs(targets[part].mean(0) - targets.mean(0)).max() < 0.03
    assert np.array_equal(stratified_parts(index, rows, share, 0)[1], part)
    assert not np.array_equal(stratified_parts(index, rows, share, 1)[1], part)
    assert "stratified by the rarest label of each" in assign_roles(index).told[1]
