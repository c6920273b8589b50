"""What each step of a waterfall brought, as a table, a chart and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.evaluation.comparison import VERDICTS, Comparison, Difference
from cotag.evaluation.repeated import compare_steps
from cotag.run.sweep.compared import Gathered, Measure, swaps_for
from cotag.run.sweep.folder import Record
from cotag.run.sweep.plan import BASELINE, Setting
from cotag.run.sweep.sections import Row, failures, finite
from cotag.types.section import Section, drawn_names

COLUMNS = (
    "step", "sets", "reached", "spread", "brought", "low", "high", "p", "verdict",
    "since start", "low since start", "high since start", "verdict since start", "seeds", "seconds",
)  # fmt: skip
TITLE = "Steps"
COLORS = dict(zip(VERDICTS, ("#2a9d5c", "#c8443a", "#9aa3ad"), strict=True))
REACHED = "#1f4e79"


@dataclass(frozen=True)
class Brought:
    """What a step brought.

    Attributes:
        step: its name.
        after: the step before it that could be trained; ``recipe`` for the first.
        found: against that.
    """

    step: str
    after: str
    found: Difference

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        one, (low, high) = self.found, map(finite, self.found.interval)
        about = {"step": self.step, "after": self.after, "reached": one.value, "brought": one.difference}
        return {**about, "low": low, "high": high, "p": one.p_corrected, "verdict": one.verdict}


def compared_steps(kept: Gathered, planned: Sequence[Setting], measure: Measure) -> list[Brought]:
    """Each step that could be trained against the nearest one before it that could."""
    names = [setting.name for setting in planned if kept.scores[setting.name]]
    found = compare_steps(
        {name: kept.scores[name] for name in names}, measure.metric, measure.protocol, swaps_for(len(names) - 1),
        measure.seed, overlap=measure.overlap, decisions=kept.decisions,
    )  # fmt: skip
    return [Brought(one.name, before, one) for one, before in zip(found, names, strict=False)]


def waterfall_sections(
    comparison: Comparison, rows: Sequence[Row], brought: Sequence[Brought], planned: Sequence[Setting],
    failed: Sequence[Record],
) -> list[Section]:  # fmt: skip
    """The sections of a waterfall's report.

    Args:
        comparison: each step against the recipe as it is.
    """
    about = (
        f"{comparison.metric} of {comparison.images} images. Protocol: {comparison.protocol}. {comparison.method} What "
        "a step brought is against the step before it; since start, against the recipe as it is; each of the two has a "
        "correction of its own. A decision is fitted, for each training, on the images that chose its epoch."
    )
    return [
        Section("Verdict", verdict_in_words(comparison, brought)),
        Section("Waterfall", _CHART, figure=waterfall_figure(comparison, brought)),
        Section(TITLE, about, COLUMNS, _cells(rows, brought, planned)),
        *failures(failed),
    ]


def verdict_in_words(comparison: Comparison, brought: Sequence[Brought]) -> str:
    """What each step brought, and all of them together."""
    lines = []
    for one in brought:
        before = "the recipe as it is" if one.after == BASELINE else one.after
        lines.append(f"{one.step}: {_said(one.found, before)}.")
    last = next(found for found in comparison.differences if found.name == brought[-1].step)
    lines.append(
        f"All together: {comparison.metric} {comparison.baseline_value:.4f} became {last.value:.4f}, which "
        f"{_said(last, 'the recipe as it is')}."
    )
    return "\n\n".join(lines)


def brief_steps(section: Section) -> Section:
    """The table of the steps with the columns that fit into a terminal."""
    places = [COLUMNS.index(name) for name in ("step", "reached", "brought", "low", "high", "verdict", "since start")]
    rows = [[row[place] for place in places] for row in section.rows]
    text = section.text + "\n\nThe other columns and the chart: the report, and --json."
    return Section(section.title, text, [COLUMNS[place] for place in places], rows)


def waterfall_figure(comparison: Comparison, brought: Sequence[Brought]) -> dict[str, Any]:
    """A bar from the level before each step to the level after it, with the interval of the bar's length.

    Returns:
        a plotly figure.
    """
    names = drawn_names(["start", *(one.step for one in brought)], most=28)
    levels = [comparison.baseline_value, *(one.found.value for one in brought)]
    bars = []
    for verdict in VERDICTS:
        own = [(place, one.found) for place, one in enumerate(brought, start=1) if one.found.verdict == verdict]
        reach = [_reach(one) for _, one in own]
        bars.append(
            {
                "type": "bar", "name": verdict, "x": [names[place] for place, _ in own],
                "y": [one.difference for _, one in own], "base": [one.value - one.difference for _, one in own],
                "marker": {"color": COLORS[verdict], "opacity": 0.85},
                "customdata": [[*map(finite, one.interval), one.p_corrected] for _, one in own],
                "hovertemplate": "%{x}: %{y:+.4f}<br>%{customdata[0]:+.4f} to %{customdata[1]:+.4f}<br>"
                "p = %{customdata[2]:.3f}<extra></extra>",
                "error_y": {
                    "type": "data", "symmetric": False, "thickness": 1.4, "width": 5, "color": "#333",
                    "array": [up for _, up in reach], "arrayminus": [down for down, _ in reach],
                },
            }
        )  # fmt: skip
    reached = {
        "type": "scatter", "mode": "markers+text", "name": "reached", "x": names, "y": levels,
        "text": [f"  {level:.3f}" for level in levels], "textposition": "middle right",
        "textfont": {"color": REACHED}, "cliponaxis": False,
        "marker": {"symbol": "line-ew", "size": 26, "line": {"width": 3, "color": REACHED}},
        "hovertemplate": "%{x}: %{y:.4f}<extra></extra>",
    }  # fmt: skip
    layout = {
        "title": {"text": f"{comparison.metric}, step by step"},
        "xaxis": {"type": "category", "categoryorder": "array", "categoryarray": names},
        "yaxis": {"title": {"text": comparison.metric}},
        "barmode": "overlay",
        "showlegend": True,
        "height": 480,
    }
    return {"data": [*bars, reached], "layout": layout}


def _cells(rows: Sequence[Row], brought: Sequence[Brought], planned: Sequence[Setting]) -> list[list[Any]]:
    """The lines of the table, in the order of the steps."""
    row_of, step_of = {row.setting: row for row in rows}, {one.step: one.found for one in brought}
    cells, before = [], 0
    for setting in planned:
        row, own = row_of[setting.name], step_of.get(setting.name)
        line = row.to_json()
        sets, before = ", ".join(setting.overrides[before:]), len(setting.overrides)
        bounds = [None, None] if own is None else list(map(finite, own.interval))
        verdict = line["verdict"] if own is None else own.verdict
        cells.append([
            "start" if setting.name == BASELINE else setting.name, sets, line["test"], line["spread"],
            own.difference if own else None, *bounds, own.p_corrected if own else None, verdict,
            line["difference"], line["low"], line["high"], line["verdict"], line["seeds"], line["seconds"],
        ])  # fmt: skip
    return cells


def _said(found: Difference, before: str) -> str:
    low, high = found.interval
    how = f"{found.difference:+.4f}" + (f", interval {low:+.4f} to {high:+.4f}" if np.isfinite(low) else "")
    if found.verdict == VERDICTS[2]:
        return f"cannot be told apart from {before} ({how})"
    return f"is {found.verdict} than {before} ({how})"


def _reach(found: Difference) -> tuple[float, float]:
    """How far the interval reaches below and above the difference; nothing where there is none."""
    low, high = found.interval
    return (found.difference - low, high - found.difference) if np.isfinite(low) else (0.0, 0.0)


_CHART = (
    "Each bar runs from the level before a step to the level after it; the line through its end is the interval of "
    "what the step brought (the bar's length). A gray bar cannot be told apart from nothing. Steps build on each "
    "other: in another order they may bring something else."
)
