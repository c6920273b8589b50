"""ML-GCN's ablation as tables and figures in the shape of the paper's, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cotag.evaluation.published import ALL, BENCHMARKS, TOP_3, Benchmark, relative_percent
from cotag.run.reproduce.ablation_plan import Plan
from cotag.run.reproduce.study import Study
from cotag.run.sweep.folder import Record
from cotag.run.sweep.plan import BASELINE
from cotag.run.sweep.sections import Row
from cotag.types.section import Section

Measures = Mapping[str, float | None]
TESTED = ("difference", "low", "high", "verdict")
# Which settings have a row of their own among the published ones.
PUBLISHED = {
    BASELINE: "ML-GCN",
    "kind=binary": "ML-GCN, binary graph",
    "depth=3": "ML-GCN, depth 3",
    "depth=4": "ML-GCN, depth 4",
}
RATES = (*ALL[1:], *TOP_3)
DRAWN = ("graph.tau", "graph.p")


def ablation_sections(
    plan: Plan,
    rows: Mapping[str, Row],
    measured: Mapping[str, Measures],
    edges: Mapping[str, int],
    notes: Sequence[str],
) -> list[Section]:
    """The verdict in words, then a table of each study with All and Top-3, and figures over tau and p.

    Args:
        plan: what was trained.
        rows: of the sweep, by the name of the setting; those that failed hold no values.
        measured: the same names -> means over seeds, by the protocol of ML-GCN's program.
        edges: how many the graph has at each name of the study of tau.
        notes: what is to be said first.
    """
    told = [study.in_words(rows) for study in plan.studies]
    if plan.not_run:
        told.append("Not run: " + "; ".join(f"vectors of {name}" for name in plan.not_run) + ": see below.")
    sections = [Section("Verdict", "\n\n".join([*notes, *told]))]
    for study in plan.studies:
        sections += _study_sections(study, rows, measured, edges if study.key == "graph.tau" else {})
    return sections


def not_run_sections(plan: Plan, failed: Sequence[Record]) -> list[Section]:
    """What was not run, with how to get it, and what failed."""
    found = []
    if plan.not_run:
        where = "Give --vectors NAME=FILE, or put the file into the current folder under its own name."
        found.append(Section("Not run", where, ("vectors", "how to get them"), [list(p) for p in plan.not_run.items()]))
    if failed:
        cells = [[record.setting, record.seed, record.message] for record in failed]
        found.append(Section("Failed", f"{len(failed)} trials failed.", ("setting", "seed", "message"), cells))
    return found


def _study_sections(
    study: Study, rows: Mapping[str, Row], measured: Mapping[str, Measures], edges: Mapping[str, int]
) -> list[Section]:
    tested, rates = [], []
    for name in study.names:
        row, own = rows[study.settings[name].name], measured.get(study.settings[name].name, {})
        shown, found = study.shown(name), row.to_json()
        tested.append([shown, *([edges.get(name)] if edges else []), own.get("mAP"), *(found[key] for key in TESTED)])
        rates.append([shown, *(own.get(key) for key in RATES)])
    columns = [study.title, *(["edges"] if edges else []), "mAP", *TESTED]
    figure = study_figure(study, rows) if study.key in DRAWN else None
    text = study.in_words(rows)
    if figure:
        text += (
            "\n\nIn the figure each bar is the interval of the difference to the recipe, over images and seeds, held "
            "to the level of its verdict, so it leaves out the line of the recipe where the verdict names a winner."
        )
    about = "All: labels at a probability of 0.5 or more. @3: of the three highest of an image, those over 0.5."
    return [
        Section(study.title, text, columns, tested, figure),
        Section(f"{study.title}: All and top 3", about, [study.title, *RATES], rates),
    ]


def study_figure(study: Study, rows: Mapping[str, Row]) -> dict[str, Any] | None:
    """mAP over the values of a study as a line, with the interval of each difference to the recipe; plotly."""
    base = rows[BASELINE].test
    known = [(name, rows[study.settings[name].name]) for name in study.names]
    points = [(float(name), row) for name, row in known if row.test is not None]
    if base is None or len(points) < 2:
        return None
    low, high = [], []
    for _, row in points:
        value, one = row.test or 0.0, row.against
        low.append(value - (base + one.interval[0]) if one else 0.0)
        high.append(base + one.interval[1] - value if one else 0.0)
    x = [value for value, _ in points]
    line = {
        "type": "scatter", "mode": "lines+markers", "name": "mean over seeds", "x": x,
        "y": [row.test for _, row in points],
        "error_y": {"type": "data", "symmetric": False, "array": high, "arrayminus": low},
    }  # fmt: skip
    own = {
        "type": "scatter", "mode": "lines", "name": f"the recipe's {study.base}", "x": [min(x), max(x)],
        "y": [base, base], "line": {"dash": "dash"},
    }  # fmt: skip
    layout = {
        "title": {"text": f"mAP over {study.title[0].lower()}{study.title[1:]}"},
        "xaxis": {"title": {"text": study.key.rpartition(".")[2]}},
        "yaxis": {"title": {"text": "mAP"}},
        "showlegend": True,
    }
    return {"data": [line, own], "layout": layout}


def published_sections(known: Benchmark, measured: Mapping[str, Measures], notes: Sequence[str]) -> list[Section]:
    """Published rows beside the own ones, and what each change brings in per cent of what it is a change of.

    Args:
        known: the published rows.
        measured: name of the setting -> means over seeds.
        notes: what is to be said first, such as that the own rows are of other images.
    """
    rows_of = {row.method: row.percent for row in known.rows}
    lines: list[tuple[str, str, dict[str, float | None]]] = []
    base = rows_of[PUBLISHED[BASELINE]]
    own_base = _percent(measured[BASELINE], base)
    for setting, method in PUBLISHED.items():
        if setting not in measured:
            continue
        theirs = rows_of[method]
        own = _percent(measured[setting], theirs)
        lines += [(method, "published", dict(theirs)), (method, "own", own)]
        lines.append(
            (method, "own from published, %", {key: relative_percent(own[key], theirs[key]) for key in theirs})
        )
        if setting != BASELINE:
            changes = {key: relative_percent(theirs[key], base[key]) for key in theirs}
            lines.append((method, "published from ML-GCN, %", changes))
            own_changes = {key: _change(own[key], own_base[key]) for key in theirs}
            lines.append((method, "own from own ML-GCN, %", own_changes))
    text = (
        f"{known.title}. Published numbers and own means over seeds, in per cent; how far the own are from the "
        "published in per cent of these, as the reproduction reports it; and what each change brings, in per cent of "
        "ML-GCN itself."
    )
    return [
        Section(
            f"Published and own: {title}",
            "\n\n".join([*said, text]),
            ("method", "number", *names),
            [
                [method, what, *(values.get(key) for key in names)]
                for method, what, values in lines
                if {*names} & {*values}
            ],
        )
        for title, names, said in (("All", ALL, notes), ("Top 3", TOP_3, ()))
    ]


def _percent(measured: Measures, published: Mapping[str, float]) -> dict[str, float | None]:
    """The own numbers in per cent, of the measures that are published."""
    return {key: None if (value := measured.get(key)) is None else 100 * value for key in published}


def _change(value: float | None, base: float | None) -> float | None:
    return relative_percent(value, base) if base else None


def benchmark_of(labels: int) -> Benchmark | None:
    """The published rows of a data set with so many labels, None where there are none of an ablation."""
    for known in BENCHMARKS.values():
        if known.labels == labels and {row.method for row in known.rows} >= {*PUBLISHED.values()}:
            return known
    return None
