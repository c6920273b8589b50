"""Labels of which many are unknown: losses for them against "unknown means absent", on frozen features of coco604.

    python benchmarks/partial_labels.py --shared ../shared/data --seeds 5

A linear head on average-pooled features of mobilenetv2_100. Of the images that train, labels are hidden: 50 or 80 of
100 entries at random (others for each seed), or all but one present label of each image. A fifth of the training
images, annotated in full as in the papers, chooses the epoch for each seed and, once for seed 0, the learning rate and
the weight decay; it does not train. The test images, annotated in full, judge. A difference is the mean over seeds; its
interval counts the images that judge and the seeds (``compare_repeated``).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cotag.cli.terminal import TerminalProgress
from cotag.data.read import read
from cotag.data.splits import assign_roles
from cotag.evaluation.comparison import Difference
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import compare_repeated, value_of
from cotag.models.heads.linear import LinearHead
from cotag.models.scoring import score_batches
from cotag.models.tagger import build_tagger
from cotag.recipe import Recipe
from cotag.run.fitting import judge, start_at_base_rate
from cotag.run.losses import as_taught, head_criteria
from cotag.training.features import FeatureBatches, FeatureSet, compute_features
from cotag.training.head_fit import CachedHead, Chosen, HeadLoop, Part
from cotag.training.label_counts import LabelCounts
from cotag.training.loop_settings import LoopSettings
from cotag.training.optim import adamw
from cotag.training.schedules import cosine
from cotag.training.together import Fit, fit_together
from cotag.types.progress import Silent
from cotag.types.scores import Scores

RATES = (1e-3, 3e-3, 1e-2)
DECAYS = (0.1, 1.0, 3.0, 10.0)
Hide = Callable[[np.ndarray, int], np.ndarray]
ABSENT, LEFT_OUT = "unknown means absent", "bce, unknown left out"


@dataclass(frozen=True)
class Kind:
    """A loss with its settings; ``labels_per_image`` is counted on the images that choose, where it is asked for.

    Attributes:
        hides: whether labels are hidden from it.
        counted: whether it is told how many labels an image has.
    """

    loss: str
    args: dict[str, Any] = field(default_factory=dict)
    hides: bool = True
    counted: bool = False


KINDS = {
    ABSENT: Kind("assume_negative"),
    LEFT_OUT: Kind("bce"),
    "assume_negative, weight 0.3": Kind("assume_negative", {"weight": 0.3}),
    "assume_negative, weak": Kind("assume_negative", {"weight": "weak"}),
    "assume_negative, smoothing 0.1": Kind("assume_negative", {"smoothing": 0.1}),
    "large_loss, reject": Kind("large_loss", {"kind": "reject"}),
    "large_loss, correct": Kind("large_loss", {"kind": "correct"}),
    "hill": Kind("hill"),
    "expected_positives": Kind("expected_positives", counted=True),
    "zlpr, unknown left out": Kind("zlpr"),
    "bce, nothing hidden": Kind("bce", hides=False),
}


def share_hidden(targets_NK: np.ndarray, seed: int, share: float) -> np.ndarray:
    """Each entry unknown with a probability."""
    hidden = np.random.default_rng((seed, 1)).random(targets_NK.shape) < share
    return np.where(hidden, -1, targets_NK).astype(np.int8)


def one_positive(targets_NK: np.ndarray, seed: int) -> np.ndarray:
    """Of each image one of its labels, all else unknown."""
    random = np.random.default_rng((seed, 2))
    found = np.full_like(targets_NK, -1)
    for row, present in enumerate(targets_NK == 1):
        if present.any():
            found[row, random.choice(np.flatnonzero(present))] = 1
    return found


HIDINGS: dict[str, Hide] = {
    "50 of 100 hidden": partial(share_hidden, share=0.5),
    "80 of 100 hidden": partial(share_hidden, share=0.8),
    "one positive": one_positive,
}


class Bench:
    """The features, and the fits of one way of hiding."""

    def __init__(self, shared: Path, epochs: int) -> None:
        self.index = read(f"coco:{shared}/coco604")
        weights = str(shared / "weights" / "mobilenetv2_100.imagenet1k.safetensors")
        tagger = build_tagger(
            self.index.label_space, "mobilenetv2_100", "linear", {"pad_type": "same"}, weights, {"pooling": "avg"},
            {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "image_size": 224},
        )  # fmt: skip
        self.features: FeatureSet = compute_features(tagger, self.index, np.arange(len(self.index)), TerminalProgress())
        self.loop = LoopSettings(epochs, warmup_epochs=1.0, clip_norm=10.0)

    def parts(self, hide: Hide, seed: int) -> dict[str, Part]:
        """Images by role; those that train have hidden labels."""
        roles = assign_roles(self.index, "train", 0.2, "val", seed)
        found = {}
        for role in ("train", "choose", "test"):
            part = self.features.of(getattr(roles, role))
            targets_NK = self.index.targets(part.rows)
            found[role] = Part(part, hide(targets_NK, seed) if role == "train" else targets_NK)
        return found

    def fit(self, kind: Kind, parts: dict[str, Part], seed: int, rate: float, decay: float) -> Fit:
        """What is to be fitted, untrained."""
        args = dict(kind.args)
        if kind.counted:
            args["labels_per_image"] = float((parts["choose"].targets_NK == 1).sum(1).mean())
        recipe = Recipe.from_dict(
            {"train": {"loss": kind.loss, "loss_args": args, "optimizer": "adamw", "refit": False}}
        )
        torch.manual_seed(seed)
        head = LinearHead(1280, len(self.index.label_space), "avg")
        targets_NK = parts["train"].targets_NK
        start_at_base_rate(head, as_taught(recipe, LabelCounts.of(targets_NK), len(targets_NK)))
        how = HeadLoop(self.loop, adamw, head_criteria(recipe, parts), cosine(), 64, rate, seed)
        return Fit(head, parts["train"], parts["choose"], decay, how, False)

    def together(self, fits: Sequence[Fit]) -> list[Chosen]:
        """The fits, done."""
        found = fit_together(fits, judge, Silent())
        failed = [one for one in found if not isinstance(one, Chosen)]
        if failed:
            raise failed[0]
        return [one for one in found if isinstance(one, Chosen)]

    def scores(self, head: nn.Module, test: Part) -> Scores:
        """What a head says of the images that judge."""
        _, logits = score_batches(CachedHead(head), FeatureBatches(test.features, test.targets_NK, 256))
        ids = [self.index.ids[int(row)] for row in test.features.rows]
        return Scores(ids, logits, test.targets_NK, "logit", self.index.label_space, {})

    def run(
        self, kind: Kind, hide: Callable[[np.ndarray, int], np.ndarray], seeds: int
    ) -> tuple[dict[int, Scores], str]:
        """(the scores by seed, the learning rate and weight decay that were chosen)."""
        hiding = hide if kind.hides else (lambda targets_NK, seed: targets_NK)
        by_seed = [self.parts(hiding, seed) for seed in range(seeds)]
        pairs = [(rate, decay) for rate in RATES for decay in DECAYS]
        tried = self.together([self.fit(kind, by_seed[0], 0, *pair) for pair in pairs])
        best = max(range(len(pairs)), key=lambda n: max(row["val_mAP"] for row in tried[n].history))
        fits = [self.fit(kind, parts, seed, *pairs[best]) for seed, parts in enumerate(by_seed)]
        self.together(fits)
        scores = {seed: self.scores(fit.head, by_seed[seed]["test"]) for seed, fit in enumerate(fits)}
        return scores, f"{pairs[best][0]:g}, {pairs[best][1]:g}"


def table(bench: Bench, hiding: str, seeds: int) -> str:
    """The table of one way of hiding, each loss against both plain ones."""
    found, chosen = {}, {}
    for name, kind in KINDS.items():
        started = time.perf_counter()
        found[name], chosen[name] = bench.run(kind, HIDINGS[hiding], seeds)
        print(f"{hiding}, {name}: {time.perf_counter() - started:.0f} s", flush=True)
    against = {base: {d.name: d for d in compare_repeated(found, base).differences} for base in (ABSENT, LEFT_OUT)}
    lines = ["| loss | mAP | minus absent | 95 % | verdict | minus left out | 95 % | verdict | rate, decay |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for name, by_seed in found.items():
        value = np.mean([value_of(one, "mAP", protocol_of("default")) for one in by_seed.values()])
        told = " | ".join(_told(against[base].get(name)) for base in (ABSENT, LEFT_OUT))
        lines.append(f"| {name} | {value:.4f} | {told} | {chosen[name]} |")
    return "\n".join(lines)


def _told(difference: Difference | None) -> str:
    if difference is None:
        return " |  | "
    low, high = difference.interval
    return f"{difference.difference:+.4f} | {low:+.4f} to {high:+.4f} | {difference.verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--hidings", nargs="+", choices=list(HIDINGS), default=list(HIDINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(given.shared, given.epochs)
    for hiding in given.hidings:
        print(f"\n{hiding}, {given.seeds} seeds\n\n{table(bench, hiding, given.seeds)}", flush=True)


if __name__ == "__main__":
    main()
