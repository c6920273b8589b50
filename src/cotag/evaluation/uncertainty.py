"""Bootstrap intervals over images for the headline numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from cotag.errors import ScoresError, SettingError, listing
from cotag.evaluation.decision import Decision
from cotag.evaluation.protocols import Protocol, protocol_of
from cotag.evaluation.resampled import headline_numbers
from cotag.evaluation.resampling import resample_counts
from cotag.types.scores import Scores

Interval = tuple[float, float]

# Up to here 1000 resamples take seconds, and nobody needs to ask for them: images, and images x labels.
MOST_IMAGES = 20_000
MOST_SCORES = 2_000_000
# What is held of the resamples at once, in numbers.
MOST_COUNTS = 2**26
SPREAD = 1e-12


def bootstrap_intervals(
    scores: Scores,
    decision: Decision | None = None,
    protocol: str | Protocol = "default",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    k: int | None = None,
) -> dict[str, Interval]:
    """A percentile interval for every headline number, from images drawn again with replacement.

    No label loses all its positives (``resampling.strata_of``). The resamples are moved as a whole so that their mean
    is the number itself: an image that is drawn twice is tied with its copy, which alone raises AP. So an interval
    says how far the number would vary over other test sets of this size. Labels with a handful of positives say
    little about themselves; where they are many, the interval is somewhat too narrow.

    Args:
        scores, decision, protocol, k: as in ``evaluate``.
        resamples: at least 39 at level 0.95.
        level: chance of an interval to hold the mean over test sets of this size.

    Returns:
        name -> (low, high) in [0, 1]; without the numbers that nothing defines, and empty for a single image.

    Raises:
        SettingError: too few resamples for the level.
    """
    place = tail_place(resamples, level)
    if len(scores) < 2:
        return {}
    found = {}
    for name, values in Resampling(scores, protocol, resamples, seed).numbers(scores, decision, k=k).items():
        moved_R = moved(values).clip(0, 1)
        found[name] = (float(moved_R[place]), float(moved_R[-1 - place]))
    return found


def takes_seconds(scores: Scores, most: int = MOST_SCORES) -> bool:
    """Whether intervals are found in seconds: at most 20,000 images, and ``most`` images x labels."""
    return len(scores) <= MOST_IMAGES and scores.scores_NK.size <= most


class Resampling:
    """The same resamples for any scores of the same images.

    Args:
        scores: whose targets say which image has which label.
        protocol: a name, or a Protocol.
        resamples: R.
        seed: of the draw; the same seed and targets give the same resamples.

    Raises:
        ScoresError: a label without positives, where the protocol makes that an error.
        SettingError: an unknown protocol.
    """

    def __init__(self, scores: Scores, protocol: str | Protocol, resamples: int, seed: int) -> None:
        self.protocol = protocol_of(protocol)
        self.resamples, self.seed = resamples, seed
        self._targets_NK = scores.of_labels(self.protocol.kept(scores.label_space)).targets_NK
        require_positives(scores, self.protocol)

    def numbers(
        self,
        scores: Scores,
        decision: Decision | None = None,
        names: Collection[str] | None = None,
        k: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Headline numbers of the images themselves, then of each resample; name -> float64 (1 + R,).

        Args:
            names: only these; all where not given. Numbers that nothing defines are left out.
            decision, k: as in ``evaluate``.
        """
        parts = [headline_numbers(scores, decision, self.protocol, counts_NR, names, k) for counts_NR in self._counts()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _counts(self) -> Iterator[np.ndarray]:
        """How often each resample holds each image, in parts; the first column of all is the images themselves."""
        positive_NK, random = self._targets_NK == 1, np.random.default_rng(self.seed)
        images = len(positive_NK)
        step = max(1, MOST_COUNTS // images)
        for start in range(0, self.resamples, step):
            counts_NR = resample_counts(positive_NK, min(step, self.resamples - start), random)
            if start == 0:
                counts_NR = np.concatenate([np.ones((images, 1), dtype=counts_NR.dtype), counts_NR], axis=1)
            yield counts_NR


def require_positives(scores: Scores, protocol: Protocol) -> None:
    """Refuse labels without positives where the protocol makes them an error.

    Raises:
        ScoresError: there are some.
    """
    absent = np.flatnonzero(protocol.kept(scores.label_space) & ~(scores.targets_NK == 1).any(0))
    if len(absent) and protocol.no_positives == "error":
        raise ScoresError(
            f"protocol {protocol.name}: no known positive for "
            f"{listing(scores.label_space.names[k] for k in absent)}; judge other images, or choose a protocol "
            "that skips such labels"
        )


def moved(values: np.ndarray) -> np.ndarray:
    """The numbers of the resamples, sorted, moved as a whole so that their mean is that of the images themselves.

    Args:
        values: (1 + R,): of the images themselves, then of each resample.
    """
    found: np.ndarray = np.sort(values[1:] - values[1:].mean() + values[0])
    return found


def tail_place(resamples: int, level: float) -> int:
    """How many of the sorted resamples lie below an interval of this level, and as many above.

    Raises:
        SettingError: not even one would.
    """
    if not 0 < level < 1:
        raise SettingError(f"level = {level}: must be above 0 and under 1, such as 0.95")
    # The share is rounded so that 0.05 / 2 of 999 resamples is 25 and not 24.999.
    outside = int(np.floor(round((1 - level) / 2 * (resamples + 1), 9)))
    if outside < 1:
        needed = int(np.ceil(round(2 / (1 - level), 9))) - 1
        raise SettingError(f"resamples = {resamples}: too few for level {level:g}; give {needed} or more")
    return outside - 1


def paired_interval(differences: np.ndarray, level: float) -> tuple[Interval | None, float]:
    """Interval and two-sided p-value of a difference, which agree at 1 - level.

    Args:
        differences: (1 + R,): of the images themselves, then of each resample.
        level: of the interval.

    Returns:
        the interval and p; None and 1 where the resamples never differ although the methods do, since each image is
        alone in its stratum.
    """
    moved_R = moved(differences)
    if moved_R[-1] - moved_R[0] <= SPREAD and abs(differences[0]) > SPREAD:
        return None, 1.0
    place = tail_place(len(moved_R), level)
    # Rounding in the last place is no difference.
    opposed = min(np.count_nonzero(moved_R <= SPREAD), np.count_nonzero(moved_R >= -SPREAD))
    p = min(1.0, 2 * (1 + int(opposed)) / (len(moved_R) + 1))
    return (float(moved_R[place]), float(moved_R[-1 - place])), p
