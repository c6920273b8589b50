"""Settings that were trained several times, against a baseline: images and training both vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cotag.errors import ScoresError
from cotag.evaluation.comparison import VERDICTS, Comparison, Difference, matched_rows, tested_differences
from cotag.evaluation.decision import Decision
from cotag.evaluation.protocols import Protocol, protocol_of
from cotag.evaluation.resampled import judged, judged_numbers
from cotag.evaluation.swapping import swapped_differences
from cotag.types.scores import Scores

Seeds = Mapping[int, Scores]
Decisions = Mapping[str, Mapping[int, Decision]]


def compare_repeated(
    named: Mapping[str, Seeds],
    baseline: str,
    metric: str = "mAP",
    protocol: str | Protocol = "default",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    overlap: float = 0.0,
    decisions: Decisions | None = None,
) -> Comparison:
    """Compare settings, each trained with several seeds, with a baseline.

    A difference is the mean over seeds of what a setting's scores give minus what the baseline's of the same seed
    give. If the two were equally good, it would vary with the images that judge and with the luck of training. The
    first is found by random swaps of their results of an image, the same for all seeds; to each swap is added what
    the luck of training adds to a mean over so many seeds: Student's t with the spread of the differences over
    seeds, or that of all settings together, whichever is larger. As the spread over seeds is itself found on these
    images, some of their variation counts twice: equally good settings are told apart in less than 1 - level of
    cases. p-values, Holm's correction over all settings, intervals and verdicts are those of ``compare``.

    With a single seed nothing is known of the luck of training, and no verdict is given.

    Source: the two sources of variation as in multi-reader multi-case studies, N. A. Obuchowski and H. E. Rockette,
        "Hypothesis testing of diagnostic accuracy for multiple readers and multiple tests", 1995; seeds read, images
        are cases.
    Differs: the images' part is a randomization, and no part is taken off for what both parts hold.

    Args:
        named: name -> seed -> Scores; for one seed the same images for all names.
        baseline, metric, protocol, resamples, seed, level: as in ``compare``.
        overlap: images that judge for each that trains, where the seeds are folds of the same images: trainings on
            much the same images vary less than others would, so this is added to 1 / seeds (C. Nadeau and
            Y. Bengio, "Inference for the generalization error", 2003).
        decisions: name -> seed -> how these scores become labels; as in ``evaluate`` where not given.

    Raises:
        ScoresError, LabelSpaceError: scores of one seed are not of the same images, labels and targets.
    """
    protocol = protocol_of(protocol)
    table = _Table(named, decisions or {}, metric, protocol)
    pairs = [(name, baseline) for name in named if name != baseline]
    found = _tested(table, pairs, resamples, seed, level, overlap)
    seeds, images = len(named[baseline]), len(next(iter(named[baseline].values())))
    method = _method(resamples, seeds, len(pairs), level)
    return Comparison(metric, protocol.describe(), method, baseline, table.mean(baseline, baseline), images, found)


def compare_steps(
    named: Mapping[str, Seeds],
    metric: str = "mAP",
    protocol: str | Protocol = "default",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    overlap: float = 0.0,
    decisions: Decisions | None = None,
) -> list[Difference]:
    """Compare each setting but the first with the one before it, as ``compare_repeated`` does with a baseline.

    Holm's correction is over these comparisons. Arguments as there, ``named`` in the order of the steps.
    """
    names, table = list(named), _Table(named, decisions or {}, metric, protocol_of(protocol))
    return _tested(table, list(zip(names[1:], names, strict=False)), resamples, seed, level, overlap)


class _Table:
    """The scores of settings and seeds with their numbers."""

    def __init__(self, named: Mapping[str, Seeds], decisions: Decisions, metric: str, protocol: Protocol) -> None:
        self.named, self.decisions, self.metric, self.protocol = named, decisions, metric, protocol
        self.value = {
            name: {number: value_of(own[number], metric, protocol, self.decision(name, number)) for number in own}
            for name, own in named.items()
        }

    def decision(self, name: str, seed: int) -> Decision | None:
        return self.decisions.get(name, {}).get(seed)

    def common(self, name: str, other: str) -> list[int]:
        """The seeds that both have."""
        found = sorted(set(self.named[name]) & set(self.named[other]))
        if not found:
            raise ScoresError(f"{name} shares no seed with {other}; train each with the same seeds")
        return found

    def mean(self, name: str, other: str) -> float:
        """The number of a setting over the seeds that it has in common with another."""
        return float(np.mean([self.value[name][number] for number in self.common(name, other)]))


def _tested(
    table: _Table, pairs: Sequence[tuple[str, str]], resamples: int, seed: int, level: float, overlap: float
) -> list[Difference]:
    """The difference of each pair, first minus second, tested together."""
    spread, by, null = pooled_spread(table.value), [], []
    for name, other in pairs:
        common = table.common(name, other)
        by_seed_S = np.array([table.value[name][s] - table.value[other][s] for s in common])
        by.append(float(by_seed_S.mean()))
        luck = _luck(by_seed_S, *spread, resamples, seed, overlap)
        null.append(_swapped(table, other, name, common, resamples, seed) + luck)
    found = []
    for (name, other), difference, told in zip(pairs, by, tested_differences(by, null, level), strict=True):
        if len(table.common(name, other)) < 2:
            told = ((np.nan, np.nan), 1.0, 1.0, VERDICTS[2])
        found.append(Difference(name, table.mean(name, other), difference, *told))
    return found


def pooled_spread(value: Mapping[str, Mapping[int, float]]) -> tuple[float, int]:
    """The variance of a setting's number over seeds beyond what a seed does to all, and its degrees of freedom.

    That of the difference of two settings is twice as large. Only the seeds that all settings have count.
    """
    seeds = sorted(set.intersection(*(set(own) for own in value.values())))
    if len(seeds) < 2 or len(value) < 2:
        return 0.0, 1
    table_CS = np.array([[own[s] for s in seeds] for own in value.values()])
    rest_CS = table_CS - table_CS.mean(0) - table_CS.mean(1, keepdims=True) + table_CS.mean()
    degrees = (len(value) - 1) * (len(seeds) - 1)
    return float((rest_CS**2).sum() / degrees), degrees


def _luck(by_seed_S: np.ndarray, pooled: float, degrees: int, draws: int, seed: int, overlap: float) -> np.ndarray:
    """What the luck of training adds to the mean of equal settings' differences over seeds; float64 (R,)."""
    count = len(by_seed_S)
    if count < 2:
        return np.zeros(draws)
    spread = max(float(np.var(by_seed_S, ddof=1)), 2 * pooled)
    drawn: np.ndarray = np.random.default_rng((seed, 1)).standard_t(max(degrees, count - 1), draws)
    return np.sqrt(spread * (1 / count + overlap)) * drawn


