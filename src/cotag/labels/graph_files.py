"""Label graphs in files: the authors' pickles, npz, and GraphML for networkx and Gephi."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from cotag.errors import CotagError, FormatError, SettingError, suggestion
from cotag.labels.counts import LabelCounts
from cotag.labels.graph import SETTINGS, LabelGraph
from cotag.labels.pickles import read_numpy_pickle
from cotag.storage import require_free, whole_file
from cotag.types.labels import LabelSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SUFFIXES = (".npz", ".graphml", ".pkl")
MOST_DENSE_LABELS = 5_000
NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
KEYS = {
    "cotag": ("graph", "string"),
    "label": ("node", "string"),
    "group": ("node", "string"),
    "images": ("node", "long"),
    "images_with_both": ("edge", "long"),
    "weight": ("edge", "double"),
    "edge": ("edge", "boolean"),
}


def save_graph(graph: LabelGraph, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write the counts, the label names with their hash, and the settings; ``load_graph`` gives all of it back.

    Args:
        path: ends in ``.npz``, in ``.graphml`` (each pair of labels in both directions, with P(B|A) as ``weight`` and
            whether it is an ``edge`` of the graph), or in ``.pkl`` (``nums`` and ``adj`` as the authors of ML-GCN
            publish them; their program passes over the rest).

    Raises:
        SettingError: the path ends otherwise, or has too many labels for a dense pickle.
        OutputExists: there is a file and ``force`` was not given.
        StorageError: it could not be written.
    """
    suffix = check_suffix(path)
    require_free(path, force)
    if graph.counts.unsure_KK is not None:
        raise SettingError(f"{path}: a file holds plain counts; save the graph with unknown labels counted as absent")
    if suffix == ".pkl" and len(graph) > MOST_DENSE_LABELS:
        raise SettingError(f"{path}: pairs of {len(graph):,} labels are too many for a dense pickle; choose .npz")
    with whole_file(path) as temporary, temporary.open("wb") as file:
        if suffix == ".npz":
            pairs = graph.pairs_KK
            arrays = {"nums": graph.counts_K, "pairs": pairs.data, "labels": pairs.indices, "starts": pairs.indptr}
            np.savez_compressed(file, about=np.array(_about(graph)), **arrays)
        elif suffix == ".pkl":
            dense = {"nums": graph.counts_K, "adj": graph.pairs_KK.toarray(), "about": _about(graph)}
            pickle.dump(dense, file, protocol=3)
        else:
            _graphml(graph).write(file, encoding="utf-8", xml_declaration=True)


def load_graph(path: str | os.PathLike[str], label_space: LabelSpace | None = None) -> LabelGraph:
    """Read a graph of ``save_graph``, the authors' counts, or GraphML with ``images`` at its nodes and edges.

    Args:
        path: ``.npz``, ``.graphml`` or ``.pkl``. The settings are those of the file, or the usual ones.
        label_space: the labels in the order of the file, needed where it names none (the authors' pickles: the COCO
            classes there are in alphabetical order); where it does, they must be the same.

    Raises:
        FormatError: no such file, damaged, code in it, or not whole numbers that can be counts of images.
        LabelSpaceError: the names in the file are others, or in another order.
        SettingError: the path ends otherwise, or the file names no labels and none are given.
    """
    suffix = check_suffix(path)
    if suffix == ".graphml":
        given, counts_K, pairs_KK = _of_graphml(path)
    else:
        given, counts_K, pairs_KK = _of_arrays(_npz(path) if suffix == ".npz" else read_numpy_pickle(path), path)
    about, named = _declared(given, path)
    if named and label_space:
        named.require_same(label_space, f"{path} and the labels that are wanted")
    space = named or label_space
    if space is None:
        raise SettingError(f"{path}: names no labels; give label_space, the labels in the order of the file")
    if len(counts_K) != len(space):
        raise FormatError(f"{path}: counts {len(counts_K)} labels and {len(space)} are given; give the counts of these")
    try:
        settings = {name: about[name] for name in SETTINGS if name in about}
        return LabelGraph(LabelCounts(space, about.get("images"), counts_K, pairs_KK), **settings)
    except (CotagError, TypeError) as error:
        raise FormatError(f"{path}: {error}") from error


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The ending of a path of a graph.

    Raises:
        SettingError: it is none of ``SUFFIXES``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise SettingError(f"{path}: a graph's file ends in one of {', '.join(SUFFIXES)}{suggestion(suffix, SUFFIXES)}")
    return suffix


