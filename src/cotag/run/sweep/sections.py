"""What a sweep found, as a table, a figure and words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.evaluation.comparison import VERDICTS, Comparison, Difference
from cotag.run.sweep.folder import Record
from cotag.run.sweep.plan import BASELINE
from cotag.types.section import Section, drawn_names

COLUMNS = (
    "setting", "test", "spread", "difference", "low", "high", "p", "verdict", "chosen", "seeds", "seconds",
    "parameters", "front",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One setting of the table.

    Attributes:
        setting: its name; ``recipe`` for the baseline.
        values: the number that is compared, on the images that judge, of each seed that did not fail.
        against: the baseline; None for itself, and where too much failed.
        records: of the trials that did not fail.
        chosen_values: the number that is compared, on the images that choose, of each of them.
        front: whether no other setting is both better and cheaper.
    """

    setting: str
    values: tuple[float, ...]
    against: Difference | None
    records: tuple[Record, ...]
    chosen_values: tuple[float, ...] = ()
    front: bool = False

    @property
    def test(self) -> float | None:
        """The mean over seeds."""
        return float(np.mean(self.values)) if self.values else None

    @property
    def chosen(self) -> float | None:
        """The number on the images that choose, the mean over seeds."""
        return float(np.mean(self.chosen_values)) if self.chosen_values else None

    @property
    def seconds(self) -> float | None:
        """Of fitting one seed, the mean."""
        return float(np.mean([record.seconds for record in self.records])) if self.records else None

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the names of ``COLUMNS``."""
        one = self.against
        verdict = "failed" if not self.values else "baseline" if self.setting == BASELINE else VERDICTS[2]
        low, high = (None, None) if one is None else (finite(bound) for bound in one.interval)
        cells = (
            self.setting, self.test, float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None,
            one.difference if one else None, low, high, one.p_corrected if one else None,
            one.verdict if one else verdict, self.chosen, len(self.values), self.seconds,
            self.records[0].parameters if self.records else None, self.front,
        )  # fmt: skip
        return dict(zip(COLUMNS, cells, strict=True))


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (quality, cost) whether no other is at least as good and as cheap, and one of them better.

    >>> pareto([(0.8, 1.0), (0.9, 2.0), (0.7, 3.0)])
    [True, True, False]
    """
    return [
        not any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in points) for quality, cost in points
    ]


def verdict_in_words(comparison: Comparison, rows: Sequence[Row], anew: Difference | None = None) -> str:
    """What may be concluded; the setting to take is named by the images that choose, never by those that judge.

    Args:
        anew: what was chosen anew with each seed, against the recipe as it is.
    """
    lines = []
    for verdict in VERDICTS[:2]:
        names = [found.name for found in comparison.differences if found.verdict == verdict]
        if names:
            lines.append(f"{verdict.capitalize()} than the recipe: {'; '.join(names)}.")
    others = sum(found.verdict == VERDICTS[2] for found in comparison.differences)
    if others == len(comparison.differences):
        lines.append(f"None of {others} settings can be told apart from the recipe.")
    elif others:
        lines.append(f"{others} of {len(comparison.differences)} settings cannot be told apart from the recipe.")
    told = [row for row in rows if row.chosen is not None and row.test is not None]
    if told:
        taken = max(told, key=lambda row: row.chosen or 0.0)
        lines.append(
            f"To take, by the images that choose: {taken.setting} (there {taken.chosen:.4f} {comparison.metric}). "
            f"Those that judge, which had no part in the choice, give it {taken.test:.4f}; the highest number in the "
            f"column test, {max(row.test or 0.0 for row in told):.4f}, is the best of {len(told)} and holds their luck."
        )
    each = chosen_each_time(rows)
    if each is not None:
        lines.append(
            f"Choosing anew with each seed or fold, by its own images that choose, gives {each:.4f} on those that "
            "judge: what choosing among these settings is worth, without the luck of the best."
            + (f" That {against_recipe(anew)}." if anew else "")
        )
    return "\n\n".join(lines)


