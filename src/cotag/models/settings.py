"""The JSON beside a saved tagger's weights: read without torch, and given another decision or calibration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotag.errors import SettingError, WeightsError, listing
from cotag.evaluation.calibration import Calibration
from cotag.storage import write_json
from cotag.types.labels import LabelSpace

SETTINGS = "settings.json"
KEYS = ("backbone", "backbone_args", "head", "head_args", "preprocessing", "label_space", "decision")


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON of a saved tagger, without torch or weights."""
    path = Path(folder) / SETTINGS
    try:
        about: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(
            f"{folder}: holds no model ({SETTINGS} is missing); give a run folder or its model folder"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{path}: is not JSON ({error}); train or copy the model again") from None
    version = about.get("cotag_model") if isinstance(about, dict) else None
    if version != 1:
        raise WeightsError(f"{path}: is not a model of this version (cotag_model = {version}, wanted 1)")
    missing = [key for key in KEYS if key not in about]
    if missing:
        raise WeightsError(f"{path}: lacks {listing(missing)}; train or copy the model again")
    return about


def calibration_of(about: Mapping[str, Any], label_space: LabelSpace) -> Calibration | None:
    """The calibration that a saved tagger's scores go through, of its JSON; None where it has none.

    Raises:
        LabelSpaceError: it was fitted for other labels.
        SettingError: it is damaged.
    """
    value = about.get("calibration")
    return None if value is None else Calibration.from_json(value, label_space)


def write_decision(folder: str | os.PathLike[str], decision: dict[str, Any], label_space: LabelSpace) -> None:
    """Put another decision into a saved tagger, whole or not at all.

    Args:
        folder: the model's folder.
        decision: how scores become labels; see ``cotag.evaluation.decision``.
        label_space: the labels that it was made for.

    Raises:
        WeightsError: the folder holds no model.
        LabelSpaceError: the model has other labels.
        SettingError: it was fitted on scores with another calibration than the model's, or with none.
    """
    about = read_settings(folder)
    own = LabelSpace.from_json(about["label_space"])
    own.require_same(label_space, f"the model {folder} and the scores that the decision was fitted on")
    calibration = calibration_of(about, own)
    _require_fitting(folder, decision, calibration.name if calibration else None)
    write_json(Path(folder) / SETTINGS, {**about, "decision": decision})


def write_calibration(folder: str | os.PathLike[str], calibration: Calibration, decision: dict[str, Any]) -> None:
    """Put a calibration into a saved tagger together with the decision on its scale, whole or not at all.

    Args:
        folder: the model's folder.
        calibration: what the tagger's logits go through, from now on, before anything is decided.
        decision: how the calibrated scores become labels.

    Raises:
        WeightsError: the folder holds no model.
        LabelSpaceError: the model has other labels.
        SettingError: the decision was fitted on other scores than those of this calibration.
    """
    about = read_settings(folder)
    own = LabelSpace.from_json(about["label_space"])
    own.require_same(calibration.label_space, f"the model {folder} and the scores that the calibration was fitted on")
    _require_fitting(folder, decision, calibration.name)
    write_json(Path(folder) / SETTINGS, {**about, "decision": decision, "calibration": calibration.to_json()})


def _require_fitting(folder: str | os.PathLike[str], decision: dict[str, Any], calibration: str | None) -> None:
    """Refuse thresholds of one scale for scores of another."""
    fitted = decision.get("fitted")
    if fitted and fitted.get("calibration") != calibration:
        raise SettingError(
            f"{folder}: the decision was fitted on scores with calibration {fitted.get('calibration') or 'none'}, the "
            f"model's is {calibration or 'none'}; fit it on scores that this model gives"
        )


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The model's folder of a run folder, or the folder itself."""
    inner = Path(path) / "model"
    return inner if inner.is_dir() else Path(path)
