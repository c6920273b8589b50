"""The sections of a run's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cotag.evaluation.figures import count_against_score, learning_curves
from cotag.evaluation.metrics import Report
from cotag.types.section import Section

if TYPE_CHECKING:
    # Scores are judged without torch.
    from cotag.data.splits import Roles
    from cotag.recipe import Recipe
    from cotag.run.fitting import Fitted
    from cotag.types.index import Index

SHOWN = ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1")


def summary_section(report: Report) -> Section:
    """The headline numbers of the images that judge, beside chance."""
    rows = [[name, report.metrics[name]] for name in SHOWN]
    rows.insert(1, ["mAP of chance (label prevalence)", report.metrics["chance_mAP"]])
    return Section("Test", f"{report.coverage}. Protocol: {report.protocol}.", ("metric", "value"), rows)


def label_section(report: Report, title: str = "Labels") -> Section:
    """One row for each label, the best first."""
    columns = ("label", "positives", "prevalence", "AP", "precision", "recall", "F1")
    ranked = sorted(report.labels, key=lambda label: -(label["AP"] or 0.0))
    rows = [[label[name] for name in columns] for label in ranked]
    return Section(title, "On the images that judge.", columns, rows, bars="AP")


def run_sections(report: Report, roles: Roles, index: Index, fitted: Fitted, recipe: Recipe) -> list[Section]:
    """Summary, labels, learning, counts against AP, data and settings."""
    counts = (index.targets(roles.train) == 1).sum(0).tolist()
    names = [label["label"] for label in report.labels]
    precisions = [label["AP"] for label in report.labels]
    against = Section(
        "Label counts against AP",
        "Each label by its number of training pictures.",
        figure=count_against_score(counts, precisions, names),
    )
    return [
        summary_section(report),
        label_section(report),
        _learning_section(fitted),
        against,
        Section("Data", "\n\n".join([*roles.told, *_skipped(fitted), *index.notes])),
        Section("Recipe", "", ("setting", "value"), _settings(recipe)),
    ]


def _learning_section(fitted: Fitted) -> Section:
    if fitted.history and "epoch" in fitted.history[0]:
        return Section("Learning", "Each epoch, on the images that choose.", figure=learning_curves(fitted.history))
    columns = ("weight_decay", "val_mAP", "val_loss")
    rows: list[list[Any]] = [[row[name] for name in columns] for row in fitted.history]
    text = f"Each strength on the images that choose; {fitted.weight_decay:g} was chosen."
    return Section("Choice of the regularization", text, columns, rows, bars="val_mAP")


def _skipped(fitted: Fitted) -> list[str]:
    if not fitted.skipped:
        return []
    shown = "; ".join(list(fitted.skipped.values())[:10])
    return [f"{len(fitted.skipped)} images could not be read and were left out: {shown}"]


def _settings(recipe: Recipe) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for group, values in recipe.model_dump(mode="json").items():
        rows += [[f"{group}.{name}", "null" if value is None else str(value)] for name, value in values.items()]
    return rows
