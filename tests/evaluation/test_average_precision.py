from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotag.errors import ScoresError
from cotag.evaluation import columns
from cotag.evaluation.average_precision import average_precisions
from cotag.evaluation.targets import SparseTargets

VARIANTS = ("exact", "voc07", "voc_envelope")


def slow(scores: list[float], targets: list[int], variant: str) -> float:
    """Average precision by its definition, with whole fractions."""
    known = [(score, target) for score, target in zip(scores, targets, strict=True) if target >= 0]
    total = sum(target for _, target in known)
    if not total:
        return float("nan")
    steps = []
    for limit in sorted({score for score, _ in known}, reverse=True):
        given_ = [target for score, target in known if score >= limit]
        steps.append((Fraction(sum(given_), total), Fraction(sum(given_), len(given_))))
    if variant == "voc07":
        points = [max(precision for recall, precision in steps if recall >= Fraction(t, 10)) for t in range(11)]
        return float(sum(points) / 11)
    if variant == "voc_envelope":
        steps = [(recall, max(p for _, p in steps[place:])) for place, (recall, _) in enumerate(steps)]
    before = [Fraction(0), *(recall for recall, _ in steps)]
    return float(sum((recall - old) * p for (recall, p), old in zip(steps, before, strict=False)))


def sparse(targets_NK: np.ndarray) -> SparseTargets:
    lists = []
    for value in (1, -1):
        rows, labels = np.nonzero(targets_NK == value)
        lists += [np.searchsorted(rows, np.arange(len(targets_NK) + 1)), labels.astype(np.int32)]
    return SparseTargets(lists[0], lists[1], targets_NK.shape[1], lists[2], lists[3])


tables = st.integers(1, 4).flatmap(
    lambda k: st.lists(
        st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([-1, 0, 1])), min_size=k, max_size=k),
        min_size=1,
        max_size=25,
    )
)


def split(table: list[list[tuple[int, int]]], kind: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    cells = np.array(table)
    return cells[..., 0].astype(kind), cells[..., 1].astype(np.int8)


# By hand: positives at ranks 1, 3 and 4 of 5. Precisions there: 1, 2/3, 3/4.
HAND = ([[0.9], [0.8], [0.7], [0.6], [0.1]], [[1], [0], [1], [1], [0]])


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        ("exact", (1 + 2 / 3 + 3 / 4) / 3),
        ("voc_envelope", (1 + 3 / 4 + 3 / 4) / 3),
        # Recall 0 to 0.3 is reached with the first positive, the rest at 3/4.
        ("voc07", (4 * 1 + 7 * 3 / 4) / 11),
    ],
)
def test_variants_by_hand(variant: str, wanted: float) -> None:
    scores, targets = np.array(HAND[0]), np.array(HAND[1], dtype=np.int8)
    assert average_precisions(scores, targets, variant)[0] == pytest.approx(wanted, abs=1e-15)


def test_recall_of_three_tenths_is_reached_by_three_of_ten() -> None:
    # Three positives first, then 7 absent ones, then the other 7 positives.
    targets = np.array([1] * 3 + [0] * 7 + [1] * 7, dtype=np.int8)[:, None]
    scores = -np.arange(17.0)[:, None]
    found = average_precisions(scores, targets, "voc07")[0]
    assert found == pytest.approx((4 * 1 + 7 * 10 / 17) / 11, abs=1e-15)