def _declared(given: str, path: str | os.PathLike[str]) -> tuple[dict[str, Any], LabelSpace | None]:
    """What a file says of itself, and the labels that it names."""
    try:
        about = json.loads(given) if given else {}
        return about, LabelSpace.from_json(about["label_space"]) if about else None
    except (CotagError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: what it says of its labels is damaged ({error}); save the graph again") from error


def _about(graph: LabelGraph) -> str:
    settings = {name: getattr(graph, name) for name in SETTINGS}
    about = {"label_space": graph.label_space.to_json(), "images": graph.images, **settings}
    return json.dumps(about)


# Arrays


def _npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file; check the path") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, MemoryError, AttributeError, TypeError) as error:
        raise FormatError(f"{path}: is no npz file, or one that was cut short; write or copy it again") from error


def _of_arrays(found: object, path: str | os.PathLike[str]) -> tuple[str, np.ndarray, Any]:
    """What the file says of itself, counts and pairs, of arrays of ours or of the authors'."""
    from scipy.sparse import csr_array

    if not isinstance(found, Mapping) or "nums" not in found or not {"adj", "pairs"} & set(found):
        raise FormatError(f"{path}: holds no label counts; expected the keys nums (K) and adj (K x K)")
    counts_K = _whole(found["nums"], f"{path}: nums", 1)
    if "adj" in found:
        adjacency_KK = _whole(found["adj"], f"{path}: adj", 2)
        if adjacency_KK.shape != (len(counts_K), len(counts_K)):
            shape = " x ".join(map(str, adjacency_KK.shape))
            raise FormatError(
                f"{path}: adj is {shape} and nums has {len(counts_K)}; adj must be square and of that size"
            )
        return str(found.get("about", "")), counts_K, csr_array(adjacency_KK)
    try:
        pairs = _whole(found["pairs"], f"{path}: pairs", 1)
        parts = (pairs, _whole(found["labels"], f"{path}: labels", 1), _whole(found["starts"], f"{path}: starts", 1))
        made = csr_array(parts, shape=(len(counts_K), len(counts_K)))
        made.check_format()
    except (KeyError, ValueError) as error:
        raise FormatError(f"{path}: its pairs of labels are damaged ({error}); save the graph again") from error
    return str(found.get("about", "")), counts_K, made


def _whole(values: object, what: str, dimensions: int) -> np.ndarray:
    """An array as int64; floats only where they are whole numbers."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or values.ndim != dimensions:
        raise FormatError(f"{what} is no {'K x K' if dimensions == 2 else 'list'} of numbers; give counts of images")
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        wrong = values[~(np.isfinite(values) & (values == np.floor(values)))][0]
        raise FormatError(f"{what} holds {wrong}; give counts of images, which are whole numbers")
    return values.astype(np.int64)


# GraphML


def _graphml(graph: LabelGraph) -> ElementTree.ElementTree:
    root = ElementTree.Element("graphml", xmlns=NAMESPACE)
    for name, (where, kind) in KEYS.items():
        ElementTree.SubElement(
            root, "key", {"id": f"{where}_{name}", "for": where, "attr.name": name, "attr.type": kind}
        )
    top = ElementTree.SubElement(root, "graph", id="labels", edgedefault="directed")
    _add(top, "graph", cotag=_about(graph))
    space = graph.label_space
    for label, name in enumerate(space.names):
        node = ElementTree.SubElement(top, "node", id=f"n{label}")
        _add(node, "node", label=_printable(name), images=int(graph.counts_K[label]))
        group = space.groups[label] if space.groups else None
        if group is not None:
            _add(node, "node", group=_printable(group))
    edges = set(zip(*(part.tolist() for part in graph.edges().nonzero()), strict=True))
    shares, pairs = graph.conditional().tocoo(), graph.pairs_KK.tocoo()
    for a, b, count, share in zip(pairs.row, pairs.col, pairs.data, shares.data, strict=True):
        line = ElementTree.SubElement(top, "edge", source=f"n{a}", target=f"n{b}")
        is_edge = "true" if (int(a), int(b)) in edges else "false"
        _add(line, "edge", images_with_both=int(count), weight=repr(float(share)), edge=is_edge)
    return ElementTree.ElementTree(root)


def _add(element: ElementTree.Element, where: str, **values: object) -> None:
    for name, value in values.items():
        ElementTree.SubElement(element, "data", key=f"{where}_{name}").text = str(value)


def _printable(name: str) -> str:
    """A name as XML can hold it; the exact names stand in the JSON, which escapes what XML cannot hold."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


class _NoEntities(ElementTree.TreeBuilder):
    def doctype(self, name: str, *rest: str | None) -> None:
        raise ElementTree.ParseError("has a DOCTYPE, which a graph does not need")


def _of_graphml(path: str | os.PathLike[str]) -> tuple[str, np.ndarray, csr_array]:
    from scipy.sparse import coo_array

    try:
        root = ElementTree.parse(path, ElementTree.XMLParser(target=_NoEntities())).getroot()
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file; check the path") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FormatError(f"{path}: is no GraphML that can be read ({error}); export it again") from error
    names = {key.get("id"): key.get("attr.name") for key in root.iter(f"{{{NAMESPACE}}}key")}
    top = root.find(f"{{{NAMESPACE}}}graph")
    if top is None:
        raise FormatError(f"{path}: holds no graph; expected GraphML with one graph")
    nodes = {node.get("id"): number for number, node in enumerate(top.findall(f"{{{NAMESPACE}}}node"))}
    counts = [_number(node, "images", names, path) for node in top.findall(f"{{{NAMESPACE}}}node")]
    found = list(_pairs(top, nodes, names, path))
    a, b, both = (np.array([item[place] for item in found], dtype=np.int64) for place in range(3))
    if top.get("edgedefault") == "undirected":
        a, b, both = np.concatenate((a, b)), np.concatenate((b, a)), np.concatenate((both, both))
    labels = [dict(_data(node, names)).get("label") for node in top.findall(f"{{{NAMESPACE}}}node")]
    return (
        _named(dict(_data(top, names)).get("cotag") or "", labels, path),
        np.array(counts, dtype=np.int64),
        coo_array((both, (a, b)), (len(nodes), len(nodes))).tocsr(),
    )


def _named(given: str, labels: list[str | None], path: str | os.PathLike[str]) -> str:
    """What the file says of itself, or else the names at its nodes; another program may have put these in any order."""
    if not given:
        return json.dumps({"label_space": {"names": labels}}) if labels and None not in labels else ""
    _, space = _declared(given, path)
    if space is not None and labels != [_printable(name) for name in space.names]:
        raise FormatError(f"{path}: its nodes are not the labels that it names, in their order; save the graph again")
    return given


def _pairs(
    top: ElementTree.Element, nodes: Mapping[str | None, int], names: Mapping[str | None, str | None], path: Any
) -> Iterator[tuple[int, int, int]]:
    for edge in top.findall(f"{{{NAMESPACE}}}edge"):
        source, target = edge.get("source"), edge.get("target")
        if source not in nodes or target not in nodes:
            raise FormatError(
                f"{path}: an edge goes from {source} to {target}, and there is no such node; export it again"
            )
        yield nodes[source], nodes[target], _number(edge, "images_with_both", names, path)


def _data(element: ElementTree.Element, names: Mapping[str | None, str | None]) -> Iterator[tuple[str | None, str]]:
    for item in element.findall(f"{{{NAMESPACE}}}data"):
        yield names.get(item.get("key")), item.text or ""


def _number(element: ElementTree.Element, name: str, names: Mapping[str | None, str | None], path: Any) -> int:
    given = dict(_data(element, names)).get(name)
    what = element.get("id") or f"{element.get('source')} to {element.get('target')}"
    if given is None or not given.strip().lstrip("-").isdigit() or len(given) > 18:
        raise FormatError(f"{path}: {what} has {name} {given!r}; give each its images as a whole number")
    return int(given)
