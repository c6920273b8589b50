"""Two methods whose results are swapped at random, image by image: what they would show if they were equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cotag.evaluation.protocols import Protocol
from cotag.evaluation.resampled import Judged, judged_numbers
from cotag.evaluation.weighted import halved_average_precisions

# What is held of the swaps at once, in numbers.
MOST_SWAPS = 2**25


def swapped_differences(
    first: Judged, other: Judged, metric: str, protocol: Protocol, swaps: int, seed: int
) -> np.ndarray:
    """Other minus first, after the results of each image have changed places or not, by a coin; float64 (R,).

    If the two are equally good, the images could as well have come with their results the other way round, so these
    are differences that such methods show. Scores change places on the labels' ``common_scale``, labels that are
    given as they are.

    Args:
        first, other: judged against the same targets.
        metric: a headline number that these targets define.
        swaps: R.
        seed: of the coins; the same seed and images give the same swaps.
    """
    coins = _coins(len(first.targets_NK), swaps, seed)
    of_coins = _precision_differences if metric == "mAP" else _rate_differences
    return np.concatenate(list(of_coins(first, other, metric, protocol, coins)))


def _precision_differences(
    first: Judged, other: Judged, metric: str, protocol: Protocol, coins: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    scores = np.concatenate(common_scale(first.scores_NK, other.scores_NK, first.targets_NK))
    targets = np.concatenate([first.targets_NK, other.targets_NK])
    for stay_NR in coins:
        as_first, as_other = halved_average_precisions(
            scores, targets, np.concatenate([stay_NR, 1 - stay_NR]), protocol.average_precision
        )
        yield np.nanmean(as_other, axis=0) - np.nanmean(as_first, axis=0)


def _rate_differences(
    first: Judged, other: Judged, metric: str, protocol: Protocol, coins: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    both = Judged(*(np.concatenate(pair) for pair in zip(first, other, strict=True)))
    for stay_NR in coins:
        counts = np.concatenate([stay_NR, 1 - stay_NR])
        as_first, as_other = (
            judged_numbers(both, protocol, part_NR, (metric,))[metric] for part_NR in (counts, 1 - counts)
        )
        yield as_other - as_first


def common_scale(first_NK: np.ndarray, other_NK: np.ndarray, targets_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores of two methods, of whatever kind, on one scale for each label; float64 (N, K) both.

    A score becomes the number of images without the label that are scored lower, so that it keeps its place among
    the others and its ties, and AP stays what it was. The images without the label are the measure because they are
    the many: ranks among all images would let a label's few positives move the scale that they are compared on.

    Args:
        targets_NK: 1 present, 0 absent, -1 unknown; what is unknown becomes 0.
    """
    found = tuple(np.zeros(targets_NK.shape) for _ in range(2))
    for k in range(targets_NK.shape[1]):
        known = np.flatnonzero(targets_NK[:, k] >= 0)
        absent = targets_NK[known, k] == 0
        for scores_NK, scaled_NK in zip((first_NK, other_NK), found, strict=True):
            scaled_NK[known, k] = _among_absent(scores_NK[known, k], absent)
    return found[0], found[1]


def _among_absent(score_N: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """How many absent images are scored lower, and half of those scored the same; float64 (N,).

    Several scores of present images between two absent ones lie evenly between the two.
    """
    distinct, place_N = np.unique(score_N, return_inverse=True)
    held = np.bincount(place_N[absent], minlength=len(distinct))
    below = np.cumsum(held) - held
    gap = held == 0
    # Among absent images one apart, the gap above the b-th of them reaches from b - 1/2 to b + 1/2.
    starts = np.searchsorted(below[gap], below[gap])
    sizes = np.searchsorted(below[gap], below[gap], side="right") - starts
    value = below + held / 2
    value[gap] += (np.arange(gap.sum()) - starts + 1) / (sizes + 1) - 0.5
    return value[place_N]


def _coins(images: int, swaps: int, seed: int) -> Iterator[np.ndarray]:
    """Whether each swap leaves each image as it is, in parts; float (N, R), 0 or 1."""
    random = np.random.default_rng(seed)
    # Whole numbers are exact in float32 up to this many rows.
    kind = np.float32 if 2 * images <= 2**24 else np.float64
    step = max(1, MOST_SWAPS // images)
    for start in range(0, swaps, step):
        yield random.integers(0, 2, (images, min(step, swaps - start))).astype(kind)