@pytest.mark.parametrize("variant", VARIANTS)
@given(table=tables)
def test_variants_equal_their_definition(variant: str, table: list[list[tuple[int, int]]]) -> None:
    scores, targets = split(table)
    wanted = [slow(scores[:, k].tolist(), targets[:, k].tolist(), variant) for k in range(scores.shape[1])]
    for some in (targets, sparse(targets)):
        np.testing.assert_allclose(average_precisions(scores, some, variant), wanted, atol=1e-14, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
@given(table=tables, random=st.randoms())
def test_what_changes_nothing(variant: str, table: list[list[tuple[int, int]]], random) -> None:  # type: ignore[no-untyped-def]
    scores, targets = split(table)
    found = average_precisions(scores, targets, variant)
    rows = random.sample(range(len(scores)), len(scores))
    labels = random.sample(range(scores.shape[1]), scores.shape[1])
    assert np.array_equal(average_precisions(scores[rows], targets[rows], variant), found, equal_nan=True)
    moved = average_precisions(np.exp(scores / 2) - 7, targets, variant)
    assert np.array_equal(moved, found, equal_nan=True)
    turned = average_precisions(scores[:, labels], targets[:, labels], variant)
    assert np.array_equal(turned, found[labels], equal_nan=True)
    twice = average_precisions(np.repeat(scores, 2, axis=0), np.repeat(targets, 2, axis=0), variant)
    np.testing.assert_allclose(twice, found, atol=1e-14, rtol=0)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_equals_scikit_learn(kind: str) -> None:
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(0)
    targets = random.choice([-1, 0, 1], (3000, 5), p=[0.1, 0.8, 0.1]).astype(np.int8)
    scores = np.round(random.normal(size=targets.shape) + targets, 2).astype(kind)
    found = average_precisions(scores, targets)
    for k in range(5):
        known = targets[:, k] >= 0
        assert found[k] == pytest.approx(average_precision_score(targets[known, k], scores[known, k]), abs=1e-12)


def test_neighbouring_float32_scores_keep_their_order() -> None:
    low, high = np.float32(20), np.nextafter(np.float32(20), np.float32(21))
    targets = np.array([[1], [0]], dtype=np.int8)
    assert average_precisions(np.array([[high], [low]]), targets)[0] == 1
    assert average_precisions(np.array([[low], [high]]), targets)[0] == 0.5
    assert average_precisions(np.array([[0.0], [-0.0]], dtype=np.float32), targets)[0] == 0.5


@pytest.mark.parametrize("mode", ["r", "c"])
def test_strips_of_labels_and_files_give_the_same(mode: str, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    targets = random.choice([-1, 0, 1], (100, 23), p=[0.1, 0.8, 0.1]).astype(np.int8)
    scores = random.normal(size=targets.shape).astype(np.float32)
    np.save(tmp_path / "s.npy", scores)
    mapped = np.load(tmp_path / "s.npy", mmap_mode=mode)
    whole = average_precisions(scores, targets)
    if mode == "c":
        # A change that is in memory alone must not be lost.
        mapped[:, 0] *= -1
        whole[0] = average_precisions(-scores[:, :1], targets[:, :1])[0]
    for name, value in (("STRIP", 4 * 100 * 3), ("FILE_STRIP", 4 * 100 * 5), ("CHUNK", 4 * 23 * 7)):
        monkeypatch.setattr(columns, name, value)
    assert np.array_equal(average_precisions(mapped, sparse(targets)), whole, equal_nan=True)
    assert np.array_equal(average_precisions(scores, targets), whole, equal_nan=True) == (mode == "r")
    assert np.array_equal(np.load(tmp_path / "s.npy"), scores)


def test_the_scores_are_left_as_they_were() -> None:
    scores, targets = np.array([[0.1, 0.9], [0.8, 0.2]], order="F"), np.eye(2, dtype=np.int8)
    before = scores.copy()
    average_precisions(scores, targets)
    assert np.array_equal(scores, before)


def test_what_cannot_be_is_refused() -> None:
    targets = np.zeros((3, 2), dtype=np.int8)
    with pytest.raises(ScoresError, match=r"shape \(3, 1\) and targets \(3, 2\)"):
        average_precisions(np.zeros((3, 1)), targets)
    with pytest.raises(ScoresError, match="float16; allowed"):
        average_precisions(np.zeros((3, 2), dtype=np.float16), targets)


@pytest.mark.parametrize(
    ("offsets", "labels", "said"),
    [
        ([0, 1, 1], [2], "labels: 2 to 2; allowed: 0 to 1"),
        ([0, 1, 2], [1], "ending at 2"),
        ([0, 2, 1], [1], "must not fall; image 1"),
        ([0, 2, 2], [1, 1], "image 0: label 1 stands twice"),
    ],
)
def test_sparse_targets_that_cannot_be(offsets: list[int], labels: list[int], said: str) -> None:
    with pytest.raises(ScoresError, match=said):
        SparseTargets(np.array(offsets), np.array(labels), 2)
