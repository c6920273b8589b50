"""Heads on the same frozen features: mAP over seeds, with paired intervals against the linear head.

    python benchmarks/head_quality.py --shared ../shared/data --data coco604 --seeds 5

Every head is fitted on the training images and judged on the test images. Its learning rate and weight decay are
chosen once, on the images that choose for seed 0; for each seed, other images choose the epoch, and the head is then
fitted again on all training images for as many. The linear heads are solved, their strength chosen by 5 folds. A
difference is the mean over seeds; its interval counts the images that judge and the seeds (``compare_repeated``).

``--data themes`` is the case where the graph must help: the drawn scenes' themes, which no picture shows, each known
for 2 of 100 training images (others for each seed) and implied by labels that are known; mAP is that of the themes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cotag.cli.terminal import TerminalProgress
from cotag.data.read import read
from cotag.data.scenes.themes import known_on
from cotag.data.splits import assign_roles, stratified_folds
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import compare_repeated, value_of
from cotag.labels.embeddings import label_vectors
from cotag.labels.graph import LabelGraph, build_graph
from cotag.models.scoring import score_batches
from cotag.models.tagger import build_tagger
from cotag.registry import HEADS
from cotag.run.fitting import judge
from cotag.run.model import as_tensor
from cotag.run.roles import FOLDS
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureBatches, FeatureSet, compute_features
from cotag.training.head_fit import CachedHead, HeadLoop, Part, Solver, descend_head, solve_head
from cotag.training.loop_settings import LoopSettings
from cotag.training.losses.bce import BCE
from cotag.training.optim import adamw
from cotag.training.schedules import cosine
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent
from cotag.types.scores import Scores


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        place: as ``cotag.read`` takes it.
        options: of the reader.
        test: the split that judges; ``train`` trains.
        group: of the labels that are judged; all where None.
        known: the share of the training images for which a theme is known; 1 for other data.
        graph: settings of the graph.
        image_size: pixels.
    """

    place: str
    test: str = "test"
    options: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    known: float = 1.0
    graph: dict[str, Any] = field(default_factory=dict)
    image_size: int = 224


DATA = {
    "coco604": Source("coco:{shared}/coco604", "val"),
    # At 0.4 its graph has no edge; 0.2 is near what cotag graph proposes.
    "miml2000": Source("table:{shared}/miml2000/labels.csv", graph={"tau": 0.2}),
    "themes": Source(
        "scenes:themes", options={"images": 4000, "known": 1.0}, group="theme", known=0.02,
        graph={"unknown": "left_out"}, image_size=128,
    ),
}  # fmt: skip
BASE = "linear, average"
RATES = (3e-4, 1e-3, 3e-3)
DECAYS = (1e-2, 3.0)


@dataclass(frozen=True)
class Kind:
    """A head with its settings, and the graph that it is given.

    Attributes:
        head: its name.
        args: its settings.
        solved: by the batched solver, else by the training loop.
        graph: makes its graph of the labels' own.
        tune_decay: whether its weight decay is tuned too; not for heads on maps, which take long.
    """

    head: str
    args: dict[str, Any]
    solved: bool = False
    graph: Callable[[LabelGraph, int], LabelGraph] | None = None
    tune_decay: bool = True


def kinds() -> dict[str, Kind]:
    """What is compared, by name."""

    def own(graph: LabelGraph, seed: int) -> LabelGraph:
        return graph

    def identity(graph: LabelGraph, seed: int) -> LabelGraph:
        return graph.with_settings(kind="identity")

    small = {"width": 128, "feedforward": 256}
    return {
        BASE: Kind("linear", {"pooling": "avg"}, solved=True),
        "linear, maximum": Kind("linear", {"pooling": "max"}, solved=True),
        "linear, maximum, by the loop": Kind("linear", {"pooling": "max"}),
        "linear, average, by the loop": Kind("linear", {"pooling": "avg"}),
        "gcn, identity": Kind("gcn", {}, graph=identity),
        "gcn, own graph": Kind("gcn", {}, graph=own),
        "gcn, shuffled graph": Kind("gcn", {}, graph=lambda graph, seed: graph.shuffled(seed)),
        "gcn, identity, average": Kind("gcn", {"pooling": "avg"}, graph=identity),
        "gcn, own graph, average": Kind("gcn", {"pooling": "avg"}, graph=own),
        "csra": Kind("csra", {}, tune_decay=False),
        "query": Kind("query", small, tune_decay=False),
    }


