"""The report of a Scores file, with what a run and its data add to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cotag.data.read import read
from cotag.errors import CotagError, DataError, LabelSpaceError
from cotag.evaluation.decision import Decision
from cotag.evaluation.sections.assembly import score_sections
from cotag.evaluation.uncertainty import bootstrap_intervals
from cotag.recipe import Recipe
from cotag.run.folder import RunFolder
from cotag.run.thumbnails import thumbnails
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Progress
from cotag.types.scores import Scores
from cotag.types.section import Section


def report_sections(
    scores: Scores,
    model: str | None,
    data: str | None,
    options: Mapping[str, Any],
    resamples: int,
    progress: Progress,
) -> list[Section]:
    """All sections of scores.

    Args:
        scores: with targets; of any program.
        model: a run or model folder, whose decision is used; a run adds how it learned, its training counts and,
            where its data can still be read, pictures.
        data: where the pictures are; those of the run where not given.
        options: of the reader of ``data``.
        resamples: for the intervals of the numbers; 0 for no intervals.

    Raises:
        LabelSpaceError: the model has other labels than the scores.
        DataError: ``data`` cannot be read, or has none of the images.
    """
    decision = _decision(model, scores.label_space) if model else Decision()
    run = RunFolder.of_model(model) if model else None
    index = read(data, **options) if data else _data_of(run, progress)
    if index is not None and not set(scores.ids) & set(index.ids):
        message = f"{data or 'the data of the run'}: has none of the {len(scores)} images, such as {scores.ids[0]!r}"
        if data:
            raise DataError(f"{message}; give the data that were scored")
        progress.say(f"{message}: the report is without pictures")
        index = None
    return score_sections(
        scores,
        decision,
        intervals=bootstrap_intervals(scores, decision, resamples=resamples) if resamples else None,
        training_counts=_training_counts(run, index, scores.label_space),
        history=_history(run),
        weight_decay=_json(run.result).get("weight_decay") if run else None,
        thumbnail=thumbnails(index) if index is not None else None,
    )


def _decision(model: str, space: LabelSpace) -> Decision:
    # Here, since it brings torch, and scores alone need none.
    from cotag.models.bundle import model_folder, read_settings

    folder = model_folder(model)
    about = read_settings(folder)
    try:
        LabelSpace.from_json(about["label_space"]).require_same(space, f"{folder} and the scores")
    except LabelSpaceError as error:
        raise LabelSpaceError(f"{error}; give the model that made the scores") from None
    return Decision.from_json(about["decision"], space)


def _data_of(run: RunFolder | None, progress: Progress) -> Index | None:
    """The data of a run, where they can still be read; the report does without them."""
    about = _json(run.data) if run else {}
    source = about.get("source")
    if run is None or source in (None, "an Index"):
        return None
    try:
        return read(source, **Recipe.load(run.recipe).data.read)
    except CotagError as error:
        progress.say(f"the data of the run cannot be read ({error}); give --data for pictures")
        return None


def _training_counts(run: RunFolder | None, index: Index | None, space: LabelSpace) -> list[int] | None:
    if run is None or index is None or index.label_space.hash != space.hash:
        return None
    roles = run.roles_by_id()
    rows = np.array([row for row, name in enumerate(index.ids) if roles.get(name) == "train"], dtype=np.int64)
    counts: list[int] = (index.targets(rows) == 1).sum(0).tolist()
    return counts if len(rows) else None


def _history(run: RunFolder | None) -> list[dict[str, Any]]:
    if run is None or not run.history.is_file():
        return []
    try:
        return [json.loads(line) for line in run.history.read_text("utf-8").splitlines()]
    except ValueError as error:
        raise DataError(f"{run.history}: is not JSON lines ({error}); train or copy the run again") from None


def _json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's folder; empty where there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); train or copy the run again") from None
    return found if isinstance(found, dict) else {}
