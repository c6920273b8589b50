"""How often ``compare`` names a winner: between equally good methods, and where one is better.

    .venv/bin/python benchmarks/comparison.py
    .venv/bin/python benchmarks/comparison.py --sweeps 100

Simulated scores: a signal for the labels that are present, and noise. Two methods share none or most of their noise, as
two architectures or two seeds of one do; one signal may be the stronger (--effect), or each may be stronger in half of
the labels. Beside the swaps of ``compare``, p-values of the bootstrap over images, which are too small where labels
have a handful of positives. With --sweeps: how often any of 40 equal methods is told apart from the first.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator

import numpy as np

from cotag.evaluation.comparison import compare
from cotag.evaluation.uncertainty import Resampling, paired_interval
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

LEVEL = 0.95
# Images, and how many of them have each label.
SETTINGS = {
    "long tail, 300 x 40": (300, np.geomspace(2, 100, 40)),
    "rare labels, 300 x 60": (300, 2.0 + np.arange(60) % 4),
    "as coco604 val, 182 x 80": (182, np.geomspace(1.5, 110, 80)),
    "as coco604, 604 x 80": (604, np.geomspace(5, 360, 80)),
    "as miml2000 test, 593 x 5": (593, np.array([122, 138, 172, 122, 183])),
}
# The share of the noise that is common to both methods, and how far apart they are label by label.
NULLS = {"own noise": (0.0, 0.0), "80 % shared": (0.8, 0.0), "each better in half": (0.0, 0.4)}


def methods(
    images: int, counts: np.ndarray, seed: int, many: int = 2, shared: float = 0, apart: float = 0, effect: float = 0
) -> dict[str, Scores]:
    """Scores of equally good methods; the second has ``effect`` (in deviations of its own noise) more of a signal."""
    random = np.random.default_rng(seed)
    if apart:
        # Two labels of each count, in which the methods change places: equal mAP over all.
        counts = np.repeat(counts[::2], 2)
    targets = np.zeros((images, len(counts)), dtype=np.int8)
    for k, count in enumerate(np.rint(counts).astype(int)):
        targets[random.choice(images, count, replace=False), k] = 1
    space = LabelSpace(tuple(f"label {k}" for k in range(len(counts))))
    common = random.normal(size=targets.shape)
    side = np.where(np.arange(len(counts)) % 2, apart, -apart) / 2
    own_part = math.sqrt(1 - shared)
    found = {}
    for number in range(many):
        own = random.normal(size=targets.shape)
        signal = 2 + effect * own_part * (number == 1) + (side if number % 2 else -side)
        logits = signal * targets + math.sqrt(shared) * common + own_part * own
        found[f"method {number}"] = Scores([str(row) for row in range(images)], logits, targets, "logit", space)
    return found


def p_values(named: dict[str, Scores], metric: str, resamples: int, seed: int) -> tuple[float, float]:
    """By swaps and by the bootstrap."""
    first, other = named.values()
    resampling = Resampling(first, "default", resamples, seed)
    values = [resampling.numbers(scores, names=(metric,))[metric] for scores in (first, other)]
    swapped = compare(named, metric, resamples=resamples, seed=seed).differences[0]
    return swapped.p, paired_interval(values[1] - values[0], LEVEL)[1]


def told_apart(p_PM: np.ndarray) -> Iterator[float]:
    """The share of pairs that are told apart by each method."""
    yield from (p_PM <= 1 - LEVEL + 1e-12).mean(0)


def at_same_size(null_PM: np.ndarray, effect_PM: np.ndarray) -> Iterator[float]:
    """The share of unequal pairs with a p-value below that of all but 5 % of the equal ones."""
    yield from (effect_PM <= np.quantile(null_PM, 1 - LEVEL, axis=0)).mean(0)


def table(settings: list[str], metric: str, pairs: int, resamples: int, effect: float) -> None:
    print(f"{metric}, {pairs} pairs, {resamples} resamples; standard error of 0.05: {math.sqrt(0.0475 / pairs):.3f}")
    print(f"{'':<47}{'equal':>20}{f'{effect:g} more signal':>20}{'at the same size':>20}")
    print(f"{'':<47}" + f"{'swaps':>10}{'bootstrap':>10}" * 3)
    for setting in settings:
        images, counts = SETTINGS[setting]
        for null, (shared, apart) in NULLS.items():
            kind = {"shared": shared, "apart": apart}
            equal, unequal = (
                np.array(
                    [
                        p_values(methods(images, counts, seed, effect=more, **kind), metric, resamples, seed)
                        for seed in range(start, start + pairs)
                    ]
                )
                for more, start in ((0.0, 0), (effect, pairs))
            )
            shares = [*told_apart(equal), *told_apart(unequal), *at_same_size(equal, unequal)]
            print(f"{setting:<27}{null:<20}" + "".join(f"{share:>10.3f}" for share in shares), flush=True)


def sweeps(settings: list[str], repetitions: int, many: int, resamples: int) -> None:
    print(f"{many} equal methods, 80 % of the noise shared: sweeps with a winner or a loser, of {repetitions}")
    for setting in settings:
        images, counts = SETTINGS[setting]
        started, found = time.perf_counter(), 0
        for seed in range(repetitions):
            named = methods(images, counts, seed, many, shared=0.8)
            differences = compare(named, resamples=resamples, seed=seed).differences
            found += any(one.verdict != "cannot be told apart" for one in differences)
        taken = (time.perf_counter() - started) / repetitions
        print(f"{setting:<27}{found / repetitions:>8.3f}   ({taken:.1f} s each)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", default="mAP")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="NAME")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=199)
    parser.add_argument("--effect", type=float, default=0.15, help="in deviations of a method's own noise")
    parser.add_argument("--sweeps", type=int, default=0, help="repetitions; 0 for the table of pairs")
    parser.add_argument("--many", type=int, default=40, help="methods of a sweep")
    given = parser.parse_args()
    if given.sweeps:
        sweeps(given.settings, given.sweeps, given.many, max(given.resamples, 999))
    else:
        table(given.settings, given.metric, given.pairs, given.resamples, given.effect)


if __name__ == "__main__":
    main()
