"""Two methods whose results are swapped at random, image by image: what they would show if they were equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cotag.evaluation.protocols import Protocol
from cotag.evaluation.resampled import Judged, judged_numbers
from cotag.evaluation.weighted import halved_average_precisions

# What is held of the swaps at once, in numbers.
MOST_SWAPS = 2**25
# Of an image with the label: two of them with nothing between stay apart.
LEAST_WEIGHT = 1e-6


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

    A score becomes the number of known images that are scored lower, and half of those scored the same, where an image
    with the label counts for 1 - 2 / n of one (n have it). So scores keep their order and their ties, and AP stays
    what it was. A few images with the label would move the scale that they are compared on; many are what fixes it
    at its top, where the others are thin.

    Args:
        targets_NK: 1 present, 0 absent, -1 unknown; what is unknown becomes 0.
    """
    first, other = np.zeros(targets_NK.shape), np.zeros(targets_NK.shape)
    for k in range(targets_NK.shape[1]):
        known = np.flatnonzero(targets_NK[:, k] >= 0)
        present = targets_NK[known, k] == 1
        weight = np.where(present, max(LEAST_WEIGHT, 1 - 2 / max(present.sum(), 1)), 1)
        first[known, k] = _place(first_NK[known, k], weight)
        other[known, k] = _place(other_NK[known, k], weight)
    return first, other


def _place(score_N: np.ndarray, weight_N: np.ndarray) -> np.ndarray:
    """The weight of what is scored lower, and half of that of what is scored the same; float64 (N,)."""
    distinct, place_N = np.unique(score_N, return_inverse=True)
    held = np.bincount(place_N, weight_N, minlength=len(distinct))
    found: np.ndarray = (np.cumsum(held) - held / 2)[place_N]
    return found


def _coins(images: int, swaps: int, seed: int) -> Iterator[np.ndarray]:
    """Whether each swap leaves each image as it is, in parts; float (N, R), 0 or 1."""
    random = np.random.default_rng(seed)
    # Whole numbers are exact in float32 up to this many rows.
    kind = np.float32 if 2 * images <= 2**24 else np.float64
    step = max(1, MOST_SWAPS // images)
    for start in range(0, swaps, step):
        yield random.integers(0, 2, (images, min(step, swaps - start))).astype(kind)
