"""A fitted decision and what it is worth, as a section."""

from __future__ import annotations

from typing import Any

from cotag.evaluation.cross_fit import CrossFit, Value
from cotag.types.section import Section


def decision_section(found: CrossFit, images: int, folds: int, seed: int) -> Section:
    """The decision in words, and its values: cross-fitted, naive, and those of plain rules.

    Args:
        images: how many it was fitted on.
        folds, seed: of the cross-fitting.
    """
    wanted = found.objective
    columns = ["decided by", wanted.measured, "95 % interval", "cross-fitted is better by", "95 % interval of that"]
    rows: list[list[Any]] = []
    named = {"fitted, cross-fitted (honest)": found.cross_fitted, "fitted, on its own images (naive)": found.naive}
    for name, value in {**named, **found.plain}.items():
        rows.append([name, value.value, _interval(value.interval), *_difference(value, wanted.name == "cost")])
        if wanted.bounded:
            rows[-1].insert(2, value.bound)
    if wanted.bounded:
        columns.insert(2, wanted.bounded)
    smaller = "; smaller is better" if wanted.name == "cost" else ""
    text = (
        f"Objective: {wanted.describe()}{smaller}. {images} images, {folds} folds, seed {seed}.\n"
        f"Decision: {found.decision.describe()}.\n"
        f"The naive value is too good by about {found.gap:.4f} (naive and cross-fitted compared)."
    )
    if wanted.bounded and found.cross_fitted.bound is not None and found.cross_fitted.bound < (wanted.at_least or 0):
        text += f"\nOn new images {wanted.bounded} is to be expected under the bound: {found.cross_fitted.bound:.4f}."
    return Section("Decision", text, columns, rows)


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _difference(value: Value, smaller: bool) -> list[float | str | None]:
    if value.difference is None:
        return [None, None]
    middle, low, high = value.difference
    if smaller:
        middle, low, high = -middle, -high, -low
    return [middle, _interval((low, high))]
