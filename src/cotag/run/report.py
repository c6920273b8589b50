"""The report of a Scores file, with what a run and its data add to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotag.data.read import read
from cotag.errors import CotagError, DataError
from cotag.evaluation.decision import Decision
from cotag.evaluation.sections.assembly import score_sections
from cotag.evaluation.uncertainty import bootstrap_intervals
from cotag.recipe import Recipe
from cotag.run.decision import with_decision
from cotag.run.folder import RunFolder
from cotag.run.thumbnails import thumbnails
from cotag.run.training_counts import counts_of_run
from cotag.types.index import Index
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
    scores, decision = with_decision(model, scores, progress.say) if model else (scores, Decision())
    run = RunFolder.of_model(model) if model else None
    index = read(data, **options) if data else _data_of(run, progress)
    if index is not None and not set(scores.ids) & set(index.ids):
        message = f"{data or 'the data of the run'}: has none of the {len(scores)} images, such as {scores.ids[0]!r}"
        if data:
            raise DataError(f"{message}; give the data that were scored")
        progress.say(f"{message}: the report is without pictures")
        index = None
    counts_K = counts_of_run(run, index, scores.label_space) if run and index is not None else None
    return score_sections(
        scores,
        decision,
        intervals=bootstrap_intervals(scores, decision, resamples=resamples) if resamples else None,
        training_counts=None if counts_K is None else counts_K.tolist(),
        history=_history(run),
        weight_decay=_json(run.result).get("weight_decay") if run else None,
        thumbnail=thumbnails(index) if index is not None else None,
    )


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
