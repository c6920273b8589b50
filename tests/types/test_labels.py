"""LabelSpace: the only owner of the number and order of labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cotag.errors import LabelSpaceError
from cotag.types.labels import LabelSpace, label_space_of


def test_position_of_a_name() -> None:
    space = LabelSpace(("cat", "dog", "bird"))
    assert len(space) == 3
    assert [space.id(name) for name in ("cat", "dog", "bird")] == [0, 1, 2]
    assert "dog" in space
    assert "fox" not in space


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(LabelSpaceError, match=r"'dgo' is not among the 2 labels; did you mean dog\?"):
        LabelSpace(("cat", "dog")).id("dgo")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "at least one label"),
        (("cat", ""), "label 1: the name is empty"),
        (("cat", "dog", "cat"), "stand twice: cat"),
    ],
)
def test_bad_names_are_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(LabelSpaceError, match=said):
        LabelSpace(names)


@pytest.mark.parametrize("what", ["source_ids", "groups"])
def test_one_entry_for_each_label(what: str) -> None:
    with pytest.raises(LabelSpaceError, match=f"{what}: 1 given for 2 labels"):
        LabelSpace(("cat", "dog"), **{what: ("x",)})


def test_hash_is_of_the_names_in_their_order() -> None:
    space = LabelSpace(("cat", "dog"))
    # pinned: files that were written before must still fit
    assert space.hash == "cd73b2771c519ee7"
    assert LabelSpace(("cat", "dog"), source_ids=(17, 18), groups=("animal", None)).hash == space.hash
    assert LabelSpace(("dog", "cat")).hash != space.hash
    assert LabelSpace(("catdog",)).hash != space.hash
    assert LabelSpace(('cat", "dog',)).hash != space.hash


def test_values_of_equal_content_are_equal() -> None:
    assert LabelSpace(("cat", "dog")) == LabelSpace(("cat", "dog"))
    assert LabelSpace(("cat", "dog")) != LabelSpace(("cat", "dog"), source_ids=(1, 2))
    assert len({LabelSpace(("cat",)), LabelSpace(("cat",))}) == 1


def test_json_round_trip() -> None:
    space = LabelSpace(("naïve 猫", 'say "hi"'), source_ids=(3, "x"), groups=("animal", None))
    again = LabelSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.hash == space.hash


def test_changed_names_do_not_pass_their_hash() -> None:
    value = LabelSpace(("cat", "dog")).to_json()
    value["names"] = ["dog", "cat"]
    with pytest.raises(LabelSpaceError, match="the label names were changed"):
        LabelSpace.from_json(value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("cat", "fox"), "only in the first: dog; only in the second: fox"),
        (("cat", "dog", "fox"), "only in the second: fox"),
        (("dog", "cat"), "the same names in another order, first at 0: cat and dog"),
    ],
)
def test_other_label_space_is_refused(other: tuple[str, ...], said: str) -> None:
    with pytest.raises(LabelSpaceError, match=f"scores and model: the label spaces differ .*{said}"):
        LabelSpace(("cat", "dog")).require_same(LabelSpace(other), "scores and model")


def test_same_label_space_passes() -> None:
    LabelSpace(("cat", "dog"), source_ids=(1, 2)).require_same(LabelSpace(("cat", "dog")), "scores and model")


def test_positions_in_another_space_are_by_name() -> None:
    found = LabelSpace(("cat", "dog", "fox")).positions_in(LabelSpace(("dog", "cat")))
    assert found.dtype == np.int64
    assert found.tolist() == [1, 0, -1]


def test_union_keeps_the_first_order() -> None:
    first = LabelSpace(("dog", "cat"), source_ids=(18, 17), groups=("animal", "animal"))
    union = first.union(LabelSpace(("car", "cat")))
    assert union.names == ("dog", "cat", "car")
    assert union.groups == ("animal", "animal", None)
    assert union.source_ids is None
    assert first.union(LabelSpace(("cat",))) is first


def test_union_takes_the_second_groups() -> None:
    union = LabelSpace(("dog",)).union(LabelSpace(("dog", "car"), groups=("animal", "vehicle")))
    assert union.groups == (None, "vehicle")


def test_names_in_alphabetical_order() -> None:
    assert label_space_of(["dog", "cat", "dog"]).names == ("cat", "dog")
