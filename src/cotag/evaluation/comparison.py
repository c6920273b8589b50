"""Paired comparison of several Scores of the same images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cotag.errors import LabelSpaceError, ScoresError, SettingError, listing, suggestion
from cotag.evaluation.decision import Decision
from cotag.evaluation.given import describe_given
from cotag.evaluation.protocols import Protocol, protocol_of
from cotag.evaluation.resampled import RATES, headline_names, judged, judged_numbers
from cotag.evaluation.swapping import swapped_differences
from cotag.evaluation.uncertainty import Interval, require_positives
from cotag.types.scores import Scores
from cotag.types.section import Section

VERDICTS = ("better", "worse", "cannot be told apart")
ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """One method against the baseline.

    Attributes:
        name: the method.
        value: its own number.
        difference: its number minus the baseline's.
        interval: of the difference; leaves out 0 exactly where the verdict is not ``cannot be told apart``.
        p: two-sided p-value of no difference.
        p_corrected: the same by Holm's method over all comparisons made.
        verdict: ``better``, ``worse`` or ``cannot be told apart``.
    """

    name: str
    value: float
    difference: float
    interval: Interval
    p: float
    p_corrected: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        metric: the number that was compared.
        protocol: how it was computed.
        method: how p-values, intervals and verdicts were.
        baseline: the name that the others were compared with.
        baseline_value: its own number.
        images: how many.
        differences: one for each other name.
    """

    metric: str
    protocol: str
    method: str
    baseline: str
    baseline_value: float
    images: int
    differences: Sequence[Difference]

    def to_json(self) -> dict[str, Any]:
        """A JSON object with these fields."""
        return asdict(self)

    def section(self) -> Section:
        """A table and the answer in words."""
        columns = (
            "scores", self.metric, "difference", "low", "high", "p", "p (Holm)", f"than {self.baseline}",
        )  # fmt: skip
        rows: list[list[Any]] = [[self.baseline, self.baseline_value, *[None] * 5, "baseline"]]
        for found in self.differences:
            tested = (*found.interval, found.p, found.p_corrected)
            rows.append([found.name, found.value, found.difference, *tested, found.verdict])
        text = f"{self.metric} of {self.images} images. Protocol: {self.protocol}. {self.method}\n\n"
        return Section("Comparison", text + "\n".join(self._said(found) for found in self.differences), columns, rows)

    def _said(self, found: Difference) -> str:
        how = f"{found.difference:+.4f}, p = {found.p_corrected:.3f}"
        if found.verdict == VERDICTS[2]:
            return f"{found.name} and {self.baseline} cannot be told apart ({how})."
        return f"{found.name} is {found.verdict} than {self.baseline} ({how})."


