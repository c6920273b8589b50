"""Classifiers in the plane: any number of them, always the same, and whether groups lie together."""

from __future__ import annotations

import numpy as np
import pytest

from cotag.evaluation.report import render
from cotag.labels.classifier_sections import classifier_sections
from cotag.labels.projection import group_agreement, in_plane
from cotag.types.labels import LabelSpace


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 40])
def test_any_number_has_a_place_and_always_the_same(count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, 12))
    found = in_plane(vectors)
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()
    assert len(np.unique(found.round(9), axis=0)) == count
    np.testing.assert_array_equal(found, in_plane(vectors.copy()))


def test_three_vectors_keep_the_distances_of_their_directions() -> None:
    vectors = np.random.default_rng(1).normal(size=(3, 7))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = in_plane(vectors)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        expected = np.linalg.norm(units[one] - units[other])
        assert np.linalg.norm(found[one] - found[other]) == pytest.approx(expected)


@pytest.mark.parametrize("vectors", [np.zeros((6, 4)), np.ones((6, 4)), np.ones((1, 1)), np.zeros((2, 1))])
def test_vectors_that_do_not_differ_share_one_place(vectors: np.ndarray) -> None:
    np.testing.assert_array_equal(in_plane(vectors), np.zeros((len(vectors), 2)))


def test_similar_vectors_lie_together() -> None:
    random = np.random.default_rng(2)
    centers = np.repeat(10 * np.eye(3, 20), 10, axis=0)
    found = in_plane(centers + random.normal(size=centers.shape))
    distances = np.linalg.norm(found[:, None] - found, axis=2) + np.diag(np.full(30, np.inf))
    np.testing.assert_array_equal(distances.argmin(1) // 10, np.arange(30) // 10)


def test_agreement_of_groups_worked_out_by_hand() -> None:
    angles = np.radians([0, 10, 35, 90, 100, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Nearest: 1, 0, 1, 4, 3, 4; the last label is the only one of its group and is not judged.
    found = group_agreement(vectors, ["a", "a", "b", "b", "b", "c"])
    assert found is not None
    assert (found.labels, found.share) == (5, 4 / 5)
    assert found.chance == pytest.approx((1 / 5 + 1 / 5 + 2 / 5 * 3) / 5)
    without = group_agreement(np.concatenate([vectors, vectors[:1]]), ["a", "a", "b", "b", "b", "c", None])
    assert without is not None
    assert (without.labels, without.share) == (found.labels, found.share)


@pytest.mark.parametrize("groups", [["a"] * 4, ["a", "b", "c", "d"], [None] * 4, ["a", "b", None, None]])
def test_groups_that_say_nothing(groups: list[str | None]) -> None:
    assert group_agreement(np.eye(4), groups) is None


def test_p_is_small_for_groups_that_lie_together_and_not_for_random_ones() -> None:
    random = np.random.default_rng(3)
    groups = [str(k // 5) for k in range(30)]
    together = group_agreement(np.repeat(5 * np.eye(6, 9), 5, axis=0) + random.normal(size=(30, 9)), groups)
    assert together is not None
    assert together.p < 0.01
    values = [group_agreement(random.normal(size=(30, 9)), groups) for _ in range(20)]
    assert 0.2 < np.mean([one.p for one in values if one is not None]) < 0.8


def test_the_picture_shows_names_literally_with_colors_of_groups() -> None:
    names = ("<b>x</b>", "a & b", "plain", "other")
    space = LabelSpace(names, groups=("one", "<i>two</i>", "one", None))
    vectors = np.random.default_rng(4).normal(size=(4, 6))
    table, first, second = classifier_sections({"own": vectors, "base": vectors[:, :5]}, space)
    assert table.columns[0] == "model"
    assert [row[0] for row in table.rows] == ["own", "base"]
    assert (first.title, second.title) == ("Classifiers of own", "Classifiers of base")
    assert first.figure is not None
    points, key = first.figure["data"]
    assert list(points["text"]) == ["&lt;b&gt;x&lt;/b&gt;", "a &amp; b", "plain", "other"]
    colors = points["marker"]["color"]
    assert colors[0] == colors[2]
    assert len(set(colors)) == 3
    assert " &lt;i&gt;two&lt;/i&gt;" in key["text"]
    assert "<b>x</b>" not in render([table, first, second], "Classifiers")


@pytest.mark.parametrize("count", [1, 2, 9])
def test_labels_without_groups_and_more_than_can_be_named(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cotag.labels.classifier_sections.NAMED", 8)
    space = LabelSpace(tuple(f"label {k}" for k in range(count)))
    table, picture = classifier_sections({"own": np.random.default_rng(5).normal(size=(count, 6))}, space)
    assert "no groups" in table.text
    assert picture.figure is not None
    assert len(picture.figure["data"]) == 1
    assert picture.figure["data"][0]["mode"] == ("markers+text" if count < 9 else "markers")
