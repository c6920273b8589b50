"""What a sampler makes of the labels' frequencies: the expected histogram, before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cotag.data.holdings import Holdings
from cotag.data.label_sections import NAMED_BARS
from cotag.data.sampling import Balance
from cotag.types.frequency import BORDERS, NAMES, frequency_groups
from cotag.types.section import Section, drawn_names

COLUMNS = ("group", "labels", "images of a label, mean", "in an epoch, expected", "factor", "smallest", "largest")


def balance_section(balance: Balance, held: Holdings, names: Sequence[str], told: str) -> Section:
    """How many images of a label an epoch holds, as they are and as the sampler takes them; exact expectations.

    Args:
        balance: the sampler.
        held: of the images that train.
        names: of the K labels.
        told: which labels are infrequent, in words.
    """
    plan = balance.plan(held)
    before_K, after_K = held.counts(), held.histogram(plan.factors_N)
    groups = frequency_groups(before_K)
    rows = [_row(group, groups.members(group), before_K, after_K) for group in NAMES]
    rows.append(_row("infrequent", balance.infrequent_K, before_K, after_K))
    lines = [
        f"{balance.name}: {balance.sampler.promise}.",
        f"{held.images:,} images become {plan.length:,} in an epoch, each taken {plan.factors_N.min():.3g} to "
        f"{plan.factors_N.max():.3g} times.",
        f"Head: more than {BORDERS[0]} images, tail: fewer than {BORDERS[1]}; {told}.",
    ]
    if balance.epoch == "same":
        lines.append("All are scaled so that an epoch has as many images as there are.")
    return Section("Balance", " ".join(lines), COLUMNS, rows, _figure(before_K, after_K, names))


def balance_lines(section: Section) -> list[str]:
    """The same in a few lines of text."""
    found = [f"balance: {section.text}"]
    for group, labels, before, after, factor, *_ in section.rows:
        if labels:
            shown = "" if factor is None else f" (x {factor:.2f})"
            found.append(
                f"balance: {group}, {labels} labels: {before:.1f} images of a label become {after:.1f} an epoch{shown}"
            )
    return found


def _row(group: str, members_K: np.ndarray, before_K: np.ndarray, after_K: np.ndarray) -> list[Any]:
    before, after = before_K[members_K], after_K[members_K]
    if not len(before):
        return [group, 0, *[None] * 5]
    factor = float(after.sum() / before.sum()) if before.sum() else None
    return [
        group,
        len(before),
        float(before.mean()),
        float(after.mean()),
        factor,
        float(after.min()),
        float(after.max()),
    ]


def _figure(before_K: np.ndarray, after_K: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    order = np.argsort(-before_K, kind="stable")
    shown = drawn_names([names[label] for label in order])
    layout: dict[str, Any] = {"title": {"text": "Images of each label in an epoch"}}
    layout["yaxis"] = {"title": {"text": "images"}}
    counts = {"as they are": before_K[order].tolist(), "as sampled": after_K[order].tolist()}
    if len(order) <= NAMED_BARS:
        layout |= {"barmode": "group", "xaxis": {"type": "category"}, "showlegend": True}
        return {"data": [{"type": "bar", "name": n, "x": shown, "y": y} for n, y in counts.items()], "layout": layout}
    rank = list(range(1, len(order) + 1))
    layout |= {"xaxis": {"title": {"text": "labels, the most frequent first"}}, "showlegend": True}
    layout["yaxis"]["type"] = "log"
    line = {"type": "scatter", "mode": "lines", "x": rank, "text": shown}
    # A logarithmic axis has no place for 0.
    return {"data": [{**line, "name": n, "y": [v or None for v in y]} for n, y in counts.items()], "layout": layout}
