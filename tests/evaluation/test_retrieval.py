"""Retrieval: exact neighbors against slow loops and scikit-learn, measures worked out by hand, honest intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from cotag.errors import ScoresError, SettingError
from cotag.evaluation import retrieval
from cotag.evaluation.retrieval import MEASURES, Relevance, measure, nearest, random_order, relevance

ROWS = np.array([[0, 1, 2, 3]])
LABELS = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 0], [0, -1, 0], [0, 1, 1]], dtype=np.int8)


@pytest.fixture(params=[2**24, 150], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "MOST_CELLS", request.param)
    monkeypatch.setattr(retrieval, "MOST_ROWS", max(7, request.param // 20))


def slow_nearest(
    queries: np.ndarray, gallery: np.ndarray, k: int, metric: str, own: list[int]
) -> list[list[tuple[float, int]]]:
    found = []
    for query, self_row in zip(queries, own, strict=True):
        distances = []
        for row, other in enumerate(gallery):
            if metric == "cosine":
                lengths = np.sqrt(np.sum(query**2)) * np.sqrt(np.sum(other**2))
                distance = 1 - float(np.sum(query * other) / lengths) if lengths else 1.0
            else:
                distance = float(np.sqrt(np.sum((query - other) ** 2)))
            if row != self_row:
                distances.append((distance, row))
        found.append(sorted(distances)[:k])
    return found


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.usefixtures("blocks")
def test_neighbors_are_those_of_plain_loops(metric: str) -> None:
    gallery = np.random.default_rng(0).normal(size=(60, 5))
    gallery[17] = 0
    own = [*range(20), *[-1] * 5]
    queries = np.concatenate([gallery[:20], np.random.default_rng(1).normal(size=(5, 5))])
    rows, distances = nearest(queries, gallery, 8, metric, np.array(own))
    for place, expected in enumerate(slow_nearest(queries, gallery, 8, metric, own)):
        np.testing.assert_allclose(distances[place], [distance for distance, _ in expected], atol=1e-12)
        # Of distances that differ by rounding alone either order is right.
        apart = np.diff([distance for distance, _ in expected]).min() > 1e-9
        if apart:
            assert rows[place].tolist() == [row for _, row in expected]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.usefixtures("blocks")
def test_neighbors_are_those_of_scikit_learn(metric: str) -> None:
    random = np.random.default_rng(2)
    queries, gallery = (random.normal(size=(n, 12)).astype(np.float32) for n in (30, 90))
    theirs = NearestNeighbors(n_neighbors=10, metric=metric, algorithm="brute").fit(gallery.astype(np.float64))
    distances, rows = theirs.kneighbors(queries.astype(np.float64))
    ours = nearest(queries, gallery, 10, metric)
    np.testing.assert_array_equal(ours[0], rows)
    np.testing.assert_allclose(ours[1], distances, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.usefixtures("blocks")
def test_equal_vectors_come_in_the_order_of_their_rows(metric: str) -> None:
    random = np.random.default_rng(3)
    three = random.normal(size=(3, 33)) * 1e3
    gallery = three[np.arange(90) % 3]
    rows, _ = nearest(three, gallery, 30, metric)
    for place in range(3):
        assert rows[place].tolist() == list(range(place, 90, 3))
    rows, _ = nearest(gallery, gallery, 2, metric, np.arange(90))
    assert rows[4].tolist() == [1, 7]
    assert rows[1].tolist() == [4, 7]


def test_a_zero_vector_is_at_a_right_angle_to_all() -> None:
    gallery = np.array([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    rows, distances = nearest(np.array([[2.0, 0.0], [0.0, 0.0]]), gallery, 3)
    assert rows.tolist() == [[2, 0, 1], [0, 1, 2]]
    assert distances.tolist() == [[0, 1, 2], [1, 1, 1]]


def test_what_cannot_be_searched_is_refused() -> None:
    vectors = np.eye(3)
    with pytest.raises(SettingError, match=r"'cosin' is not known; did you mean cosine\?"):
        nearest(vectors, vectors, 1, "cosin")
    for k, own in ((0, None), (4, None), (3, np.arange(3))):
        with pytest.raises(SettingError, match=f"k = {k}: must be 1 to"):
            nearest(vectors, vectors, k, own_Q=own)
    broken = vectors.copy()
    broken[1, 2] = np.nan
    with pytest.raises(ScoresError, match="gallery image 1"):
        nearest(vectors, broken, 1)


def test_measures_worked_out_by_hand() -> None:
    # The query has labels 0 and 1; the gallery's rows share 2, 0, 1, 0 and 1 of them; an unknown one counts as absent.
    found = relevance(ROWS, np.array([[1, 1, 0]]), LABELS)
    assert found.shared_Qk.tolist() == [[2, 0, 1, 0]]
    assert found.jaccard_Qk.tolist() == [[1, 0, 0.5, 0]]
    assert found.relevant_Q.tolist() == [3]
    assert {name: float(value[0]) for name, value in found.at(4).items()} == pytest.approx(
        {"precision": 2 / 4, "recall": 2 / 3, "mAP": (1 + 2 / 3) / 3, "shared": 3 / 4, "jaccard": 1.5 / 4}
    )
    assert float(found.at(2)["mAP"][0]) == 0.5
    assert float(found.at(1)["recall"][0]) == pytest.approx(1 / 3)
    with pytest.raises(SettingError, match="k = 5: must be 1 to 4"):
        found.at(5)


@pytest.mark.usefixtures("blocks")
def test_a_query_is_not_relevant_to_itself_and_one_without_labels_says_nothing() -> None:
    rows = np.array([[2], [4], [0], [0], [1]])
    found = relevance(rows, LABELS, LABELS, np.arange(5))
    assert found.relevant_Q.tolist() == [2, 1, 1, 0, 2]
    assert np.isnan(found.at(1)["precision"]).tolist() == [False, False, False, True, False]


def test_measures_are_those_of_plain_loops() -> None:
    random = np.random.default_rng(4)
    queries, gallery = ((random.random((n, 6)) < 0.25).astype(np.int8) for n in (40, 70))
    rows = np.stack([random.permutation(70)[:9] for _ in range(40)])
    found = relevance(rows, queries, gallery).at(9)
    for q in range(40):
        mine = {k for k in range(6) if queries[q, k]}
        sets = [{k for k in range(6) if row[k]} for row in gallery]
        relevant = sum(bool(mine & other) for other in sets)
        hits, summed, shared, jaccard = 0, 0.0, 0, 0.0
        for rank, row in enumerate(rows[q], start=1):
            both = mine & sets[row]
            shared += len(both)
            jaccard += len(both) / len(mine | sets[row]) if mine | sets[row] else 0.0
            if both:
                hits += 1
                summed += hits / rank
        if not relevant:
            assert all(np.isnan(found[name][q]) for name in MEASURES)
            continue
        expected = (hits / 9, hits / relevant, summed / min(9, relevant), shared / 9, jaccard / 9)
        assert [found[name][q] for name in MEASURES] == pytest.approx(expected)


def test_chance_is_even_and_never_the_query_itself() -> None:
    own = np.repeat(np.arange(5), 400)
    found = random_order(2000, 5, 2, own)
    assert not (found == own[:, None]).any()
    assert (found[:, 0] != found[:, 1]).all()
    counts = np.bincount(found[:400, 0], minlength=5)
    assert counts[0] == 0
    assert counts[1:].min() > 60
    np.testing.assert_array_equal(found, random_order(2000, 5, 2, own))


def of(hits_Q: np.ndarray) -> Relevance:
    shared = hits_Q[:, None].astype(np.int64)
    return Relevance(shared, shared.astype(np.float64), np.full(len(hits_Q), 10))


def test_intervals_are_those_of_a_proportion_and_of_a_paired_difference() -> None:
    random = np.random.default_rng(5)
    first = random.random(400) < 0.5
    second = first | (random.random(400) < 0.2)
    found = {(m.space, m.measure): m for m in measure({"a": of(first), "b": of(second)}, [1])}
    a, b = found["a", "precision"], found["b", "precision"]
    assert (a.value, b.value) == (first.mean(), second.mean())
    wide = 2 * 1.96 * np.sqrt(a.value * (1 - a.value) / 400)
    assert a.interval[1] - a.interval[0] == pytest.approx(wide, rel=0.12)
    assert (a.difference, a.difference_interval, a.p) == (None, None, None)
    assert b.difference == pytest.approx(b.value - a.value)
    assert b.difference_interval is not None
    paired = 2 * 1.96 * np.sqrt(b.difference * (1 - b.difference) / 400)
    assert b.difference_interval[1] - b.difference_interval[0] == pytest.approx(paired, rel=0.15)
    assert b.difference_interval[0] > 0
    assert b.p is not None
    assert b.p < 0.01


def test_one_space_is_not_told_apart_from_itself_and_too_little_is_refused() -> None:
    hits = np.arange(50) % 3 == 0
    same = measure({"a": of(hits), "b": of(hits)}, [1])[-1]
    assert (same.difference, same.p) == (0, 1)
    empty = Relevance(np.zeros((5, 1), dtype=np.int64), np.zeros((5, 1)), np.array([0, 0, 0, 0, 3]))
    with pytest.raises(ScoresError, match="fewer than 2 queries"):
        measure({"a": empty}, [1])
    with pytest.raises(SettingError, match="resamples = 10"):
        measure({"a": of(hits)}, [1], resamples=10)
