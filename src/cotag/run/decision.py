"""Decisions and calibrations of files and saved models, and scores on the scale that they belong to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cotag.errors import LabelSpaceError, SettingError
from cotag.evaluation.adjustment import OFFSETS, Adjustment
from cotag.evaluation.calibration import Calibration
from cotag.evaluation.decision import Decision
from cotag.models.settings import calibration_of, model_folder, read_settings, write_calibration
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

Say = Callable[[str], None]


def with_decision(place: str, scores: Scores, say: Say) -> tuple[Scores, Decision]:
    """The decision of a JSON file or of a saved model, and the scores as it takes them.

    Args:
        place: what ``cotag decide --out`` wrote, or a run or model folder; a model that calibrates its scores does so
            with these, if they were written before.
        say: is told where scores were calibrated.

    Raises:
        LabelSpaceError: it belongs to other labels.
        SettingError: the file is no decision, or the scores have another calibration.
    """
    if not Path(place).is_dir():
        value = _read(place, "rule", "decide")
        with _of(place):
            return scores, Decision.from_json(value, scores.label_space)
    about = _settings(place, scores)
    return _calibrated(about, place, scores, say), Decision.from_json(about["decision"], scores.label_space)


def as_model_gives(model: str, scores: Scores, say: Say) -> Scores:
    """The scores as a saved model gives them now: through its calibration, if they were written before it had one.

    Raises:
        LabelSpaceError: the model has other labels.
        SettingError: the scores have another calibration.
    """
    return _calibrated(_settings(model, scores), model, scores, say)


def with_calibration(place: str, scores: Scores) -> Scores:
    """The scores through the calibration of a JSON file or of a saved model.

    Raises:
        LabelSpaceError: it was fitted for other labels.
        SettingError: there is none.
        ScoresError: the scores are calibrated already.
    """
    if Path(place).is_dir():
        found = calibration_of(_settings(place, scores), scores.label_space)
        if found is None:
            raise SettingError(f"{place}: this model has no calibration; cotag calibrate SCORES --model fits one")
        return found.apply(scores)
    value = _read(place, "slopes", "calibrate")
    with _of(place):
        return Calibration.from_json(value, scores.label_space).apply(scores)


def save_calibration(model: str, calibration: Calibration) -> str:
    """Put a calibration into a saved model, with its decision carried over to the new scale.

    Returns:
        what became of the decision, in words.

    Raises:
        LabelSpaceError: the model has other labels.
    """
    folder, space = model_folder(model), calibration.label_space
    about = read_settings(folder)
    LabelSpace.from_json(about["label_space"]).require_same(space, f"the model {folder} and the scores")
    decision = Decision.from_json(about["decision"], space)
    kept = carried_over(decision, calibration_of(about, space), calibration)
    write_calibration(folder, calibration, (kept or Decision()).to_json())
    if kept is None:
        return (
            f"its decision ({decision.describe()}) was fitted on other scores and cannot be carried over; now "
            f"{Decision().describe()}. cotag decide SCORES --objective NAME --model {model} fits one again"
        )
    if kept is decision:
        return f"its decision stays, now on calibrated scores: {decision.describe()}"
    return "its decision was carried over: every image is given the same labels as before"


def carried_over(decision: Decision, before: Calibration | None, after: Calibration) -> Decision | None:
    """The decision that gives the same labels on newly calibrated scores; None where there is none.

    A rule that was declared and not fitted (a probability of at least 0.5, the 3 highest) stays as it is: it is meant
    for whatever probabilities a model gives. Thresholds go with the logits where each label's logit is multiplied by a
    number above 0 and moved; what ranks labels, where all are by the same. Steps keep no threshold: they tie images.

    Args:
        decision: fitted on scores with the calibration ``before``.
        before: None for the scores of the model itself.
    """
    offsets = decision.adjustment if decision.adjustment and decision.adjustment.scale == OFFSETS else None
    multiplied = decision.adjustment is not None and offsets is None
    declared = not decision.fitted and decision.logit_thresholds is None and offsets is None
    if declared or (before is not None and before.name == after.name):
        return decision
    slopes, intercepts = (1.0, 0.0) if before is None else (before.slopes, before.intercepts)
    if multiplied:
        # Probabilities are not moved as logits are: no other multipliers give the same labels.
        return None
    stepped = bool(after.steps or (before is not None and before.steps))
    if stepped or not (np.all(slopes > 0) and np.all(after.slopes > 0)):
        return None
    slopes_K = after.slopes / slopes
    moves_K = after.intercepts - slopes_K * intercepts
    if decision.rule != "threshold" and (np.ptp(slopes_K) or np.ptp(moves_K)):
        return None
    changed: dict[str, Any] = {}
    if decision.logit_thresholds is not None:
        changed["logit_thresholds"] = tuple(slopes_K * np.array(decision.logit_thresholds) + moves_K)
    if offsets is not None:
        changed["adjustment"] = Adjustment(OFFSETS, tuple(slopes_K * np.array(offsets.values)))
    return replace(decision, **changed, fitted={**decision.fitted, "calibration": after.name})


def _calibrated(about: dict[str, Any], model: str, scores: Scores, say: Say) -> Scores:
    calibration = calibration_of(about, scores.label_space)
    wanted, given = calibration.name if calibration else None, scores.origin.get("calibration")
    if wanted == given:
        return scores
    if calibration is None or given is not None:
        raise SettingError(
            f"the scores have calibration {given or 'none'}, the model {model} has {wanted or 'none'}; give scores "
            "that this model gave"
        )
    say(f"the scores were written before {model} was calibrated; they are calibrated here ({wanted})")
    return calibration.apply(scores)


def _settings(model: str, scores: Scores) -> dict[str, Any]:
    folder = model_folder(model)
    about = read_settings(folder)
    try:
        LabelSpace.from_json(about["label_space"]).require_same(scores.label_space, f"{folder} and the scores")
    except LabelSpaceError as error:
        raise LabelSpaceError(f"{error}; give the model that made the scores") from None
    return about


def _read(path: str, key: str, verb: str) -> dict[str, Any]:
    """A JSON object with a key that tells what it is."""
    wanted = f"give a model, or the file that cotag {verb} --out saved"
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise SettingError(f"{path}: there is no such file; {wanted}") from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path}: is not JSON ({str(error).splitlines()[0]}); {wanted}") from None
    if not isinstance(found, dict) or key not in found:
        raise SettingError(f"{path}: has no {key!r}; {wanted}")
    return found


@contextmanager
def _of(path: str) -> Iterator[None]:
    """What is refused in a file is told with its name."""
    try:
        yield
    except (LabelSpaceError, SettingError) as error:
        raise type(error)(f"{path}: {error}") from None
