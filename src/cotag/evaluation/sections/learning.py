"""How a run learned, and several runs beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cotag.evaluation.figures import epoch_curves, run_curves
from cotag.types.section import Section

# What the curves of several runs show, from the top.
PANELS = {"val_mAP": "validation mAP", "val_loss": "validation loss", "train_loss": "training loss"}
COLUMNS = ("run", "epochs", "best mAP", "at epoch", "lowest loss", "training loss")


def learning_section(history: Sequence[Mapping[str, Any]], weight_decay: float | None = None) -> Section:
    """Curves over epochs, one for each strength of the regularization where several were tried, or a row for each.

    Args:
        history: one mapping for each epoch or strength.
        weight_decay: the strength that was chosen, where it is known.
    """
    if history and "epoch" in history[0]:
        tried = dict.fromkeys(row.get("weight_decay") for row in history)
        if len(tried) > 1:
            by_strength = {f"weight decay {decay:g}": _of(history, decay) for decay in tried if decay is not None}
            return replace(learning_curves(by_strength)[0], title="Learning")
        judged = any(key.startswith("val_") for row in history for key in row)
        text = f"Each epoch, on the images that {'choose' if judged else 'train'}."
        return Section("Learning", text, figure=epoch_curves(history))
    columns = ("weight_decay", "val_mAP", "val_loss")
    rows = [[row.get(name) for name in columns] for row in history]
    text = "Each strength on the images that choose"
    text += f"; {weight_decay:g} was chosen." if weight_decay is not None else "."
    return Section("Choice of the regularization", text, columns, rows, bars="val_mAP")


def learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Section]:
    """Training and validation loss and mAP of several runs over epochs in one picture, a color for each run.

    Args:
        histories: name of a run -> one mapping for each epoch with ``epoch`` and any of ``val_mAP``, ``val_loss`` and
            ``train_loss``, as ``metrics.jsonl`` of a run holds them. Where the epoch begins anew, as after
            another weight decay, the line is broken.

    Returns:
        one section with the picture and a row for each run; runs without epochs, such as those that were solved at
        once, are named in its text. No section where no run has epochs.
    """
    drawn = {name: rows for name, rows in histories.items() if any("epoch" in row for row in rows)}
    if not drawn:
        return []
    panels = {}
    for key, title in PANELS.items():
        lines = {name: _line(rows, key) for name, rows in drawn.items() if any(key in row for row in rows)}
        if lines:
            panels[title] = lines
    text = "Each epoch of each run, epoch 0 before training; a run in the legend hides and shows its lines."
    left = [name for name in histories if name not in drawn]
    if left:
        text += f" Without epochs, and so without a line: {', '.join(left)}."
    rows = [[name, *_row(found)] for name, found in drawn.items()]
    return [Section("Learning curves", text, COLUMNS, rows, run_curves(panels), bars="best mAP")]


def _of(history: Sequence[Mapping[str, Any]], decay: float) -> list[Mapping[str, Any]]:
    return [row for row in history if row.get("weight_decay") == decay]


def _line(rows: Sequence[Mapping[str, float]], key: str) -> tuple[list[float | None], list[float | None]]:
    """The epochs that know a quantity, and it; a gap where the epoch begins anew."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row in rows:
        value = row.get(key)
        if value is None or not math.isfinite(value):
            continue
        if x and x[-1] is not None and row["epoch"] <= x[-1]:
            x.append(None)
            y.append(None)
        x.append(row["epoch"])
        y.append(value)
    return x, y


def _row(rows: Sequence[Mapping[str, float]]) -> list[float | int | None]:
    """What a run reached: see ``COLUMNS``."""

    def known(key: str) -> list[tuple[float, int]]:
        found = [(row.get(key), int(row["epoch"])) for row in rows]
        return [(value, epoch) for value, epoch in found if value is not None and math.isfinite(value)]

    quality, losses, trained = known("val_mAP"), known("val_loss"), known("train_loss")
    # Of equal ones the first, as in training.
    best = max(quality, key=lambda pair: pair[0]) if quality else (None, None)
    return [
        max(int(row["epoch"]) for row in rows),
        *best,
        min(losses)[0] if losses else None,
        trained[-1][0] if trained else None,
    ]
