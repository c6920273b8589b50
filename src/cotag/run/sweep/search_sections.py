"""What a search found, as words, tables and figures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cotag.evaluation.comparison import Comparison
from cotag.evaluation.figures import bar
from cotag.run.sweep.folder import Record
from cotag.run.sweep.plan import Setting
from cotag.run.sweep.sections import COLUMNS, Row, against_recipe, failures
from cotag.run.sweep.study import COMPLETE, FAILED, PRUNED, Tried
from cotag.types.section import Section, drawn_names

TRIED = ("number", "setting", "state", "value", "epoch", "seconds", "message")
TITLE = "Settings tried"
MOST_SHOWN = 10


@dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
        tried: the trials, in their order.
        best: the setting with the highest number on the images that choose.
        own: the number of the recipe as it is, trained with the same seeds.
        importance: what share of the variation each setting brought.
    """

    tried: list[Tried]
    best: Setting
    own: float
    importance: dict[str, float]


def search_sections(
    found: Searched, comparison: Comparison, rows: Sequence[Row], failed: Sequence[Record]
) -> list[Section]:
    """The sections of a search's report."""
    metric = comparison.metric
    about = f"{metric} of {comparison.images} images. Protocol: {comparison.protocol}. {comparison.method}"
    sections = [
        Section("Verdict", verdict_in_words(found, comparison)),
        Section("Settings", about, COLUMNS, [list(row.to_json().values()) for row in rows]),
        Section(TITLE, _TRIED, TRIED, [[getattr(one, name) for name in TRIED] for one in found.tried]),
        Section("Course of the search", _COURSE, figure=course_figure(found, metric)),
    ]
    if found.importance:
        names, shares = list(found.importance), list(found.importance.values())
        sections.append(Section("Importance", _IMPORTANCE, figure=bar(names, shares, "share of the variation")))
    return [*sections, *failures(failed)]


def verdict_in_words(found: Searched, comparison: Comparison) -> str:
    """What may be concluded; what the search itself saw of its best setting is named as lucky."""
    count = {state: sum(one.state == state for one in found.tried) for state in (COMPLETE, PRUNED, FAILED)}
    metric, best = comparison.metric, _best(found.tried)
    lines = [
        f"{len(found.tried)} settings were tried: {count[COMPLETE]} to the end, {count[PRUNED]} were given up early, "
        f"{count[FAILED]} failed. The images that choose like {found.best.name} best: {best.value:.4f} {metric}, the "
        f"recipe as it is has {found.own:.4f} there. That is the best of many and holds their luck."
    ]
    for one in comparison.differences:
        lines.append(
            "Trained anew with other seeds and judged by images that had no part in the search, it has "
            f"{one.value:.4f} {metric} against {comparison.baseline_value:.4f}, and {against_recipe(one)}."
        )
    return "\n\n".join(lines)


def brief_tried(section: Section) -> Section:
    """The best settings alone, for a terminal."""
    place = TRIED.index("value")
    rows = sorted((row for row in section.rows if row[place] is not None), key=lambda row: -row[place])[:MOST_SHOWN]
    text = f"The best {len(rows)} of {len(section.rows)} on the images that choose. All: the report, and --json."
    return Section(section.title, text, TRIED[:4], [row[:4] for row in rows])


def course_figure(found: Searched, metric: str) -> dict[str, Any]:
    """The number of each trial, and the best until then; a plotly figure."""
    ended = [one for one in found.tried if one.value is not None]
    best = list(itertools.accumulate((one.value or 0.0 for one in ended), max))
    dots = {
        "type": "scatter", "mode": "markers", "name": "settings", "x": [one.number + 1 for one in ended],
        "y": [one.value for one in ended], "text": drawn_names([one.setting for one in ended]),
        "hovertemplate": "%{text}<br>%{y:.4f}<extra></extra>", "marker": {"size": 8, "opacity": 0.75},
    }  # fmt: skip
    line = {
        "type": "scatter", "mode": "lines", "name": "best so far", "x": [one.number + 1 for one in ended], "y": best,
        "line": {"shape": "hv"}, "hoverinfo": "skip",
    }  # fmt: skip
    own = {
        "type": "scatter", "mode": "lines", "name": "recipe as it is", "x": [1, max(2, len(found.tried))],
        "y": [found.own, found.own], "line": {"dash": "dot"}, "hoverinfo": "skip",
    }  # fmt: skip
    layout = {
        "title": {"text": f"{metric} on the images that choose"},
        "xaxis": {"title": {"text": "trial"}},
        "yaxis": {"title": {"text": metric}},
        "showlegend": True,
    }
    return {"data": [dots, line, own], "layout": layout}


def _best(tried: Sequence[Tried]) -> Tried:
    return max((one for one in tried if one.value is not None), key=lambda one: one.value or 0.0)


_TRIED = (
    "Every setting that was tried, with its number on the images that choose. One that was given up early was worse "
    "after that epoch than half of the others had been by then."
)
_COURSE = "The number of each setting on the images that choose, in the order in which they were tried."
_IMPORTANCE = (
    "What share of the variation between the trials each setting brought, by functional ANOVA on a random forest: a "
    "guess from these trials alone, without an interval."
)
