"""Label graphs in files: they come back exactly, other programs read them, and bad ones are refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from cotag.errors import FormatError, LabelSpaceError, OutputExists, SettingError
from cotag.labels.counts import LabelCounts
from cotag.labels.graph import LabelGraph
from cotag.labels.graph_files import SUFFIXES, load_graph, save_graph
from cotag.types.labels import LabelSpace

NAMES = ("dog", 'größer <&> "x"', "a\tb\x01 ")


def graph_of(names: tuple[str, ...] = NAMES, **settings: Any) -> LabelGraph:
    space = LabelSpace(names, (7, 8, 9), ("pets", None, "pets"))
    pairs = csr_array(np.array([[0, 2, 1], [2, 0, 0], [1, 0, 0]]))
    return LabelGraph(LabelCounts(space, 12, np.array([5, 3, 7]), pairs), **settings)


def published(folder: Path, nums: Any = (5, 3, 7), adj: Any = ((0, 2, 1), (2, 0, 0), (1, 0, 0)), **more: Any) -> Path:
    path = folder / "adj.pkl"
    path.write_bytes(pickle.dumps({"nums": np.array(nums), "adj": np.array(adj), **more}, 3))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_graph_comes_back_exactly(suffix: str, tmp_path: Path) -> None:
    graph = graph_of(kind="symmetric", tau=0.1 + 0.2, p=1 / 3, axis="row")
    path = tmp_path / f"graph{suffix}"
    save_graph(graph, path)
    for found in (load_graph(path), load_graph(path, graph.label_space)):
        assert found.label_space == graph.label_space
        assert found.images == 12
        assert (found.kind, found.tau, found.p, found.axis) == ("symmetric", 0.1 + 0.2, 1 / 3, "row")
        assert np.array_equal(found.counts_K, graph.counts_K)
        assert found.counts_K.dtype == np.int64
        assert np.array_equal(found.pairs_KK.toarray(), graph.pairs_KK.toarray())
    with pytest.raises(LabelSpaceError, match="another order"):
        load_graph(path, LabelSpace(NAMES[::-1]))
    with pytest.raises(OutputExists):
        save_graph(graph, path)
    save_graph(graph.with_settings(tau=0), path, force=True)
    assert load_graph(path).tau == 0


def test_the_authors_program_finds_its_keys(tmp_path: Path) -> None:
    save_graph(graph_of(), tmp_path / "adj.pkl")
    with (tmp_path / "adj.pkl").open("rb") as file:
        found = pickle.load(file)
    assert found["nums"].tolist() == [5, 3, 7]
    assert found["adj"].tolist() == [[0, 2, 1], [2, 0, 0], [1, 0, 0]]


def test_files_without_names_need_the_order(tmp_path: Path) -> None:
    path, space = published(tmp_path), LabelSpace(("a", "b", "c"))
    assert load_graph(path, space).label_space is space
    assert load_graph(path, space).images is None
    with pytest.raises(SettingError, match="names no labels; give label_space"):
        load_graph(path)
    with pytest.raises(FormatError, match="counts 3 labels and 2 are given"):
        load_graph(path, LabelSpace(("a", "b")))
    with (tmp_path / "adj.npz").open("wb") as file:
        np.savez(file, nums=np.array([5.0, 3.0, 7.0]), adj=np.array([[0, 2, 1], [2, 0, 0], [1, 0, 0]], "f4"))
    assert np.array_equal(load_graph(tmp_path / "adj.npz", space).pairs_KK.toarray(), graph_of().pairs_KK.toarray())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nums": (5, -3, 7)}, "adj.pkl: label 'b' has -3 images"),
        ({"nums": (5, 1, 7)}, "'a' and 'b' come together in 2 images: more than one of them has alone"),
        ({"nums": (5, 3.5, 7)}, "nums holds 3.5; give counts of images, which are whole numbers"),
        ({"nums": (5, float("nan"), 7)}, "nums holds nan"),
        ({"nums": ("5", "3", "7")}, "nums is no list of numbers"),
        ({"adj": ((0, 2, 1), (2, 0, 0))}, "adj is 2 x 3 and nums has 3; adj must be square"),
        ({"adj": (0, 2, 1)}, "adj is no K x K of numbers"),
        ({"adj": ((0, 0.5, 1), (0.5, 0, 0), (1, 0, 0))}, "adj holds 0.5"),
        ({"adj": ((5, 2, 1), (2, 3, 0), (1, 0, 7))}, "set the diagonal to 0"),
        ({"adj": ((0, 2, 1), (1, 0, 0), (1, 0, 0))}, "by direction"),
        ({"adj": ((0, -2, 1), (-2, 0, 0), (1, 0, 0))}, "below 0"),
        ({"about": "[1"}, "what it says of its labels is damaged"),
        ({"about": "[1]"}, "damaged"),
        ({"about": '{"label_space": {"names": ["x", "y", "z"], "hash": "0"}}'}, "were changed"),
        ({"about": '{"label_space": {"names": ["a", "b", "c"]}, "tau": "0.4"}'}, "adj.pkl: "),
    ],
)
def test_counts_that_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        load_graph(published(tmp_path, **changes), LabelSpace(("a", "b", "c")))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "adj.pkl"
    for value in ([1, 2], {"nums": np.ones(2)}, np.ones((2, 2))):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(FormatError, match="holds no label counts"):
            load_graph(path, LabelSpace(("a", "b")))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_was_cut_short(suffix: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole{suffix}"
    save_graph(graph_of(), whole)
    content, path = whole.read_bytes(), tmp_path / f"cut{suffix}"
    for size in range(0, len(content) - 3, 41):
        path.write_bytes(content[:size])
        with pytest.raises(FormatError) as caught:
            load_graph(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="no such file"):
        load_graph(tmp_path / f"nothing{suffix}")


def test_damaged_pairs_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "graph.npz"
    save_graph(graph_of(), path)
    with np.load(path) as file:
        arrays = dict(file)
    for name, values in (("labels", [1, 2, 0, 9]), ("starts", [0, 3, 2, 4]), ("pairs", [1, 2])):
        np.savez(path, **{**arrays, name: np.array(values)})
        with pytest.raises(FormatError, match="damaged"):
            load_graph(path)


def test_another_ending(tmp_path: Path) -> None:
    for call in (lambda path: save_graph(graph_of(), path), load_graph):
        with pytest.raises(SettingError, match=r"did you mean \.graphml"):
            call(tmp_path / "graph.gml")
    large = LabelSpace(tuple(str(k) for k in range(6_000)))
    with pytest.raises(SettingError, match="too many for a dense pickle"):
        save_graph(
            LabelGraph(LabelCounts(large, 0, np.zeros(6_000, np.int64), csr_array((6_000, 6_000), dtype=np.int64))),
            tmp_path / "large.pkl",
        )
    assert list(tmp_path.iterdir()) == []


# GraphML


def test_other_programs_read_and_write_the_graphml(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx")
    graph = graph_of(("dog", "cat <&>", "cow"), tau=0.5)
    save_graph(graph, tmp_path / "graph.graphml")
    found = networkx.read_graphml(tmp_path / "graph.graphml")
    assert found.nodes["n1"] == {"label": "cat <&>", "images": 3}
    assert found.nodes["n0"]["group"] == "pets"
    assert found.edges["n1", "n0"] == {"images_with_both": 2, "weight": 2 / 3, "edge": True}
    assert found.edges["n0", "n1"]["edge"] is False
    networkx.write_graphml(found, tmp_path / "again.graphml")
    again = load_graph(tmp_path / "again.graphml")
    assert again.label_space == graph.label_space
    assert np.array_equal(again.pairs_KK.toarray(), graph.pairs_KK.toarray())
    moved = networkx.DiGraph(**found.graph)
    moved.add_nodes_from(list(found.nodes(data=True))[::-1])
    moved.add_edges_from(found.edges(data=True))
    networkx.write_graphml(moved, tmp_path / "moved.graphml")
    with pytest.raises(FormatError, match="in their order"):
        load_graph(tmp_path / "moved.graphml")


def test_graphml_of_another_program(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx")
    made, path = networkx.Graph(), tmp_path / "other.graphml"
    made.add_node("x", label="dog", images=4)
    made.add_node("y", label="cat", images=3)
    made.add_edge("x", "y", images_with_both=2)
    networkx.write_graphml(made, path)
    found = load_graph(path)
    assert found.label_space.names == ("dog", "cat")
    assert found.pairs_KK.toarray().tolist() == [[0, 2], [2, 0]]
    made.edges["x", "y"]["images_with_both"] = 2.5
    networkx.write_graphml(made, path)
    with pytest.raises(FormatError, match=r"x to y has images_with_both '2\.5'"):
        load_graph(path)
    del made.nodes["x"]["images"]
    networkx.write_graphml(made, path)
    with pytest.raises(FormatError, match="x has images None"):
        load_graph(path)


def test_entities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.graphml"
    save_graph(graph_of(), path)
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    for entity in (f'<!ENTITY a SYSTEM "{secret.as_uri()}">', '<!ENTITY a "ha"><!ENTITY b "&a;&a;">'):
        head, rest = path.read_text(encoding="utf-8").split("?>", 1)
        bad = tmp_path / "bad.graphml"
        bad.write_text(f"{head}?><!DOCTYPE graphml [{entity}]>{rest.replace('dog', '&a;')}", encoding="utf-8")
        with pytest.raises(FormatError, match="DOCTYPE"):
            load_graph(bad)
