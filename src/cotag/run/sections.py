"""The sections of a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import Report
from cotag.evaluation.sections.assembly import score_sections
from cotag.evaluation.sections.summary import headline as headline
from cotag.evaluation.sections.summary import label_section as label_section
from cotag.evaluation.sections.summary import summary_section as summary_section
from cotag.evaluation.uncertainty import Interval
from cotag.run.thumbnails import thumbnails
from cotag.run.training_counts import training_counts
from cotag.types.scores import Scores
from cotag.types.section import Section

if TYPE_CHECKING:
    # Scores are judged without torch.
    from cotag.data.splits import Roles
    from cotag.recipe import Recipe
    from cotag.run.fitting import Fitted
    from cotag.types.index import Index


def run_sections(
    report: Report,
    intervals: Mapping[str, Interval],
    scores: Scores,
    decision: Decision,
    roles: Roles,
    index: Index,
    fitted: Fitted,
    recipe: Recipe,
) -> list[Section]:
    """Everything that the scores of the images that judge have to say, then data and settings.

    Args:
        report: of the scores by the decision.
        intervals: of the report's numbers, where they were computed.
    """
    return [
        *score_sections(
            scores,
            decision,
            report,
            intervals,
            training_counts=training_counts(index, roles, recipe).tolist(),
            history=fitted.history,
            weight_decay=fitted.weight_decay,
            thumbnail=thumbnails(index),
        ),
        *([Section("Baseline", fitted.baseline)] if fitted.baseline else []),
        Section("Data", "\n\n".join([*roles.told, *_skipped(fitted), *index.notes])),
        Section("Recipe", "", ("setting", "value"), _settings(recipe)),
    ]


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
