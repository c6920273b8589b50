"""Whether probabilities keep what they promise: reliability curve, calibration error and Brier score."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cotag.evaluation.metrics import Report
from cotag.types.scores import Scores
from cotag.types.section import Section

BINS = 15
UPPER_BINS = 10
MOST_ROWS = 300


class Reliability(NamedTuple):
    """Bins of equal size, lowest probability first; those that ties left empty are not there."""

    probability: np.ndarray
    share: np.ndarray
    cells: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of the two, weighted by the bins' cells."""
        return float(np.sum(np.abs(self.probability - self.share) * self.cells) / self.cells.sum())


def reliability(probability_M: np.ndarray, present_M: np.ndarray, bins: int = BINS) -> Reliability:
    """Mean probability and share of present labels in bins of equal size; equal probabilities share a bin.

    Args:
        probability_M: in [0, 1]; at least one.
        present_M: bool.
        bins: how many; fewer where probabilities are tied.
    """
    order = np.argsort(probability_M, kind="stable")
    probability = probability_M[order].astype(np.float64)
    place = np.searchsorted(probability, probability, side="left") * bins // len(probability)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    means = np.bincount(place, probability, bins)[used] / count[used]
    shares = np.bincount(place, present_M[order].astype(np.float64), bins)[used] / count[used]
    return Reliability(means, shares, count[used])


def calibration_section(scores: Scores, report: Report) -> Section:
    """Reliability of all cells and of the highest ones, and the error of each label.

    Args:
        scores: of N images and K labels, with targets.
        report: of the same scores; holds ECE and Brier score of each label.
    """
    title = "Calibration"
    known_NK = scores.targets_NK >= 0
    if not known_NK.any():
        return Section(title, "No target is known.")
    probability_M = scores.probabilities()[known_NK].astype(np.float64)
    present_M = scores.targets_NK[known_NK] == 1
    whole = reliability(probability_M, present_M)
    brier = float(np.mean((probability_M - present_M) ** 2))
    data = [
        {
            **_line("as promised", [0, 1], [0, 1]),
            "mode": "lines",
            "line": {"dash": "dot", "color": "#8a8f96"},
            "hoverinfo": "skip",
        },
        _curve(f"all cells, {len(whole.cells)} bins", whole),
    ]
    positives = int(present_M.sum())
    text = (
        f"Over all {len(present_M):,} cells (an image and a label, known): expected calibration error "
        f"{whole.error:.4f} in {BINS} bins of equal size, Brier score {brier:.4f}; mean probability "
        f"{probability_M.mean():.4f}, share present {present_M.mean():.4f}."
    )
    if 0 < positives < len(present_M):
        highest = np.argsort(-probability_M, kind="stable")[:positives]
        upper = reliability(probability_M[highest], present_M[highest], UPPER_BINS)
        data.append(_curve(f"the highest {positives:,} cells, {len(upper.cells)} bins", upper))
        text += " Most cells are absent labels with low probabilities, so the highest ones (as many as labels are "
        text += "present) have bins of their own."
    text += "\n\nBelow the dotted line more was promised than is there. In the table, the labels' own errors (ECE, in "
    text += "bins of equal width), the largest first."
    rows = sorted(
        (_row(report, int(k), scores, known_NK) for k in np.flatnonzero(known_NK.any(0))),
        key=lambda row: -(row[4] or 0.0),
    )
    if len(rows) > MOST_ROWS:
        text += f" The first {MOST_ROWS} of {len(rows):,} are listed."
    layout = {
        "title": {"text": "Share of present labels over the probability"},
        "xaxis": {"title": {"text": "mean probability of a bin"}, "range": [-0.02, 1.02]},
        "yaxis": {"title": {"text": "share present"}, "range": [-0.02, 1.02]},
        "height": 420,
        "showlegend": True,
    }
    columns = ("label", "positives", "mean probability", "prevalence", "ECE", "Brier")
    return Section(title, text, columns, rows[:MOST_ROWS], {"data": data, "layout": layout}, "ECE")


def _row(report: Report, k: int, scores: Scores, known_NK: np.ndarray) -> list[Any]:
    label = report.labels[k]
    column = scores.scores_NK[known_NK[:, k], k].astype(np.float64)
    probability = column if scores.kind == "probability" else np.exp(-np.logaddexp(0, -column))
    values = (label["prevalence"], label["ECE"], label["Brier"])
    return [label["label"], label["positives"], float(probability.mean()), *values]


def _line(name: str, x: Any, y: Any) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y}


def _curve(name: str, bins: Reliability) -> dict[str, Any]:
    line = _line(name, bins.probability.round(5).tolist(), bins.share.round(5).tolist())
    hover = "%{customdata} cells: %{x:.3f} promised, %{y:.3f} present"
    return {**line, "customdata": bins.cells.tolist(), "hovertemplate": hover}
