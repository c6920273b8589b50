"""Heads on the same frozen features: mAP over seeds, with paired intervals against the linear head.

    python benchmarks/head_quality.py --shared ../shared/data --data coco604 --seeds 5

Every head is fitted on the training images and judged on the test images. Its learning rate and weight decay are
chosen once, on the images that choose for seed 0; for each seed, other images choose the epoch, and the head is then
fitted again on all training images for as many. The linear heads are solved, their strength chosen by 5 folds. A
difference is the mean over seeds, its interval over the images that judge.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cotag.cli.terminal import TerminalProgress, print_sections
from cotag.data.read import read
from cotag.data.splits import assign_roles, stratified_folds
from cotag.evaluation.uncertainty import Resampling, paired_interval
from cotag.labels.embeddings import label_vectors
from cotag.labels.graph import LabelGraph, build_graph
from cotag.models.scoring import score_batches
from cotag.models.tagger import build_tagger
from cotag.registry import HEADS
from cotag.run.fitting import FOLDS, judge
from cotag.run.model import as_tensor
from cotag.training.features import FeatureBatches, FeatureSet, compute_features
from cotag.training.head_fit import CachedHead, HeadLoop, Part, Solver, descend_head, solve_head
from cotag.training.losses.bce import BCE
from cotag.training.optim import adamw
from cotag.training.schedules import cosine
from cotag.training.trainer import LoopSettings
from cotag.types.index import Index
from cotag.types.progress import Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

DATA = {
    "coco604": ("coco:{shared}/coco604", {"train": "train", "test": "val"}),
    "miml2000": ("table:{shared}/miml2000/labels.csv", {"train": "train", "test": "test"}),
}
BASE = "linear, average"
RATES = (3e-4, 1e-3, 3e-3)
DECAYS = (1e-2, 1.0)


@dataclass(frozen=True)
class Kind:
    """A head with its settings, and the graph that it is given.

    Attributes:
        head: its name.
        args: its settings.
        solved: by the batched solver, else by the training loop.
        graph: makes its graph of the labels' own.
    """

    head: str
    args: dict[str, Any]
    solved: bool = False
    graph: Callable[[LabelGraph, int], LabelGraph] | None = None


def kinds() -> dict[str, Kind]:
    """What is compared, by name."""
    small = {"width": 256, "feedforward": 512}
    return {
        BASE: Kind("linear", {"pooling": "avg"}, solved=True),
        "linear, maximum": Kind("linear", {"pooling": "max"}, solved=True),
        "linear, maximum, by the loop": Kind("linear", {"pooling": "max"}),
        "gcn, own graph": Kind("gcn", {}, graph=lambda graph, seed: graph),
        "gcn, identity": Kind("gcn", {}, graph=lambda graph, seed: graph.with_settings(kind="identity")),
        "gcn, shuffled graph": Kind("gcn", {}, graph=lambda graph, seed: graph.shuffled(seed)),
        "csra": Kind("csra", {}),
        "query": Kind("query", small),
    }


class Bench:
    """Features, roles and heads of one data set."""

    def __init__(self, name: str, shared: Path, epochs: int) -> None:
        place, self.splits = DATA[name]
        self.index: Index = read(place.format(shared=shared))
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
                {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
            )  # fmt: skip
            rows = np.arange(len(self.index))
            self._features[reads] = compute_features(tagger, self.index, rows, TerminalProgress())
        return self._features[reads]

    def fit(self, kind: Kind, seed: int, rate: float, decay: float, refit: bool = True) -> tuple[float, Scores]:
        """(val_mAP of the best choice, Scores of the images that judge)."""
        roles = assign_roles(self.index, self.splits["train"], 0.2, self.splits["test"], seed)
        torch.manual_seed(seed)
        supplies: dict[str, torch.Tensor] = {}
        if kind.graph is not None:
            supplies = {
                "graph": as_tensor(kind.graph(build_graph(self.index, roles.train), seed)), "vectors": self.vectors,
            }  # fmt: skip
        labels = len(self.index.label_space)
        head = HEADS.build(kind.head, num_features=1280, num_labels=labels, **supplies, **kind.args)
        found = self.features(str(head.reads))
        train, choose, test = (
            Part(found.of(rows), self.index.targets(rows)) for rows in (roles.train, roles.choose, roles.test)
        )
        if kind.solved:
            both = np.concatenate([roles.train, roles.choose])
            folds = stratified_folds(self.index, both, FOLDS, seed)
            chosen = solve_head(head, train, choose, Solver("auto", "mAP", True, folds_N=folds), judge)
        else:
            settings = LoopSettings(self.epochs, warmup_epochs=1, clip_norm=10.0)
            loop = HeadLoop(settings, adamw, BCE, cosine(), 64, rate, seed)
            if hasattr(head, "start_from"):
                head.start_from(torch.from_numpy(((train.targets_NK == 1).mean(0) + 1e-4).astype(np.float32)))
            chosen = descend_head(head, train, choose, decay, judge, loop, refit, Silent())
        _, logits = score_batches(CachedHead(head), FeatureBatches(test.features, test.targets_NK, 256))
        ids = [self.index.ids[int(row)] for row in roles.test]
        best = max(row["val_mAP"] for row in chosen.history)
        return best, Scores(ids, logits, test.targets_NK, "logit", self.index.label_space, {})

    def tuned(self, kind: Kind) -> tuple[float, float]:
        """The learning rate and the weight decay that choose best for seed 0."""
        if kind.solved:
            return RATES[0], DECAYS[0]
        tried = {(rate, decay): self.fit(kind, 0, rate, decay, refit=False)[0] for rate in RATES for decay in DECAYS}
        return max(tried, key=lambda key: tried[key])


def rows(bench: Bench, wanted: list[str], seeds: int, resamples: int) -> Iterator[list[Any]]:
    """One line of the table for each kind."""
    base: np.ndarray | None = None
    values: dict[str, np.ndarray] = {}
    for name, kind in kinds().items():
        if name not in wanted:
            continue
        started = time.perf_counter()
        rate, decay = bench.tuned(kind)
        tuned = time.perf_counter()
        found = [bench.fit(kind, seed, rate, decay)[1] for seed in range(seeds)]
        seconds = (time.perf_counter() - tuned) / seeds
        resampling = Resampling(found[0], "default", resamples, 0)
        by_seed = [resampling.numbers(scores, None, ("mAP",))["mAP"] for scores in found]
        values[name] = np.mean(by_seed, axis=0)
        spread = float(np.std([value[0] for value in by_seed], ddof=1)) if seeds > 1 else None
        base = values[name] if base is None else base
        line = [name, float(values[name][0]), spread]
        for other in (base, values.get("gcn, identity")):
            if other is None or other is values[name]:
                line += [None, None]
            else:
                interval, _ = paired_interval(values[name] - other, 0.95)
                line += [float(values[name][0] - other[0]), _shown(interval)]
        chosen = "by folds" if kind.solved else f"{rate:g}, {decay:g}"
        print(f"{name}: {line[1]:.4f} ({tuned - started:.0f} s tuning, {seconds:.1f} s a seed)", flush=True)
        yield [*line, chosen, seconds]


def _shown(interval: tuple[float, float] | None) -> str | None:
    return None if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", choices=sorted(DATA), nargs="+", default=sorted(DATA))
    parser.add_argument("--heads", nargs="+", default=list(kinds()), help="names, as the table prints them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    for name in given.data:
        bench = Bench(name, given.shared, given.epochs)
        columns = (
            "head", "mAP", "spread over seeds", f"minus {BASE}", "95 %", "minus gcn, identity", "95 % of that",
            "learning rate, weight decay", "seconds a fit",
        )  # fmt: skip
        table = list(rows(bench, given.heads, given.seeds, given.resamples))
        print_sections([Section(f"{name}: heads on frozen features, {given.seeds} seeds", "", columns, table)])


if __name__ == "__main__":
    main()
