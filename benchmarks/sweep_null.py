"""How often a sweep announces a winner where there is none, and how often it finds one of 2 points.

    python benchmarks/sweep_null.py --shared ../shared/data --repetitions 100

Each repetition trains one setting, a linear head on the features of miml2000, with 40 seeds (images that choose, first
weights, order), and calls them 8 settings of 5 seeds. Then one of the 8 is made better by 2 points of mAP: its scores
of true labels are raised by as much as that takes on average.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from cotag.cli.terminal import TerminalProgress, print_sections
from cotag.data.read import read
from cotag.evaluation.comparison import VERDICTS, Comparison
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import compare_repeated, value_of
from cotag.models.heads.linear import LinearHead
from cotag.models.tagger import build_tagger
from cotag.run.fitting import judge
from cotag.training.criterion import Criterion
from cotag.training.features import compute_features
from cotag.training.head_fit import HeadLoop, Part
from cotag.training.loop_settings import LoopSettings
from cotag.training.losses.bce import BCE
from cotag.training.optim import adamw
from cotag.training.schedules import cosine
from cotag.training.together import Fit, fit_together
from cotag.types.progress import Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

SETTINGS, SEEDS, PLANTED, RESAMPLES = 8, 5, 0.02, 400


class Bench:
    """The features, and heads trained on them with one seed after another."""

    def __init__(self, shared: Path, images: int) -> None:
        self.index = read(f"table:{shared}/miml2000/labels.csv")
        tagger = build_tagger(
            self.index.label_space, "mobilenetv2_100", "linear", {"pad_type": "same"},
            str(shared / "weights" / "mobilenetv2_100.imagenet1k.safetensors"), {"pooling": "avg"},
            {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "image_size": 224},
        )  # fmt: skip
        self.found = compute_features(tagger, self.index, np.arange(len(self.index)), TerminalProgress())
        self.test = self.index.rows_of("test")
        self.train = np.random.default_rng(0).permutation(self.index.rows_of("train"))[:images]

    def part(self, rows: np.ndarray) -> Part:
        return Part(self.found.of(rows), self.index.targets(rows))

    def scores(self, seeds: range) -> list[Scores]:
        """Of the images that judge, by a head of each seed."""
        fits = []
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(self.train)
            cut = len(order) // 5
            torch.manual_seed(seed)
            head = LinearHead(self.found.features.shape[1], len(self.index.label_space))
            how = HeadLoop(LoopSettings(8), adamw, lambda model, counts: Criterion(BCE()), cosine(), 64, 3e-3, seed)
            fits.append(Fit(head, self.part(order[cut:]), self.part(order[:cut]), 0.01, how, refit=True))
        fit_together(fits, judge, Silent())
        features = torch.from_numpy(self.found.of(self.test).features).float()
        ids, targets = [self.index.ids[int(row)] for row in self.test], self.index.targets(self.test)
        logits = [fit.head.classifier(features).detach().numpy() for fit in fits]  # type: ignore[operator, union-attr]
        return [Scores(ids, own, targets, "logit", self.index.label_space) for own in logits]


def raised(scores: Scores, by: float) -> Scores:
    """The scores, those of true labels raised."""
    return Scores(
        scores.ids, scores.scores_NK + np.float32(by) * (scores.targets_NK == 1), scores.targets_NK, "logit",
        scores.label_space,
    )  # fmt: skip


def strength(scores: list[Scores]) -> float:
    """By how much scores must be raised for 2 points of mAP, on average."""
    protocol = protocol_of("default")
    goal = np.mean([value_of(one, "mAP", protocol) for one in scores]) + PLANTED
    low, high = 0.0, 8.0
    for _ in range(20):
        middle = (low + high) / 2
        value = np.mean([value_of(raised(one, middle), "mAP", protocol) for one in scores])
        low, high = (middle, high) if value < goal else (low, middle)
    return high


def judged(scores: list[Scores], by: float, seed: int) -> Comparison:
    """The scores as 8 settings of 5 seeds, the second one raised."""
    named = {
        f"s{number}": {
            place: raised(one, by) if number == 1 and by else one
            for place, one in enumerate(scores[number * SEEDS : (number + 1) * SEEDS])
        }
        for number in range(SETTINGS)
    }
    return compare_repeated(named, "s0", resamples=RESAMPLES, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--images", type=int, default=700, help="that train; the fewer, the larger the luck of a seed")
    given = parser.parse_args()
    bench = Bench(given.shared, given.images)
    values: list[float] = []
    by: float | None = None
    wrong, found, false = 0, 0, 0
    for repetition in range(given.repetitions):
        first = 1000 + repetition * SETTINGS * SEEDS
        scores = bench.scores(range(first, first + SETTINGS * SEEDS))
        values += [value_of(one, "mAP", protocol_of("default")) for one in scores]
        by = strength(scores) if by is None else by
        null, planted = judged(scores, 0.0, repetition), judged(scores, by, repetition)
        wrong += any(one.verdict != VERDICTS[2] for one in null.differences)
        found += planted.differences[0].verdict == VERDICTS[0]
        false += any(one.verdict != VERDICTS[2] for one in planted.differences[1:])
        print(f"{repetition + 1}: announced {wrong}, found {found}, beside it {false}", flush=True)
    columns = ("repetitions", "mAP", "spread over seeds", "announced a winner", "found 2 points", "and another one")
    row = [given.repetitions, float(np.mean(values)), float(np.std(values)), wrong, found, false]
    print_sections([Section("40 seeds of one setting", f"{SETTINGS} settings of {SEEDS} seeds.", columns, [row])])


if __name__ == "__main__":
    main()
