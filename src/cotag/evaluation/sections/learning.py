"""How a run learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cotag.evaluation.figures import learning_curves
from cotag.types.section import Section


def learning_section(history: Sequence[Mapping[str, Any]], weight_decay: float | None = None) -> Section:
    """Curves over epochs, or a row for each strength of the regularization that was tried.

    Args:
        history: one mapping for each epoch or strength.
        weight_decay: the strength that was chosen, where it is known.
    """
    if history and "epoch" in history[0]:
        return Section("Learning", "Each epoch, on the images that choose.", figure=learning_curves(history))
    columns = ("weight_decay", "val_mAP", "val_loss")
    rows = [[row.get(name) for name in columns] for row in history]
    text = "Each strength on the images that choose"
    text += f"; {weight_decay:g} was chosen." if weight_decay is not None else "."
    return Section("Choice of the regularization", text, columns, rows, bars="val_mAP")
