"""The headline numbers and one row for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cotag.evaluation.figures import count_against_score
from cotag.evaluation.metrics import Report
from cotag.types.frequency import NAMES
from cotag.types.section import Section

HEADLINE = ("mAP", *(f"mAP_{name}" for name in NAMES), "CF1", "OF1", "CP", "CR", "OP", "OR", "macro_F1")
CHANCE = "mAP of chance (label prevalence)"
LABEL_COLUMNS = ("label", "group", "positives", "AP", "precision", "recall", "F1", "threshold")


def summary_section(
    report: Report, intervals: Mapping[str, tuple[float, float]] | None = None, title: str = "Test"
) -> Section:
    """Every number, the best known first and beside chance.

    Args:
        report: what ``evaluate`` found.
        intervals: name -> (low, high), where they were computed; a number without one has a dash.
    """
    first = [name for name in report.metrics if _leads(name)]
    first.sort(key=lambda name: HEADLINE.index(name) if name in HEADLINE else len(HEADLINE))
    names = [*first, *(name for name in report.metrics if name not in (*first, "chance_mAP"))]
    shown = {name: report.metrics[name] for name in names}
    rows = [[name, value, *(intervals or {}).get(name, (None, None))] for name, value in shown.items()]
    rows.insert(1, [CHANCE, report.metrics["chance_mAP"], None, None])
    columns: tuple[str, ...] = ("metric", "value", "low", "high")
    text = f"{report.coverage}. Protocol: {report.protocol}."
    if not intervals:
        return Section(title, text, columns[:2], [row[:2] for row in rows])
    return Section(title, f"{text}\n\nlow and high: the 95 % bootstrap interval over images.", columns, rows)


def headline(section: Section, where: str) -> Section:
    """The first rows of a summary: mAP, chance and groups, the rates, macro F1 and mean recall.

    Args:
        section: what ``summary_section`` made.
        where: the place of the other rows, in words.
    """
    rows = [row for row in section.rows if row[0] == CHANCE or _leads(row[0])]
    text = f"{section.text}\n\n{len(section.rows) - len(rows)} more numbers: {where}."
    return replace(section, text=text, rows=rows)


def _leads(name: str) -> bool:
    return name in HEADLINE or (name.startswith("mR@") and name.partition("@")[2].isdecimal())


def label_section(report: Report, title: str = "Labels", training_counts: Sequence[int] | None = None) -> Section:
    """One row for each label, the best first.

    Args:
        report: what ``evaluate`` found.
        training_counts: images of each label in training, in the order of the label space, where they are known.
    """
    counts = training_counts if training_counts is not None else [None] * len(report.labels)
    rows_of = [{**label, "training": count} for label, count in zip(report.labels, counts, strict=True)]
    filled = [name for name in LABEL_COLUMNS if any(label.get(name) is not None for label in rows_of)]
    columns = [name for name in LABEL_COLUMNS if name in filled or name in ("label", "AP")]
    # One threshold for all labels is told by the protocol.
    if len({label.get("threshold") for label in rows_of}) == 1 and "threshold" in columns:
        columns.remove("threshold")
    if training_counts is not None:
        columns.insert(columns.index("positives"), "training")
    ranked = sorted(rows_of, key=lambda label: -(label["AP"] or 0.0))
    rows = [[label[name] for name in columns] for label in ranked]
    return Section(title, "On the images that judge.", columns, rows, bars="AP")


def count_section(report: Report, training_counts: Sequence[int] | None = None) -> Section:
    """Each label by its number of images, in training where that is known, and its average precision."""
    where = "images that judge" if training_counts is None else "training images"
    counts = [label["positives"] for label in report.labels] if training_counts is None else training_counts
    names = [label["label"] for label in report.labels]
    figure = count_against_score(counts, [label["AP"] for label in report.labels], names)
    return Section("Label counts against AP", f"Each label by its number of {where}.", figure=figure)