class Bench:
    """Features, roles and heads of one data set."""

    def __init__(self, name: str, shared: Path, epochs: int) -> None:
        self.source = DATA[name]
        self.index: Index = read(self.source.place.format(shared=shared), **self.source.options)
        self.weights = shared / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
        self.epochs = epochs
        self.vectors = torch.from_numpy(label_vectors(self.index.label_space, "one_hot").vectors_KE)
        self._features: dict[str, FeatureSet] = {}

    def features(self, reads: str) -> FeatureSet:
        """What a head reads of all images, from the feature bank."""
        if reads not in self._features:
            head = ("csra", {}) if reads == "map" else ("linear", {"pooling": reads})
            tagger = build_tagger(
                self.index.label_space, "mobilenetv2_100", head[0], {"pad_type": "same"}, str(self.weights), head[1],
                {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "image_size": self.source.image_size},
            )  # fmt: skip
            rows = np.arange(len(self.index))
            self._features[reads] = compute_features(tagger, self.index, rows, TerminalProgress())
        return self._features[reads]

    def fit(self, kind: Kind, seed: int, rate: float, decay: float, refit: bool = True) -> tuple[float, Scores]:
        """(val_mAP of the best choice, Scores of the images that judge)."""
        index = known_on(self.index, self.source.known, seed) if self.source.known < 1 else self.index
        roles = assign_roles(index, "train", 0.2, self.source.test, seed)
        torch.manual_seed(seed)
        supplies: dict[str, torch.Tensor] = {}
        if kind.graph is not None:
            graph = kind.graph(build_graph(index, roles.train, **self.source.graph), seed)
            supplies = {"graph": as_tensor(graph), "vectors": self.vectors}
        labels = len(index.label_space)
        head = HEADS.build(kind.head, num_features=1280, num_labels=labels, **supplies, **kind.args)
        found = self.features(str(head.reads))
        train, choose, test = (
            Part(found.of(rows), index.targets(rows)) for rows in (roles.train, roles.choose, roles.test)
        )
        if kind.solved:
            both = np.concatenate([roles.train, roles.choose])
            folds = stratified_folds(index, both, FOLDS, seed)
            chosen = solve_head(head, train, choose, Solver("auto", "mAP", True, folds_N=folds), judge)
        else:
            settings = LoopSettings(self.epochs, warmup_epochs=1, clip_norm=10.0)
            loop = HeadLoop(settings, adamw, lambda model, counts: Criterion(BCE()), cosine(), 64, rate, seed)
            if hasattr(head, "start_from"):
                head.start_from(torch.from_numpy(((train.targets_NK == 1).mean(0) + 1e-4).astype(np.float32)))
            chosen = descend_head(head, train, choose, decay, judge, loop, refit, Silent())
        _, logits = score_batches(CachedHead(head), FeatureBatches(test.features, test.targets_NK, 256))
        best = max(row["val_mAP"] for row in chosen.history)
        return best, self._judged(index, roles.test, logits, test.targets_NK)

    def _judged(self, index: Index, rows: np.ndarray, logits_NK: np.ndarray, targets_NK: np.ndarray) -> Scores:
        """Scores of the labels that are judged."""
        names, groups = index.label_space.names, index.label_space.groups or ()
        kept = [k for k in range(len(names)) if self.source.group in (None, *groups[k : k + 1])]
        space = LabelSpace(tuple(names[k] for k in kept))
        ids = [index.ids[int(row)] for row in rows]
        return Scores(ids, logits_NK[:, kept], targets_NK[:, kept], "logit", space, {})

    def tuned(self, kind: Kind) -> tuple[float, float]:
        """The learning rate and the weight decay that choose best for seed 0."""
        if kind.solved:
            return RATES[0], DECAYS[0]
        decays = DECAYS if kind.tune_decay else DECAYS[:1]
        tried = {(rate, decay): self.fit(kind, 0, rate, decay, refit=False)[0] for rate in RATES for decay in decays}
        return max(tried, key=lambda pair: tried[pair])


def fitted(bench: Bench, wanted: list[str], seeds: int) -> Iterator[tuple[str, dict[int, Scores], str, float]]:
    """Each kind's name, its Scores by seed, what was chosen for it, and the seconds of a fit."""
    for name, kind in kinds().items():
        if name not in wanted:
            continue
        started = time.perf_counter()
        rate, decay = bench.tuned(kind)
        tuned = time.perf_counter()
        found = {seed: bench.fit(kind, seed, rate, decay)[1] for seed in range(seeds)}
        seconds = (time.perf_counter() - tuned) / seeds
        print(f"{name}: {tuned - started:.0f} s tuning, {seconds:.1f} s a seed", flush=True)
        yield name, found, "by folds" if kind.solved else f"{rate:g}, {decay:g}", seconds


def table(bench: Bench, wanted: list[str], seeds: int) -> str:
    """The table of a data set."""
    found = list(fitted(bench, wanted, seeds))
    scores = {name: by_seed for name, by_seed, _, _ in found}
    baselines = [name for name in (found[0][0], "gcn, identity") if name in scores]
    against = {base: {d.name: d for d in compare_repeated(scores, base).differences} for base in baselines}
    columns = ["head", "mAP", "spread"]
    for base in baselines:
        columns += [f"minus {base}", "95 %", "verdict"]
    rows: list[list[Any]] = []
    for name, by_seed, chosen, seconds in found:
        values = [value_of(one, "mAP", protocol_of("default")) for one in by_seed.values()]
        rows.append([name, float(np.mean(values)), float(np.std(values, ddof=1))])
        for base in baselines:
            told = against[base].get(name)
            low, high = (told.interval if told else None) or (np.nan, np.nan)
            rows[-1] += [told.difference, f"{low:+.4f} to {high:+.4f}", told.verdict] if told else [None] * 3
        rows[-1] += [chosen, f"{seconds:.1f}"]
    return markdown([*columns, "rate, decay", "seconds"], rows)


def markdown(columns: Sequence[str], table: Sequence[Sequence[Any]]) -> str:
    """A table as docs/ has them."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += [["" if c is None else f"{c:.4f}" if isinstance(c, float) else str(c) for c in row] for row in table]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", choices=sorted(DATA), nargs="+", default=sorted(DATA))
    parser.add_argument("--heads", nargs="+", default=list(kinds()), help="names, as the table prints them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    for name in given.data:
        bench = Bench(name, given.shared, given.epochs)
        print(f"\n{name}: heads on frozen features, {given.seeds} seeds\n")
        print(table(bench, given.heads, given.seeds))


if __name__ == "__main__":
    main()
