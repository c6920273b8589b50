"""All sections that Scores have, in the order of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import Report, evaluate
from cotag.evaluation.sections.calibration import calibration_section
from cotag.evaluation.sections.confusion import confusion_section
from cotag.evaluation.sections.gallery import Thumbnail, gallery_sections
from cotag.evaluation.sections.learning import learning_section
from cotag.evaluation.sections.precision_recall import precision_recall_section
from cotag.evaluation.sections.summary import count_section, label_section, summary_section
from cotag.evaluation.sections.thresholds import threshold_section
from cotag.types.scores import Scores
from cotag.types.section import Section


def score_sections(
    scores: Scores,
    decision: Decision | None = None,
    report: Report | None = None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    training_counts: Sequence[int] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    weight_decay: float | None = None,
    thumbnail: Thumbnail | None = None,
) -> list[Section]:
    """Summary, labels, learning, counts, curves, calibration, thresholds, confusion and pictures.

    Args:
        scores: of N images and K labels, with targets.
        decision: how scores become labels; a probability of at least 0.5 where not given.
        report: of these scores by this decision; computed by the default protocol where not given.
        intervals: name of a number -> (low, high).
        training_counts: images of each label in training.
        history: of the run that trained: a mapping for each epoch, or for each strength that was tried.
        weight_decay: the strength that it chose.
        thumbnail: a small JPEG of the image with an id; without it there are no pictures.

    Returns:
        the summary first, then the labels.
    """
    decision = decision or Decision()
    report = report or evaluate(scores, decision, train_counts=training_counts)
    given_NK = decision.apply(scores)
    precisions = [label["AP"] for label in report.labels]
    return [
        summary_section(report, intervals),
        label_section(report, training_counts=training_counts),
        *([learning_section(history, weight_decay)] if history else []),
        count_section(report, training_counts),
        precision_recall_section(scores, precisions),
        calibration_section(scores, report),
        threshold_section(scores, decision, report),
        confusion_section(scores, given_NK),
        *(gallery_sections(scores, given_NK, thumbnail) if thumbnail else []),
    ]