def _swapped(table: _Table, baseline: str, other: str, seeds: Sequence[int], swaps: int, seed: int) -> np.ndarray:
    """The mean over seeds of the differences after swaps; float64 (R,). Images that two seeds share swap alike."""
    total = np.zeros(swaps)
    own = table.named[baseline]
    first = own[seeds[0]].ids
    for number in seeds:
        one = own[number]
        two = matched_rows(one, table.named[other][number], f"seed {number}")
        coins = seed if one.ids == first else seed + 1 + number
        rows = [
            judged(scores, table.decision(name, number), table.protocol)
            for name, scores in ((baseline, one), (other, two))
        ]
        total += swapped_differences(rows[0], rows[1], table.metric, table.protocol, swaps, coins)
    return total / len(seeds)


def value_of(scores: Scores, metric: str, protocol: Protocol, decision: Decision | None = None) -> float:
    """The number of scores, with labels given by a decision; as in ``evaluate`` where there is none."""
    once = np.ones((len(scores), 1), dtype=np.float32)
    return float(judged_numbers(judged(scores, decision, protocol), protocol, once, (metric,))[metric][0])


def _method(resamples: int, seeds: int, settings: int, level: float) -> str:
    if seeds < 2:
        return "One seed says nothing of the luck of training, so no verdict is given: train with more."
    return (
        f"Mean over {seeds} seeds. p: the share of {resamples} random swaps of the results of an image, each with the "
        "luck of training of a mean over so many seeds added, that make as large a difference. Verdict: p at most "
        f"{1 - level:g} after Holm's correction for {settings} settings; each interval has the level that its p was "
        "held to, so it leaves out 0 where the verdict names a winner."
    )
