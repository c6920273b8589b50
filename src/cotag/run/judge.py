"""Judging a saved model on data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cotag.data.read import read
from cotag.data.splits import judging_split
from cotag.errors import DataError
from cotag.evaluation.decision import Decision
from cotag.inference.predictor import load
from cotag.inference.scoring import score_index
from cotag.inference.views import ONE_VIEW, Views
from cotag.run.folder import RunFolder
from cotag.run.saved_roles import SavedRoles
from cotag.run.training_counts import counts_of_run
from cotag.types.index import Index
from cotag.types.progress import Progress
from cotag.types.scores import Scores


@dataclass(frozen=True)
class Scored:
    """What a saved model gave on data.

    Attributes:
        scores: through the model's calibration, if it has one.
        decision: the model's.
        training_counts: how many images trained each label; int64 (K,), None where run and data do not tell.
    """

    scores: Scores
    decision: Decision
    training_counts: np.ndarray | None


def score_model(
    model: str, data: str, options: dict[str, Any], split: str | None, skip_bad: bool, progress: Progress,
    views: Views = ONE_VIEW,
) -> Scored:  # fmt: skip
    """Scores of a saved model on data, its decision, and what trained it.

    Args:
        split: the split to judge on; ``all`` for every image. Where not given, the images that judged in the
            run, if all of them are among the data; else the split that usually judges; else every image.
        skip_bad: leave out pictures that cannot be read.
        views: of each picture, whose logits are averaged.

    Raises:
        LabelSpaceError: the data have other labels than the model.
        DataError: no label of these images is known.
    """
    predictor = load(model)
    index = read(data, **options)
    for note in index.notes:
        progress.say(note)
    run = RunFolder.of_model(model)
    roles = run.saved_roles()
    rows, told = rows_to_judge(roles, index, split)
    _require_known(index, rows, told)
    seen = 0 if roles is None else len(np.intersect1d(rows, roles.rows_of(("train", "choose"), index)))
    progress.say(f"judged on {told}: {len(rows)} images")
    if len(views) > 1:
        progress.say(views.describe())
    if seen:
        progress.say(f"{seen} of them trained this model or chose its settings: the numbers are too good")
    scores, skipped = score_index(
        predictor, index, rows, progress, "skip" if skip_bad else "stop", origin=str(Path(model)), views=views
    )
    for reason in list(skipped.values())[:10]:
        progress.say(reason)
    if skipped:
        progress.say(f"left out, since they could not be read: {len(skipped)} of {len(rows)} images")
    return Scored(scores, predictor.decision, counts_of_run(run, index, predictor.label_space))


def _require_known(index: Index, rows: np.ndarray, told: str) -> None:
    """Refuse images of which no label is known, before they are scored.

    Raises:
        DataError: none is.
    """
    step = 4096
    if not any((index.targets(rows[start : start + step]) >= 0).any() for start in range(0, len(rows), step)):
        raise DataError(
            f"judging on {told}: all labels of these {len(rows)} images are unknown (withheld), so there is nothing to "
            "judge by; give data with their labels or another --split, or name labels with cotag predict"
        )


def rows_to_judge(roles: SavedRoles | None, index: Index, split: str | None) -> tuple[np.ndarray, str]:
    """The rows that a model is judged on, and what they are, in words.

    Args:
        roles: of the images in the model's run, if there is one.
        split: as in ``score_model``.

    Raises:
        DataError: there is no such split.
    """
    rows, told = np.arange(len(index)), "all images"
    judged = rows[:0] if roles is None else roles.rows_of(("test",), index)
    if split is None and roles is not None and len(judged) and len(judged) == roles.count(("test",)):
        rows, told = judged, "the images that judged in the run"
    elif split is None:
        split = judging_split(index) or "all"
    if split not in (None, "all"):
        rows, told = index.rows_of(str(split)), f"split {split}"
    return rows, told
