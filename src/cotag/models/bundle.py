"""A tagger on disk: safetensors weights and one JSON file; never a pickle."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cotag.errors import LabelSpaceError, WeightsError, listing
from cotag.models.settings import SETTINGS as SETTINGS
from cotag.models.settings import model_folder as model_folder
from cotag.models.settings import read_settings as read_settings
from cotag.models.settings import write_decision as write_decision
from cotag.models.tagger import Tagger, build_tagger, head_needs
from cotag.models.tensor_files import save_tensors
from cotag.registry import HEADS
from cotag.storage import whole_folder, write_json
from cotag.types.labels import LabelSpace

WEIGHTS = "weights.safetensors"


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
