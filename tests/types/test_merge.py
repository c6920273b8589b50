"""Merging two indexes: labels meet by name, never by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotag.errors import DataError
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.merge import merge

ANIMALS = LabelSpace(("cat", "dog", "fox"), source_ids=(1, 2, 3))
OTHERS = LabelSpace(("dog", "car", "cat"))


def animals(**columns: Any) -> Index:
    return Index.build({"image": ["a", "b"], "positives": [[0, 2], [1]], **columns}, ANIMALS)


def others(**columns: Any) -> Index:
    return Index.build({"image": ["c", "d"], "positives": [[0], [1, 2]], **columns}, OTHERS)


def named(index: Index) -> dict[str, dict[str, int]]:
    """For each image the target of each label by its name."""
    return {
        name: dict(zip(index.label_space.names, row.tolist(), strict=True))
        for name, row in zip(index.ids, index.targets(), strict=True)
    }


def test_labels_meet_by_name() -> None:
    both = merge(animals(), others())
    assert both.label_space.names == ("cat", "dog", "fox", "car")
    assert named(both) == {
        "a": {"cat": 1, "dog": 0, "fox": 1, "car": -1},
        "b": {"cat": 0, "dog": 1, "fox": 0, "car": -1},
        "c": {"cat": 0, "dog": 1, "fox": -1, "car": 0},
        "d": {"cat": 1, "dog": 0, "fox": -1, "car": 1},
    }


def test_the_other_way_round_says_the_same() -> None:
    assert named(merge(others(), animals())) == named(merge(animals(), others()))


def test_labels_that_one_does_not_know_can_be_absent() -> None:
    both = merge(animals(), others(), missing="absent")
    assert named(both)["a"] == {"cat": 1, "dog": 0, "fox": 1, "car": 0}
    assert named(both)["d"] == {"cat": 1, "dog": 0, "fox": 0, "car": 1}


def test_same_label_space_leaves_nothing_unknown() -> None:
    first = animals()
    second = Index.build({"image": ["c"], "positives": [[1]]}, ANIMALS)
    both = merge(first, second)
    assert both.label_space == ANIMALS
    assert both.targets().tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_unknown_and_difficult_labels_move_along() -> None:
    both = merge(animals(unknowns=[[1], []]), others(unknowns=[[2], []], difficult=[[1], [0]]))
    assert named(both) == {
        "a": {"cat": 1, "dog": -1, "fox": 1, "car": -1},
        "b": {"cat": 0, "dog": 1, "fox": 0, "car": -1},
        "c": {"cat": -1, "dog": 1, "fox": -1, "car": -1},
        "d": {"cat": 1, "dog": -1, "fox": -1, "car": 1},
    }
    assert both.targets(difficult="positive")[2:, 3].tolist() == [1, 1]
    assert both.targets(difficult="positive")[3, 1] == 1


def test_splits_sizes_and_notes_are_kept() -> None:
    first = animals(split=["train", None], width=[3, 4], height=[5, 6])
    second = Index(others(split=["val", "train"]).table, OTHERS, notes=("odd",))
    both = merge(first, second)
    assert both.table["split"].to_pylist() == ["train", None, "val", "train"]
    assert both.table["width"].to_pylist() == [3, 4, None, None]
    assert both.notes == ("odd",)


def test_one_root_keeps_references_relative(tmp_path: Path) -> None:
    first = Index.build({"image": ["a"], "positives": [[]]}, ANIMALS, root=tmp_path / "photos")
    second = Index.build({"image": ["b"], "positives": [[]]}, ANIMALS, root=tmp_path / "other" / ".." / "photos")
    both = merge(first, second)
    assert both.table["image"].to_pylist() == ["a", "b"]
    assert both.root == tmp_path / "photos"


def test_two_roots_make_references_absolute(tmp_path: Path) -> None:
    first = Index.build({"image": ["a"], "positives": [[]], "segments": ["maps/a.png"]}, ANIMALS, root=tmp_path / "one")
    second = Index.build({"image": ["b"], "positives": [[]]}, ANIMALS, root=tmp_path / "two")
    both = merge(first, second)
    assert both.images() == [tmp_path / "one" / "a", tmp_path / "two" / "b"]
    assert both.ids == ["a", "b"]
    assert both.table["segments"].to_pylist() == [str(tmp_path / "one" / "maps" / "a.png"), None]


def test_same_ids_need_a_prefix(tmp_path: Path) -> None:
    first, second = animals(), animals()
    with pytest.raises(DataError, match="image id 'a' stands in both; give prefix="):
        merge(first, second)
    both = merge(first, second, prefix="new/")
    assert both.ids == ["a", "b", "new/a", "new/b"]
    with pytest.raises(DataError, match="image id 'new/a' stands in both"):
        merge(both, second, prefix="new/")


def test_unknown_way_to_treat_missing_labels() -> None:
    with pytest.raises(DataError, match="missing='negative' is not known"):
        merge(animals(), others(), missing="negative")


def thing(category: int) -> dict[str, Any]:
    return {"category": category, "box": [0.0, 0.0, 2.0, 3.5], "mask": b"rle", "crowd": False, "segment": 7}


def test_objects_and_triplets_are_renumbered() -> None:
    near, on = LabelSpace(("near", "on")), LabelSpace(("on", "under", "near"))
    first = Index.build(
        {
            "image": ["a"],
            "positives": [[0]],
            "objects": [[thing(0), thing(1)]],
            "triplets": [[{"subject": 0, "predicate": 0, "object": 1}]],
        },
        near,
        object_space=LabelSpace(("person", "dog")),
    )
    second = Index.build(
        {
            "image": ["b", "c", "d"],
            "positives": [[], [0, 1], [2]],
            "objects": [[], [thing(0), thing(1), thing(2)], [thing(1), thing(1)]],
            "triplets": [
                [],
                [{"subject": 2, "predicate": 0, "object": 1}, {"subject": 1, "predicate": 1, "object": 2}],
                [{"subject": 1, "predicate": 2, "object": 0}],
            ],
        },
        on,
        object_space=LabelSpace(("dog", "car", "person")),
    )
    both = merge(first, second.subset([1, 0, 2]))
    assert both.label_space.names == ("near", "on", "under")
    assert both.object_space is not None
    assert both.object_space.names == ("person", "dog", "car")

    def relations(row: int) -> list[tuple[str, str, str]]:
        things = both.table["objects"][row].as_py()
        name = [both.object_space.names[item["category"]] for item in things]  # type: ignore[union-attr]
        found = both.table["triplets"][row].as_py()
        return [(name[t["subject"]], both.label_space.names[t["predicate"]], name[t["object"]]) for t in found]

    assert relations(0) == [("person", "near", "dog")]
    assert relations(1) == [("person", "on", "car"), ("car", "under", "person")]
    assert relations(2) == []
    assert relations(3) == [("car", "near", "car")]
    assert both.table["objects"][1].as_py()[0] == {**thing(1), "category": 1}


def test_objects_in_one_of_the_two() -> None:
    first = Index.build(
        {
            "image": ["a"],
            "positives": [[0]],
            "objects": [[thing(1)]],
            "triplets": [[{"subject": 0, "predicate": 1, "object": 0}]],
        },
        ANIMALS,
        object_space=LabelSpace(("person", "dog")),
    )
    both = merge(others(), first)
    assert both.object_space == first.object_space
    assert both.table["objects"].to_pylist() == [[], [], [thing(1)]]
    assert both.table["triplets"].to_pylist()[2][0]["predicate"] == both.label_space.id("dog")


def test_loaded_indexes_are_merged(tmp_path: Path) -> None:
    animals(split=["train", "val"]).save(tmp_path / "one.arrow")
    others(split=["train", None]).save(tmp_path / "two.arrow")
    both = merge(Index.load(tmp_path / "one.arrow"), Index.load(tmp_path / "two.arrow"))
    assert named(both) == named(merge(animals(), others()))
    both.save(tmp_path / "both.arrow")
    assert Index.load(tmp_path / "both.arrow").splits() == {"train": 2, "val": 1}


NAMES = st.lists(st.sampled_from("pqrstu"), min_size=1, max_size=4, unique=True)


@given(st.data())
def test_every_known_target_survives(data: st.DataObject) -> None:
    """By name, each image keeps its targets, and labels that it could not have are unknown."""
    parts = []
    for prefix in "ab":
        space = LabelSpace(tuple(data.draw(NAMES)))
        cells = data.draw(
            st.lists(st.lists(st.sampled_from([1, 0, -1]), min_size=len(space), max_size=len(space)), max_size=3)
        )
        columns = {"image": [f"{prefix}{row}" for row in range(len(cells))]}
        lists = {
            name: [[k for k, cell in enumerate(row) if cell == value] for row in cells]
            for name, value in (("positives", 1), ("unknowns", -1))
        }
        parts.append(Index.build({**columns, **lists}, space))
    both = merge(*parts)
    expected = {}
    for part in parts:
        for name, row in named(part).items():
            expected[name] = {label: row.get(label, -1) for label in both.label_space.names}
    assert named(both) == expected
