"""A tagger on disk: safetensors weights and one JSON file; never a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cotag.errors import LabelSpaceError, WeightsError, listing
from cotag.models.tagger import Tagger, build_tagger, head_needs
from cotag.models.tensor_files import save_tensors
from cotag.registry import HEADS
from cotag.storage import whole_folder, write_json
from cotag.types.labels import LabelSpace

WEIGHTS = "weights.safetensors"
SETTINGS = "settings.json"
KEYS = ("backbone", "backbone_args", "head", "head_args", "preprocessing", "label_space", "decision")


def save_tagger(
    tagger: Tagger, folder: str | os.PathLike[str], decision: dict[str, Any], origin: dict[str, Any]
) -> None:
    """Write the weights and, in one JSON, the settings, the label space, the preprocessing and the decision.

    Args:
        decision: how scores become labels; see ``cotag.evaluation.decision``.
        origin: what the tagger was trained on, for whoever reads the file.
    """
    about = {
        "cotag_model": 1,
        **tagger.settings,
        "label_space": tagger.label_space.to_json(),
        "decision": decision,
        "origin": origin,
    }
    with whole_folder(folder) as temporary:
        save_tensors(tagger.state_dict(), temporary / WEIGHTS)
        write_json(temporary / SETTINGS, about)


def load_tagger(folder: str | os.PathLike[str], fold: bool = True) -> tuple[Tagger, dict[str, Any]]:
    """Read what ``save_tagger`` wrote: the tagger, ready for use, and the JSON beside it.

    Args:
        fold: whether a head that amounts to a linear one (``gcn``) becomes it, which scores the same and faster; to
            train on or to look into the head, leave it as it is.

    Raises:
        WeightsError: the folder holds no model, a file of it is damaged, or weights and settings do not fit.
        LabelSpaceError: the label names were changed after saving.
    """
    about = read_settings(folder)
    try:
        space = LabelSpace.from_json(about["label_space"])
    except LabelSpaceError as error:
        raise LabelSpaceError(f"{Path(folder) / SETTINGS}: {error}; train or copy the model again") from None
    path = Path(folder) / WEIGHTS
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); train or copy the model again"
        ) from None
    tagger = build_tagger(
        space,
        about["backbone"],
        about["head"],
        backbone_args=about["backbone_args"],
        head_args=about["head_args"],
        preprocessing=about["preprocessing"],
        supplies=_supplies(about["head"], state, path),
    )
    wanted = tagger.state_dict()
    odd = [k for k in {**wanted, **state} if k not in wanted or k not in state or wanted[k].shape != state[k].shape]
    if odd:
        raise WeightsError(f"{path}: weights and {SETTINGS} do not fit: {listing(odd, 3)}; copy both files together")
    tagger.load_state_dict(state)
    return (tagger.fold() if fold else tagger).eval(), about


def _supplies(head: str, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The graph and the vectors that the weights of a head hold.

    Raises:
        WeightsError: they hold none, or not as the head keeps them.
    """
    if not head_needs(head):
        return {}
    own = {key.removeprefix("head."): value for key, value in state.items() if key.startswith("head.")}
    supplies_of: Callable[[dict[str, Tensor]], dict[str, Tensor]] = getattr(HEADS.get(head), "supplies_of")  # noqa: B009
    try:
        return supplies_of(own)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: weights and {SETTINGS} do not fit: head {head} ({error})") from None


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


def write_decision(folder: str | os.PathLike[str], decision: dict[str, Any], label_space: LabelSpace) -> None:
    """Put another decision into a saved tagger, whole or not at all.

    Args:
        folder: the model's folder.
        decision: how scores become labels; see ``cotag.evaluation.decision``.
        label_space: the labels that it was made for.

    Raises:
        WeightsError: the folder holds no model.
        LabelSpaceError: the model has other labels.
    """
    about = read_settings(folder)
    own = LabelSpace.from_json(about["label_space"])
    own.require_same(label_space, f"the model {folder} and the scores that the decision was fitted on")
    write_json(Path(folder) / SETTINGS, {**about, "decision": decision})


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The model's folder of a run folder, or the folder itself."""
    inner = Path(path) / "model"
    return inner if inner.is_dir() else Path(path)