def against_recipe(found: Difference) -> str:
    """A difference to the recipe in words, as the end of a sentence."""
    low, high = found.interval
    how = f"{found.difference:+.4f}" + (f", interval {low:+.4f} to {high:+.4f}" if math.isfinite(low) else "")
    if found.verdict == VERDICTS[2]:
        return f"cannot be told apart from the recipe as it is ({how})"
    return f"is {found.verdict} than the recipe as it is ({how})"


def chosen_each_time(rows: Sequence[Row]) -> float | None:
    """The mean over seeds of what the setting that chose best with a seed has on the images that judge."""
    best = best_by_seed(rows)
    return float(np.mean([row.values[place] for row, place in best.values()])) if best else None


def best_by_seed(rows: Sequence[Row]) -> dict[int, tuple[Row, int]]:
    """For each seed the setting that its images that choose like best, and the seed's place among its values."""
    best: dict[int, tuple[Row, int]] = {}
    for row in rows:
        for place, record in enumerate(row.records):
            held = best.get(record.seed)
            if held is None or row.chosen_values[place] > held[0].chosen_values[held[1]]:
                best[record.seed] = (row, place)
    return dict(sorted(best.items()))


def sweep_sections(
    comparison: Comparison, rows: Sequence[Row], failed: Sequence[Record], anew: Difference | None = None
) -> list[Section]:
    """The sections of a sweep's report."""
    about = f"{comparison.metric} of {comparison.images} images. Protocol: {comparison.protocol}. {comparison.method}"
    found = [
        Section("Verdict", verdict_in_words(comparison, rows, anew)),
        Section("Settings", about, COLUMNS, [list(row.to_json().values()) for row in rows]),
        Section("Quality and cost", _FRONT, figure=front_figure(rows, comparison.metric)),
    ]  # fmt: skip
    return [*found, *failures(failed)]


def failures(failed: Sequence[Record]) -> list[Section]:
    """The trials that failed, if any."""
    if not failed:
        return []
    cells = [[record.setting, record.seed, record.message] for record in failed]
    return [Section("Failed", f"{len(failed)} trials failed.", ("setting", "seed", "message"), cells)]


def brief(section: Section) -> Section:
    """The table of all settings with the columns that fit into a terminal."""
    places = [COLUMNS.index(name) for name in ("setting", "test", "difference", "low", "high", "verdict", "seconds")]
    rows = [[row[place] for place in places] for row in section.rows]
    text = section.text + "\n\nThe other columns: the report, and --json."
    return Section(section.title, text, [COLUMNS[place] for place in places], rows)


_FRONT = (
    "Each setting by the seconds of fitting one head and its number on the images that judge; those on the line are "
    "the front: nothing is both better and cheaper. What the table cannot tell apart, this figure cannot either."
)


def front_figure(rows: Sequence[Row], metric: str) -> dict[str, Any]:
    """Quality against cost, with the front as a line; a plotly figure."""
    known = [row for row in rows if row.test is not None and row.seconds is not None]
    front = sorted((row for row in known if row.front), key=lambda row: row.seconds or 0.0)
    names = drawn_names([row.setting for row in known])
    dots = {
        "type": "scatter", "mode": "markers", "name": "settings", "x": [row.seconds for row in known],
        "y": [row.test for row in known], "text": names,
        "hovertemplate": "%{text}<br>%{x:.3g} s<br>%{y:.4f}<extra></extra>",
        "marker": {"size": [13 if row.setting == BASELINE else 8 for row in known], "opacity": 0.75},
    }  # fmt: skip
    line = {
        "type": "scatter", "mode": "lines", "name": "front", "x": [row.seconds for row in front],
        "y": [row.test for row in front], "line": {"shape": "hv"}, "hoverinfo": "skip",
    }  # fmt: skip
    layout = {
        "title": {"text": f"{metric} by the seconds of fitting"},
        "xaxis": {"title": {"text": "seconds of fitting a head"}},
        "yaxis": {"title": {"text": metric}},
        "showlegend": True,
    }
    return {"data": [dots, line], "layout": layout}


def finite(value: float) -> float | None:
    """The number, or None where it is none."""
    return float(value) if math.isfinite(value) else None