def compare(
    named: Mapping[str, Scores],
    metric: str = "mAP",
    baseline: str | None = None,
    decisions: Mapping[str, Decision] | None = None,
    protocol: str | Protocol = "default",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare each of several Scores with a baseline, by swapping their results of the same images at random.

    Rows are matched by id. Equally good methods could have had each other's results of any image, so the two results
    of each image change places or not, by a coin, ``resamples`` times over. The p-value is the share of swaps with a
    difference as large as the one found, or larger; corrected by Holm's method it decides the verdict, at 1 - level.
    The interval holds the differences that the swaps would not reject: it leaves out 0 exactly where the verdict
    names a winner. Choose the baseline before the numbers are seen: the best of many equal methods, chosen after, is
    told apart from some of them too often.

    Source: E. W. Noreen, "Computer-Intensive Methods for Testing Hypotheses", 1989 (approximate randomization).
    Differs: scores are swapped on a scale that both methods share (``swapping.common_scale``).

    Args:
        named: name -> Scores of the same images, labels and targets; at least two.
        metric: a headline number of the protocol.
        baseline: the name that the others are compared with; the first where not given.
        decisions: name -> how these scores become labels; as in ``evaluate`` where not given.
        resamples: number of swaps; enough for the smallest p-value to pass the correction.
        seed: of the swaps.
        level: 1 - level is the chance of any false verdict.

    Raises:
        SettingError: an unknown metric or baseline, or too few resamples.
        LabelSpaceError: other labels, or in another order.
        ScoresError: other ids, other targets, fewer than two images, or nothing that defines the metric.
    """
    baseline = _checked_baseline(named, baseline)
    protocol = protocol_of(protocol)
    first = named[baseline]
    matched = {name: matched_rows(first, scores, f"{baseline} and {name}") for name, scores in named.items()}
    others = [name for name in matched if name != baseline]
    _require_enough(resamples, level, len(others))
    require_positives(first, protocol)
    _require_metric(metric, headline_names(protocol), first)
    decisions = decisions or {}
    rows = {name: judged(scores, decisions.get(name), protocol) for name, scores in matched.items()}
    once = np.ones((len(first), 1), dtype=np.float32)
    value = {name: float(judged_numbers(rows[name], protocol, once, (metric,))[metric][0]) for name in rows}
    swapped = [swapped_differences(rows[baseline], rows[name], metric, protocol, resamples, seed) for name in others]
    by = [value[name] - value[baseline] for name in others]
    tested = zip(others, by, tested_differences(by, swapped, level), strict=True)
    differences = [Difference(name, value[name], difference, *found) for name, difference, found in tested]
    said = list(dict.fromkeys(describe_given(decisions.get(name), protocol) for name in matched))
    told_as = protocol.describe() + (f"; {' / '.join(said)}" if metric in RATES or "@" in metric else "")
    method = _method(resamples, seed, level, len(others))
    return Comparison(metric, told_as, method, baseline, value[baseline], len(first), differences)


def tested_differences(
    differences: Sequence[float], swapped: Sequence[np.ndarray], level: float
) -> Iterator[tuple[Interval, float, float, str]]:
    """Interval, p-value, the same corrected, and verdict of each difference."""
    p_values = [swap_p_value(*pair) for pair in zip(differences, swapped, strict=True)]
    columns = zip(differences, swapped, p_values, holm(p_values), holm_levels(p_values, level), strict=True)
    for difference, swapped_R, p, p_corrected, own_level in columns:
        verdict = VERDICTS[2]
        if _rejected(p_corrected, level):
            verdict = VERDICTS[0 if difference > 0 else 1]
        yield swap_interval(difference, swapped_R, own_level), p, p_corrected, verdict


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that may be held against a level together, each at most 1.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * float(p_values[number])))
        corrected[number] = largest
    return corrected


def holm_levels(p_values: Sequence[float], level: float) -> list[float]:
    """For each p-value the level of an interval that leaves out 0 exactly where Holm's method rejects at 1 - level.

    One that is rejected as the j-th of M has 1 - (1 - level) / (M + 1 - j); those that are not have that of the
    first of them.
    """
    corrected = holm(p_values)
    levels = [0.0] * len(p_values)
    kept: float | None = None
    for place, number in enumerate(np.argsort(p_values, kind="stable")):
        levels[number] = 1 - (1 - level) / (len(p_values) - place) if kept is None else kept
        kept = levels[number] if kept is None and not _rejected(corrected[number], level) else kept
    return levels


def _rejected(p_corrected: float, level: float) -> bool:
    # p-values are whole numbers over R + 1, so that only rounding comes so close.
    return p_corrected <= 1 - level + ROUNDING


def swap_p_value(difference: float, swapped_R: np.ndarray) -> float:
    """The share of swaps, the images themselves being one of them, whose difference is at least as large.

    Source: B. Phipson and G. K. Smyth, "Permutation p-values should never be zero", 2010.
    """
    # Rounding in the last place is no difference.
    return (1 + int(np.count_nonzero(np.abs(swapped_R) >= abs(difference) - ROUNDING))) / (len(swapped_R) + 1)


def swap_interval(difference: float, swapped_R: np.ndarray, level: float) -> Interval:
    """All differences that ``swap_p_value`` would not reject at 1 - level, were the swaps moved to be around them."""
    place = max(1, math.floor((1 - level + ROUNDING) * (len(swapped_R) + 1)))
    reach = float(np.sort(np.abs(swapped_R))[-place])
    return difference - reach, difference + reach


def _require_metric(metric: str, names: Sequence[str], first: Scores) -> None:
    if metric not in names:
        raise SettingError(f"metric {metric!r} has no intervals by this protocol{suggestion(metric, names)}")
    if not (first.targets_NK == 1).any():
        raise ScoresError(f"{metric} is not defined: no label has a known positive; give targets that have some")


def _checked_baseline(named: Mapping[str, Scores], baseline: str | None) -> str:
    if len(named) < 2:
        raise SettingError(f"comparing needs at least two Scores; given {len(named)}")
    baseline = next(iter(named)) if baseline is None else baseline
    if baseline not in named:
        raise SettingError(f"baseline {baseline!r} is not among the Scores{suggestion(baseline, named)}")
    if len(named[baseline]) < 2:
        raise ScoresError(f"{baseline}: holds {len(named[baseline])} image; a comparison needs at least two")
    return baseline


def _require_enough(resamples: int, level: float, comparisons: int) -> None:
    if not 0 < level < 1:
        raise SettingError(f"level = {level}: must be above 0 and under 1, such as 0.95")
    needed = math.ceil(round(comparisons / (1 - level), 9)) - 1
    if resamples < needed:
        many = f"{comparisons} comparison{'s' * (comparisons > 1)}"
        raise SettingError(f"resamples = {resamples}: too few for {many} at level {level:g}; give {needed} or more")


def _method(resamples: int, seed: int, level: float, comparisons: int) -> str:
    """How p-values, intervals and verdicts are found, in words."""
    text = (
        f"p: the share of {resamples} random swaps of the two methods' results of an image (seed {seed}) that make as "
        f"large a difference. Interval: the difference and what {100 * level:g} % of the swaps stay within. "
    )
    if comparisons == 1:
        return text + f"Verdict: p at most {1 - level:g}, which is where the interval leaves out 0."
    return text + (
        f"Verdict: p at most {1 - level:g} after Holm's correction for {comparisons} comparisons; each interval has "
        "the level that its p was held to, so it leaves out 0 where the verdict names a winner."
    )


def matched_rows(first: Scores, other: Scores, where: str) -> Scores:
    """The other's rows in the order of the first's ids.

    Raises:
        LabelSpaceError: other labels, or in another order.
        ScoresError: other ids or other targets.
    """
    try:
        first.label_space.require_same(other.label_space, where)
    except LabelSpaceError as error:
        raise LabelSpaceError(f"{error}; write both scores with the same labels in the same order") from None
    place = {name: row for row, name in enumerate(other.ids)}
    missing = [name for name in first.ids if name not in place]
    added = sorted(set(other.ids) - set(first.ids))
    if missing or added:
        which, names = ("second", missing) if missing else ("first", added)
        raise ScoresError(
            f"{where}: {len(missing) + len(added)} image ids are in one only; the {which} has no {listing(names, 3)}; "
            "score the same images with both"
        )
    if other.ids != first.ids:
        other = other.subset([place[name] for name in first.ids])
    differs = other.targets_NK != first.targets_NK
    if differs.any():
        row, label = np.argwhere(differs)[0]
        raise ScoresError(
            f"{where}: image {first.ids[row]!r}, label {first.label_space.names[label]!r}: the targets are "
            f"{first.targets_NK[row, label]} and {other.targets_NK[row, label]} ({int(differs.sum())} cells differ); "
            "judge both against the same targets"
        )
    return other
