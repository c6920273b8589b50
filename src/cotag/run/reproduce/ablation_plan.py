"""What ML-GCN's ablation varies: studies of one thing each, as settings of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cotag.errors import SettingError, suggestion
from cotag.recipe import GraphSettings, Recipe, VectorSettings
from cotag.run.checks import GRAPH_USES
from cotag.run.reproduce.study import Study, numbered, settings_of, study_of
from cotag.run.sweep.plan import Setting, parse_grid

TAUS = ("0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")
# With p = 1 a label would know nothing of itself, and one without neighbors nothing at all: the graph refuses it.
SHARES = ("0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95")
KINDS = ("reweighted", "binary", "identity")
DEPTHS = ("2", "3", "4")
MADE_UP = ("one_hot", "random", "learned")
DEPTH = "depth"
WIDTH = 1024
# Vectors that have to be fetched: their names in ``--vectors``, the files that are looked for, and how to get them.
FETCHED = {
    "glove": (
        "glove.6B.300d.txt",
        "download glove.6B.zip from nlp.stanford.edu/projects/glove and unpack glove.6B.300d.txt",
    ),
    "word2vec": (
        "GoogleNews-vectors-negative300.txt",
        "download GoogleNews-vectors-negative300.bin.gz from code.google.com/archive/p/word2vec and write it as text, "
        "with gensim: KeyedVectors.load_word2vec_format(FILE, binary=True).save_word2vec_format(FILE.txt)",
    ),
    "fasttext": (
        "crawl-300d-2M.vec",
        "download crawl-300d-2M.vec.zip from fasttext.cc/docs/en/english-vectors.html and unpack crawl-300d-2M.vec",
    ),
    "text": (
        "",
        "install cotag[clip] and give --vectors text=clip:ARCHITECTURE/WEIGHTS, such as "
        "text=clip:ViT-B-32/laion2b_s34b_b79k, which open_clip downloads, or a file of weights",
    ),
}


@dataclass(frozen=True)
class Plan:
    """What an ablation trains.

    Attributes:
        studies: in the order of the page.
        settings: all of them once, the recipe as it is first.
        not_run: what stands for labels in the papers and was not given: its name, and how to get it.
    """

    studies: Sequence[Study]
    settings: Sequence[Setting]
    not_run: Mapping[str, str] = field(default_factory=dict)


def ablation_plan(base: Recipe, grid: Sequence[str] = (), vectors: Sequence[str] = ()) -> Plan:
    """The studies of a recipe.

    Args:
        base: what each is a change of.
        grid: ``key=value,value``: other values of ``graph.kind``, ``graph.tau``, ``graph.p`` or ``depth``.
        vectors: ``glove=FILE`` and so on; files that lie in the current folder under their own names need not be given.

    Raises:
        SettingError: a key that is none of these, or an unknown kind of vectors.
    """
    values: dict[str, Sequence[str]] = {"graph.kind": KINDS, "graph.tau": TAUS, "graph.p": SHARES, DEPTH: DEPTHS}
    values |= _given_values(grid, values)
    sources = vector_sources(vectors)
    named = {name: name for name in MADE_UP} | {name: source for name, source in sources.items() if source}
    depth = len(base.model.head_args.get("widths", [WIDTH])) + 1
    every = (
        ("graph.kind", "Graph", {value: value for value in values["graph.kind"]}, base.graph.kind),
        ("graph.tau", "Threshold tau", numbered(values["graph.tau"]), f"{base.graph.tau:g}"),
        ("graph.p", "Share p", numbered(values["graph.p"]), f"{base.graph.p:g}"),
        ("vectors.source", "Label vectors", named, base.vectors.source),
        (DEPTH, "Depth", numbered(values[DEPTH]), str(depth)),
    )
    # A share that the recipe's kind of graph does not use is nothing to vary.
    used = ("graph.kind", "vectors.source", DEPTH, *(f"graph.{name}" for name in GRAPH_USES[base.graph.kind]))
    studies = [
        study_of(base, key, title, {name: _changes(base, key, value) for name, value in own.items()}, mine)
        for key, title, own, mine in every
        if key in used
    ]
    not_run = {name: FETCHED[name][1] for name, source in sources.items() if not source}
    return Plan(studies, settings_of(studies), not_run)


def vector_sources(given: Sequence[str]) -> dict[str, str]:
    """Where each of the vectors that have to be fetched is; an empty text for one that was not given nor found.

    Raises:
        SettingError: an unknown name, or no file of a name.
    """
    found = {name: file if file and Path(file).is_file() else "" for name, (file, _) in FETCHED.items()}
    for text in given:
        name, sign, source = text.partition("=")
        if not sign or not source:
            raise SettingError(f"--vectors {text!r}: expected NAME=FILE, such as glove=glove.6B.300d.txt")
        if name not in FETCHED:
            raise SettingError(f"--vectors {name}: is not known{suggestion(name, FETCHED)}")
        if not source.startswith("clip:") and not Path(source).is_file():
            raise SettingError(f"--vectors {text}: there is no such file; {FETCHED[name][1]}")
        found[name] = source
    return found


def _given_values(grid: Sequence[str], known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in grid:
        key, _, values = text.partition("=")
        if key.strip() not in known:
            raise SettingError(f"--grid {key}: is none of what the ablation varies{suggestion(key, known)}")
        # Depth is no key of a recipe; its values are whole numbers.
        found |= {DEPTH: values.split(",")} if key.strip() == DEPTH else parse_grid([text])
    if any(not value.strip().isdecimal() or int(value) < 1 for value in found.get(DEPTH, ())):
        raise SettingError(f"--grid depth={','.join(found[DEPTH])}: expected whole numbers of at least 1")
    return found


def _changes(base: Recipe, key: str, value: str) -> list[str]:
    """The ``key=value`` texts of a value; what it leaves no use for goes back to what it is by default."""
    if key == DEPTH:
        widths = base.model.head_args.get("widths") or [WIDTH]
        return [f"model.head_args.widths={[widths[-1]] * (int(value) - 1)}"]
    changes = [f"{key}={value}"]
    if key == "graph.kind" and value in GRAPH_USES:
        usual = GraphSettings()
        changes += [
            f"graph.{name}={getattr(usual, name)}" for name in ("tau", "p", "axis") if name not in GRAPH_USES[value]
        ]
    if key == "vectors.source" and value not in ("random", "learned") and VectorSettings().size != base.vectors.size:
        changes.append("vectors.size=null")
    return changes
