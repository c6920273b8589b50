"""Paired comparison of several Scores of the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cotag.errors import LabelSpaceError, ScoresError, SettingError, listing, suggestion
from cotag.evaluation.decision import Decision
from cotag.evaluation.given import describe_given
from cotag.evaluation.protocols import Protocol
from cotag.evaluation.resampled import RATES, headline_names
from cotag.evaluation.uncertainty import Interval, Resampling, moved, tail_place
from cotag.types.scores import Scores
from cotag.types.section import Section

VERDICTS = ("better", "worse", "cannot be told apart")
SPREAD = 1e-12


@dataclass(frozen=True)
class Difference:
    """One method against the baseline.

    Attributes:
        name: the method.
        value: its own number.
        difference: its number minus the baseline's.
        interval: bootstrap interval of the difference; None where the images cannot tell one.
        p: two-sided p-value of no difference, from the same resamples.
        p_corrected: the same by Holm's method over all comparisons made.
        verdict: ``better``, ``worse`` or ``cannot be told apart``.
    """

    name: str
    value: float
    difference: float
    interval: Interval | None
    p: float
    p_corrected: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        metric: the number that was compared.
        protocol: how it was computed.
        method: how intervals and p-values were.
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
            low, high = found.interval or (None, None)
            rows.append(
                [found.name, found.value, found.difference, low, high, found.p, found.p_corrected, found.verdict]
            )
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
    """Compare each of several Scores with a baseline, on the same resamples of the same images.

    Rows are matched by id. The interval of a difference is found as by ``bootstrap_intervals``. Its p-value is twice
    the share of resamples, moved in the same way, in which the difference has the other sign or none; corrected by
    Holm's method it decides the verdict, at 1 - level. Where most labels have a handful of positives, resamples vary
    less than other images would: for mAP, two equal methods were then told apart in 1 of 10 cases instead of 1 of 20.

    Args:
        named: name -> Scores of the same images, labels and targets; at least two.
        metric: a headline number of the protocol.
        baseline: the name that the others are compared with; the first where not given.
        decisions: name -> how these scores become labels; as in ``evaluate`` where not given.
        resamples: number of resamples; enough for the smallest p-value to pass the correction.
        level: of the intervals; 1 - level is the chance of any false verdict.

    Raises:
        SettingError: an unknown metric or baseline, or too few resamples.
        LabelSpaceError: other labels, or in another order.
        ScoresError: other ids, other targets, fewer than two images, or nothing that defines the metric.
    """
    baseline = _checked_baseline(named, baseline)
    first = named[baseline]
    matched = {name: _matched(first, scores, f"{baseline} and {name}") for name, scores in named.items()}
    others = [name for name in matched if name != baseline]
    _require_enough(resamples, level, len(others))
    resampling = Resampling(first, protocol, resamples, seed)
    _require_metric(metric, headline_names(resampling.protocol), first)
    decisions = decisions or {}
    values = {
        name: resampling.numbers(scores, decisions.get(name), (metric,))[metric] for name, scores in matched.items()
    }
    found = [paired_interval(values[name] - values[baseline], level) for name in others]
    corrected = holm([p for _, p in found])
    differences = []
    for name, (interval, p), p_corrected in zip(others, found, corrected, strict=True):
        value, difference = float(values[name][0]), float(values[name][0] - values[baseline][0])
        verdict = VERDICTS[2] if p_corrected > 1 - level else VERDICTS[0 if difference > 0 else 1]
        differences.append(Difference(name, value, difference, interval, p, p_corrected, verdict))
    said = list(dict.fromkeys(describe_given(decisions.get(name), resampling.protocol) for name in matched))
    told = resampling.protocol.describe() + (f"; {' / '.join(said)}" if metric in RATES else "")
    return Comparison(
        metric, told, resampling.describe(level), baseline, float(values[baseline][0]), len(first), differences
    )


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
    tail_place(resamples, level)
    needed = int(np.ceil(2 * comparisons / (1 - level))) - 1
    if resamples < needed:
        raise SettingError(
            f"resamples = {resamples}: too few for {comparisons} comparisons at level {level:g}; give {needed} or more"
        )


def _matched(first: Scores, other: Scores, where: str) -> Scores:
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
