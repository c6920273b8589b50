"""A label graph for people: the table, the heat map and the network."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import cotag
from cotag.evaluation.report import plain
from cotag.labels import graph_picture
from cotag.labels.counts import LabelCounts
from cotag.labels.graph import LabelGraph, build_graph
from cotag.labels.graph_sections import COLUMNS, graph_sections
from cotag.types.labels import LabelSpace


def graph_of(targets_NK: np.ndarray, names: list[str] | None = None, groups: Any = None, **settings: Any) -> LabelGraph:
    targets = targets_NK.astype(np.int64)
    pairs = targets.T @ targets
    np.fill_diagonal(pairs, 0)
    space = LabelSpace(tuple(names or [f"label {k}" for k in range(targets.shape[1])]), None, groups)
    return LabelGraph(LabelCounts(space, len(targets), targets.sum(0), csr_array(pairs)), **settings)


def clustered(size: int, seed: int = 0) -> np.ndarray:
    """Labels in blocks of five that come together."""
    random = np.random.default_rng(seed)
    block = random.integers(0, -(-size // 5), 2_000)
    return (block[:, None] == np.arange(size) // 5) & (random.random((2_000, size)) < 0.7)


def test_the_table_of_the_strongest_edges() -> None:
    targets = np.array([[1, 1, 0, 0]] * 4 + [[0, 1, 0, 0]] * 4 + [[0, 1, 1, 0]] * 2 + [[0, 0, 1, 0], [0, 0, 0, 1]])
    graph = graph_of(targets, ["a", "b", "c", "d"])
    section = graph_sections(graph)[0]
    assert section.columns == COLUMNS
    a_hat = graph.normalized()
    assert section.rows == [
        ["a", "b", 4, 1.0, True, pytest.approx(a_hat[1, 0])],
        ["c", "b", 2, pytest.approx(2 / 3), True, pytest.approx(a_hat[1, 2])],
        ["b", "a", 4, pytest.approx(0.4), True, pytest.approx(a_hat[0, 1])],
    ]
    assert "Without an edge: d." in section.text
    assert "3 edges" in section.text


def test_without_an_edge_the_nearest_pairs_are_shown() -> None:
    targets = np.array([[1, 1, 0], *[[1, 0, 0]] * 9, *[[0, 1, 0]] * 4, [0, 0, 1]])
    table, _, network = graph_sections(graph_of(targets))
    assert [row[:5] for row in table.rows] == [
        ["label 1", "label 0", 1, 0.2, False],
        ["label 0", "label 1", 1, 0.1, False],
    ]
    assert "no edge" in table.text
    assert "Note: 3 of 3 labels have no edge" in table.text
    assert "dotted" in network.text
    assert network.figure is not None
    assert network.figure["data"][0]["line"]["dash"] == "dot"


@pytest.mark.parametrize("targets", [np.ones((2, 1)), np.eye(3), np.zeros((2, 3))])
def test_nothing_to_draw(targets: np.ndarray) -> None:
    sections = graph_sections(graph_of(targets))
    assert len(sections) == 1
    assert sections[0].rows == []
    assert "Note: " in sections[0].text


@pytest.mark.parametrize("kind", ["reweighted", "binary", "conditional", "symmetric", "identity"])
@pytest.mark.parametrize("tau", [0, 0.4, 1])
def test_every_kind_is_drawn(kind: str, tau: float) -> None:
    for section in graph_sections(graph_of(clustered(12), kind=kind, tau=tau)):
        json.dumps(plain(section.to_json()), allow_nan=False)
        json.dumps(plain(section.figure), allow_nan=False)


def test_the_heat_map_puts_together_what_comes_together() -> None:
    targets = clustered(20)
    order = np.random.default_rng(1).permutation(20)
    graph = graph_of(targets[:, order], [f"{label // 5}-{label}" for label in order])
    figure = graph_sections(graph)[1].figure
    assert figure is not None
    heat = figure["data"][0]
    blocks = [name[0] for name in heat["x"]]
    assert sum(a != b for a, b in itertools.pairwise(blocks)) == 3
    assert heat["x"] == heat["y"]
    places = [graph.label_space.id(name) for name in heat["x"]]
    expected = graph.conditional().toarray()[np.ix_(places, places)]
    assert heat["z"][0][0] is None
    assert heat["z"][0][1] == pytest.approx(expected[0, 1], abs=1e-4)
    assert heat["z"][1][0] == pytest.approx(expected[1, 0], abs=1e-4)


def test_many_labels_are_cut_and_it_is_said() -> None:
    _, heat, network = graph_sections(graph_of(clustered(200)))
    assert heat.figure is not None
    assert network.figure is not None
    assert len(heat.figure["data"][0]["x"]) == 100
    assert "100 others are left out" in heat.text
    assert len(network.figure["data"][1]["x"]) == 150
    assert "50 are left out" in network.text
    _, _, dense = graph_sections(graph_of(np.random.default_rng(0).random((50, 40)) < 0.5, tau=0.1))
    assert "The 600 strongest arrows are drawn; 960 are left out" in dense.text


def test_markup_in_names_is_text() -> None:
    names, groups = ["<b>dog</b>", "cat & cow", "x" * 40 + "1", "x" * 40 + "2"], ("<i>", "<i>", None, "&")
    _, heat, network = graph_sections(graph_of(np.ones((3, 4)), names, groups))
    for section in (heat, network):
        text = json.dumps(plain(section.figure))
        assert "&lt;b&gt;dog" in text
        assert "cat &amp; cow" in text
        assert "<b>" not in text
        assert "<i>" not in text
    assert heat.figure is not None
    assert len(set(heat.figure["data"][0]["x"])) == 4


def test_the_picture_is_always_the_same_and_names_do_not_overlap(shared_data: Path) -> None:
    index = cotag.read(shared_data / "coco604" / "annotations" / "instances_train.json")
    graph = build_graph(index)
    (first, again) = (graph_sections(graph)[2].figure for _ in range(2))
    assert first is not None
    assert json.dumps(plain(first)) == json.dumps(plain(again))
    arrows, nodes, legend = first["data"]
    assert len(nodes["x"]) == 80 - len(graph.isolated())
    assert arrows["hoverinfo"].count("text") == graph.edges().nnz
    assert len(legend["text"]) == len(set(index.label_space.groups or ()))
    x, y = np.array(nodes["x"]), np.array(nodes["y"])
    width = np.array([graph_picture.LETTER * len(name) for name in nodes["text"]])
    beside = np.abs(x[:, None] - x) >= (width[:, None] + width) / 2
    above = np.abs(y[:, None] - y) >= graph_picture.LINE
    assert (beside | above | np.eye(len(x), dtype=bool)).all()
    assert (x >= 0).all()
    assert (x <= graph_picture.WIDTH).all()
    assert dict(zip(nodes["text"], nodes["marker"]["size"], strict=True))["person"] == max(nodes["marker"]["size"])


def test_many_groups_share_the_last_color() -> None:
    graph = graph_of(np.ones((2, 20)), groups=tuple(f"g{k}" for k in range(20)))
    figure = graph_sections(graph)[2].figure
    assert figure is not None
    assert len(figure["data"][2]["text"]) == len(graph_picture.COLORS)
    assert "other groups" in figure["data"][2]["text"][-1]
