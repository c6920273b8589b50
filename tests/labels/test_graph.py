"""The label graph against the published counts, a slow version of its definition, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import spearmanr

import cotag
from cotag.errors import DataError, SettingError
from cotag.labels.counts import LabelCounts
from cotag.labels.graph import KINDS, build_graph
from cotag.labels.graph_files import load_graph
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

VOC = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]


def index_of(positives: list[list[int]], size: int, **columns: Any) -> Index:
    space = LabelSpace(tuple(f"label {k}" for k in range(size)))
    return Index.build({"image": [f"{k}.jpg" for k in range(len(positives))], "positives": positives, **columns}, space)


def random_index(images: int = 400, size: int = 12, seed: int = 0) -> Index:
    random = np.random.default_rng(seed)
    base = random.uniform(0.02, 0.5, size)
    base[3] = 0
    return index_of([np.flatnonzero(random.random(size) < base).tolist() for _ in range(images)], size)


def slow(targets_NK: np.ndarray, kind: str, tau: float, p: float, axis: str) -> np.ndarray:
    """A_hat, entry by entry as the definition says it."""
    size = targets_NK.shape[1]
    weights = np.zeros((size, size))
    share = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            both = sum(1 for row in targets_NK if row[i] == 1 and row[j] == 1)
            alone = sum(1 for row in targets_NK if row[i] == 1)
            share[i, j] = both / alone if i != j and alone else 0
    edge = (share >= tau) & ~np.eye(size, dtype=bool)
    for i in range(size):
        for j in range(size):
            if i == j:
                weights[i, j] = 1 - p if kind == "reweighted" else 1
            elif kind == "reweighted" and edge[i, j]:
                weights[i, j] = p / (sum(edge[:, j]) if axis == "column" else sum(edge[i, :]))
            elif kind == "binary":
                weights[i, j] = edge[i, j]
            elif kind == "conditional":
                weights[i, j] = share[i, j]
            elif kind == "symmetric":
                weights[i, j] = edge[i, j] or edge[j, i]
    d = [sum(row) ** -0.5 for row in weights]
    return np.array([[d[i] * weights[j, i] * d[j] for j in range(size)] for i in range(size)])


@pytest.mark.parametrize("axis", ["column", "row"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_its_definition_says(kind: str, axis: str) -> None:
    index = random_index()
    for tau, p in ((0.3, 0.2), (0, 0.2), (1, 0.5), (0.45, 0)):
        graph = build_graph(index, kind=kind, tau=tau, p=p, axis=axis)
        expected = slow(index.targets(), kind, tau, p, axis)
        np.testing.assert_allclose(graph.normalized().toarray(), expected, atol=2e-6, err_msg=f"{tau} {p}")
    other = build_graph(index, kind="reweighted", tau=0.3, axis="row" if axis == "column" else "column")
    assert abs(other.normalized() - build_graph(index, tau=0.3, axis=axis).normalized()).max() > 0.01


@pytest.mark.parametrize(
    ("name", "size", "total", "edges", "isolated", "golden"),
    [
        ("coco", 80, 241_035, [565, 311, 186, 111, 68, 36], 12, (80.247119, 75.464715, 8.509427)),
        ("voc", 20, 7_306, [38, 21, 13, 6, 4, 3], 13, (20.037052, 19.578755, 4.390827)),
    ],
)
def test_the_published_counts(
    name: str, size: int, total: int, edges: list[int], isolated: int, golden: tuple[float, ...], shared_data: Path
) -> None:
    space = LabelSpace(tuple(str(k) for k in range(size)))
    graph = load_graph(shared_data / "mlgcn" / f"{name}_adj.pkl", space)
    assert graph.counts_K.sum() == total
    assert [graph.with_settings(tau=tau / 10).binary().nnz for tau in range(1, 7)] == edges
    assert len(graph.isolated()) == isolated
    found = graph.normalized().toarray()
    assert (found.sum(), np.trace(found), np.linalg.norm(found)) == pytest.approx(golden, abs=1e-6)
    a = graph.weighted()
    assert a.diagonal() == pytest.approx([0.8] * size)
    columns = a.sum(axis=0)
    assert columns[graph.binary().sum(axis=0) > 0] == pytest.approx(1, abs=1e-6)


def test_knowledge_flows_to_the_label_that_is_implied(shared_data: Path) -> None:
    graph = load_graph(shared_data / "mlgcn" / "voc_adj.pkl", LabelSpace(tuple(VOC)))
    found = graph.normalized()
    person, bicycle = VOC.index("person"), VOC.index("bicycle")
    assert found[person, bicycle] > 0
    assert found[bicycle, person] == 0


def test_the_published_order_is_alphabetical_by_name(shared_data: Path) -> None:
    """Counts of other COCO photographs, matched by name, agree with it, and those in the order of the ids do not."""
    index = cotag.read(shared_data / "coco604" / "annotations" / "instances_train.json")
    own = build_graph(index)
    by_id = index.label_space
    alphabetical = LabelSpace(tuple(sorted(by_id.names)))
    published = load_graph(shared_data / "mlgcn" / "coco_adj.pkl", alphabetical)

    def agreement(declared: LabelSpace) -> float:
        places = declared.positions_in(by_id)
        pairs_KK = own.pairs_KK.toarray()[np.ix_(places, places)]
        above = np.triu_indices(len(by_id), 1)
        return float(spearmanr(published.pairs_KK.toarray()[above], pairs_KK[above]).statistic)

    assert by_id.names != alphabetical.names
    assert agreement(alphabetical) > 0.55
    assert agreement(by_id) < 0.2
    counts = [
        float(spearmanr(published.counts_K, own.counts_K[space.positions_in(by_id)]).statistic)
        for space in (alphabetical, by_id)
    ]
    assert counts[0] > 0.8
    assert counts[1] < 0.4


def test_the_strongest_published_edges_have_sensible_names(shared_data: Path) -> None:
    index = cotag.read(shared_data / "coco604" / "annotations" / "instances_train.json")
    space = LabelSpace(tuple(sorted(index.label_space.names)))
    share = load_graph(shared_data / "mlgcn" / "coco_adj.pkl", space).conditional().tocoo()
    order = np.argsort(-share.data)[:10]
    pairs = {(space.names[share.row[k]], space.names[share.col[k]]) for k in order}
    assert {("skis", "person"), ("snowboard", "person"), ("baseball glove", "person")} <= pairs


# What is counted


def test_unknown_and_difficult_labels_count_as_absent() -> None:
    index = index_of([[0, 1], [0], [0], [1]], 3, unknowns=[[], [1], [], [2]], difficult=[[], [], [1], []])
    graph = build_graph(index)
    assert graph.images == 4
    assert graph.counts_K.tolist() == [3, 2, 0]
    assert graph.pairs_KK.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert graph.conditional().toarray().tolist() == [[0, 1 / 3, 0], [1 / 2, 0, 0], [0, 0, 0]]


def test_rows_are_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    index = random_index()
    monkeypatch.setattr("cotag.data.cooccurrence.BLOCK", 7)
    rows = np.arange(5, 400, 3)[::-1]
    targets = index.targets(rows).astype(np.int64)
    graph = build_graph(index, rows)
    assert graph.images == len(rows)
    assert np.array_equal(graph.counts_K, targets.sum(0))
    expected = targets.T @ targets
    np.fill_diagonal(expected, 0)
    assert np.array_equal(graph.pairs_KK.toarray(), expected)
    with pytest.raises(DataError, match="row 400"):
        build_graph(index, np.array([400]))
    with pytest.raises(DataError, match="needs images"):
        build_graph(index, rows[:0])


def test_an_edge_at_tau_itself() -> None:
    index = index_of([[0, 1], [0, 1], [0], [0], [0], [1], [1], [1]], 2)
    assert build_graph(index, tau=0.4).binary().toarray().tolist() == [[0, 1], [1, 0]]
    assert build_graph(index, tau=0.4000001).binary().nnz == 0


# The ends of the settings


def test_tau_0_makes_every_pair_an_edge_and_tau_1_only_what_is_certain() -> None:
    index = index_of([[0, 1], [1], [2]], 4)
    every = build_graph(index, tau=0)
    assert every.binary().toarray().tolist() == (1 - np.eye(4)).tolist()
    assert len(every.isolated()) == 0
    certain = build_graph(index, tau=1)
    assert list(zip(*certain.binary().nonzero(), strict=True)) == [(0, 1)]
    assert certain.isolated().tolist() == [2, 3]


def test_one_label() -> None:
    graph = build_graph(index_of([[0], []], 1))
    assert graph.normalized().toarray() == pytest.approx(np.ones((1, 1)))
    assert graph.isolated().tolist() == [0]
    assert graph.shuffled().counts_K.tolist() == [1]
    assert len(graph.notes()) == 1
    for kind in KINDS:
        assert graph.with_settings(kind=kind, tau=0).normalized().toarray() == pytest.approx(np.eye(1))


def test_without_any_pair_the_graph_is_that_of_single_labels() -> None:
    graph = build_graph(index_of([[0], [1], []], 3))
    for kind in KINDS:
        assert graph.with_settings(kind=kind).normalized().toarray() == pytest.approx(np.eye(3))
    assert "no image has two labels" in graph.notes()[0]
    assert graph.proposed_tau() is None
    assert "0 edges" in graph.describe()


def test_a_label_without_images_keeps_itself() -> None:
    graph = build_graph(index_of([[0, 1], [0, 1]], 3))
    assert graph.conditional().toarray()[2].tolist() == [0, 0, 0]
    assert graph.normalized().toarray()[2] == pytest.approx([0, 0, 1])
    assert "1 labels have no image: label 2" in graph.notes()[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tau": 1.1}, "tau = 1.1"),
        ({"tau": -0.1}, r"\[0, 1\]"),
        ({"tau": float("nan")}, "tau = nan"),
        ({"p": 1}, r"p = 1.*\[0, 1\)"),
        ({"p": -0.2}, "p = -0.2"),
        ({"kind": "reweigted"}, "did you mean reweighted"),
        ({"axis": "rows"}, "did you mean row"),
        ({"thau": 0.1}, "did you mean tau"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        build_graph(index_of([[0]], 2)).with_settings(**changes)


def test_all_pairs_of_very_many_labels_are_refused() -> None:
    graph = build_graph(index_of([[0, 1], [9_999]], 10_000), tau=0)
    with pytest.raises(SettingError, match="raise tau"):
        graph.normalized()
    assert graph.with_settings(tau=0.01).normalized().nnz == 10_002


@pytest.mark.parametrize(
    ("counts", "pairs", "said"),
    [
        ([3, -1], [[0, 0], [0, 0]], "-1 images"),
        ([3, 2], [[0, 3], [3, 0]], "more than one of them has alone"),
        ([3, 2], [[0, -1], [-1, 0]], "below 0"),
        ([3, 2], [[3, 1], [1, 2]], "diagonal"),
        ([3, 2], [[0, 1], [2, 0]], "by direction"),
        ([3, 2, 1], [[0, 1], [1, 0]], "3 counts and 2 x 2 pairs"),
        ([9, 2], [[0, 1], [1, 0]], "9 of 8 images"),
    ],
)
def test_counts_that_cannot_be(counts: list[int], pairs: list[list[int]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        LabelCounts(LabelSpace(("cat", "dog")), 8, np.array(counts), csr_array(np.array(pairs)))
    with pytest.raises(DataError, match="float64"):
        LabelCounts(LabelSpace(("cat", "dog")), 8, np.array([1.0, 2.0]), csr_array((2, 2), dtype=np.int64))


# What is said, and the control


def test_mostly_isolated_labels_are_told_with_a_tau(shared_data: Path) -> None:
    graph = load_graph(shared_data / "mlgcn" / "voc_adj.pkl", LabelSpace(tuple(VOC)))
    (note,) = graph.notes()
    assert note.startswith("13 of 20 labels have no edge at tau = 0.4")
    tau = graph.proposed_tau()
    assert tau is not None
    assert len(graph.with_settings(tau=tau).isolated()) <= 10
    assert len(graph.with_settings(tau=tau + 1e-9).isolated()) > 10
    assert f"tau = {np.floor(tau * 1000) / 1000:g} leaves" in note
    assert graph.with_settings(tau=tau).notes() == []


def test_no_tau_helps_where_most_labels_come_alone() -> None:
    (note,) = build_graph(index_of([[0, 1], [2], [3], [4]], 5), tau=0.5).notes()
    assert "no tau above 0" in note


def test_a_shuffled_graph_is_the_same_on_other_labels() -> None:
    graph = build_graph(random_index())
    other, again = graph.shuffled(1), graph.shuffled(1)
    assert np.array_equal(other.pairs_KK.toarray(), again.pairs_KK.toarray())
    assert not np.array_equal(other.pairs_KK.toarray(), graph.pairs_KK.toarray())
    assert other.label_space == graph.label_space
    values = [np.linalg.svd(one.normalized().toarray(), compute_uv=False) for one in (graph, other)]
    np.testing.assert_allclose(*values, atol=1e-12)


def test_settings_are_told() -> None:
    graph = build_graph(random_index(), tau=0.3)
    assert graph.describe() == (
        f"reweighted graph of 12 labels from 400 images; {graph.binary().nnz} edges (P(B|A) of 0.3 or more), "
        f"{len(graph.isolated())} labels without an edge; neighbors share p = 0.2 by column"
    )
    assert "0.3" not in graph.with_settings(kind="conditional").describe()
    assert "no edges" in graph.with_settings(kind="identity").describe()
