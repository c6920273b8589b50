"""A submission to the PSG classification challenge: 3 relations for each test image, by a model's decision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cotag.data.psg_challenge import PLACES, Challenge, read_challenge
from cotag.data.read import read, split_format
from cotag.data.recognize import recognize
from cotag.errors import SettingError
from cotag.evaluation.decision import Decision
from cotag.inference.predictor import load
from cotag.inference.scoring import scores_of_rows
from cotag.types.progress import Progress
from cotag.types.scores import Scores


def submission(
    model: str, data: str, options: Mapping[str, Any], complete: bool, progress: Progress, batch_size: int = 32
) -> list[list[int]]:
    """The answers of a model to a PSG file, for each of its test images the ids of 3 relations, the likeliest first.

    Labels of the model and predicate classes of the file are matched by name.

    Args:
        model: a run's folder or a model's.
        data: the PSG file.
        options: of its reader; images are looked for when they are needed (``missing=keep``) where nothing is said.
        complete: where the decision does not give 3 evaluated labels: fill up by rank, or keep the first 3 of more;
            else that is refused.

    Raises:
        SettingError: the data are no PSG file, or the decision gives another number of labels.
        LabelSpaceError: a label of the model is not among the predicate classes.
        DataError: the file asks for no image, or for one of which it says nothing.
        ImageError: a test image is missing or cannot be read.
    """
    name, place = split_format(data)
    if (name or recognize(Path(place))[0]) != "psg":
        raise SettingError(f"{data}: a submission answers a PSG file; give psg:FILE, such as psg:psg_cls_basic.json")
    asked = read_challenge(place)
    predictor = load(model)
    names = predictor.label_space.names
    ids_K, allowed_K = asked.ids_of(names), asked.evaluated(names)
    if int(allowed_K.sum()) < PLACES:
        raise SettingError(f"{model}: has {int(allowed_K.sum())} labels that are evaluated; {PLACES} are needed")
    index = read(f"psg:{place}", **{"missing": "keep", **options})
    rows = asked.rows_in(index)
    progress.say(f"{len(rows)} test images; {predictor.decision.describe()}")
    scores = scores_of_rows(predictor, index, rows, progress, batch_size)
    answers = _answers(predictor.decision, scores, ids_K, allowed_K, complete, asked)
    asked.check(answers)
    return answers


def _answers(
    decision: Decision, scores: Scores, ids_K: np.ndarray, allowed_K: np.ndarray, complete: bool, asked: Challenge
) -> list[list[int]]:
    given_NK, order_NK = decision.apply(scores), decision.order(scores)
    wrong = np.flatnonzero(((given_NK & allowed_K).sum(1) != PLACES) | (given_NK & ~allowed_K).any(1))
    if len(wrong) and not complete:
        row = wrong[0]
        vague = [name for name, no in zip(scores.label_space.names, given_NK[row] & ~allowed_K, strict=True) if no]
        what = f"{int(given_NK[row].sum())} labels" + (
            f", among them {vague[0]!r}, which is not evaluated" if vague else ""
        )
        raise SettingError(
            f"image id {asked.test_ids[row]}: the model's decision ({decision.describe()}) gives {what}; a line needs "
            f"exactly {PLACES} that are evaluated: set another decision (cotag decide SCORES --objective mR@3 "
            "--rule group_multiplier --evaluated-only --model MODEL), or give --complete"
        )
    # Those that are given come first, then the others by rank; of equal ones the first.
    places_NK = np.lexsort((-order_NK, ~given_NK, np.broadcast_to(~allowed_K, given_NK.shape)), axis=1)[:, :PLACES]
    answers: list[list[int]] = ids_K[places_NK].tolist()
    return answers
