"""Precision, recall and F1 over one threshold for all labels, and where the decision stands."""

from __future__ import annotations

from typing import Any

import numpy as np

from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import Report
from cotag.types.scores import Scores
from cotag.types.section import Section

STEPS = 200
DRAWN = ("CF1", "OF1", "OP", "OR")


def threshold_curves(scores: Scores, thresholds_T: np.ndarray) -> dict[str, np.ndarray]:
    """CP, CR, CF1, OP, OR and OF1 where a label is given at or over each threshold; float64 (T,) each.

    By the default protocol: a label that is never given has precision 0, a label without positives is left out of CP
    and CR, unknown targets are left out.

    Args:
        scores: with at least one known positive.
        thresholds_T: probabilities above 0 and under 1.
    """
    limits_T = thresholds_T if scores.kind == "probability" else np.log(thresholds_T) - np.log1p(-thresholds_T)
    limits_T = limits_T.astype(scores.scores_NK.dtype)
    size = scores.scores_NK.shape[1]
    predicted_KT, correct_KT = (np.zeros((size, len(limits_T)), dtype=np.int64) for _ in range(2))
    for k in range(size):
        score, target = scores.scores_NK[:, k], scores.targets_NK[:, k]
        for counts_KT, chosen in ((predicted_KT, target >= 0), (correct_KT, target == 1)):
            ordered = np.sort(score[chosen])
            counts_KT[k] = len(ordered) - np.searchsorted(ordered, limits_T, side="left")
    positive_K = (scores.targets_NK == 1).sum(0)
    has = positive_K > 0
    precision = (correct_KT[has] / np.maximum(predicted_KT[has], 1)).mean(0)
    recall = (correct_KT[has] / positive_K[has, None]).mean(0)
    found = {"CP": precision, "CR": recall, "CF1": _harmonic(precision, recall)}
    overall, covered = correct_KT.sum(0) / np.maximum(predicted_KT.sum(0), 1), correct_KT.sum(0) / positive_K.sum()
    return {**found, "OP": overall, "OR": covered, "OF1": _harmonic(overall, covered)}


def _harmonic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = first + second
    found: np.ndarray = np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
    return found


def threshold_section(scores: Scores, decision: Decision, report: Report) -> Section:
    """CF1, OF1, OP and OR over the threshold, the best of them, and the decision.

    Args:
        scores: of N images and K labels, with targets.
        decision: how scores become labels today.
        report: of these scores by this decision.
    """
    title = "Thresholds"
    if not (scores.targets_NK == 1).any():
        return Section(title, "No label has a known positive, so nothing depends on the threshold.")
    today = _single(decision)
    thresholds = np.arange(1, STEPS) / STEPS
    if today is not None:
        thresholds = np.union1d(thresholds, [today])
    curves = threshold_curves(scores, thresholds)
    rows: list[list[Any]] = [["decision today", today, *(report.metrics[name] for name in DRAWN)]]
    for name in ("CF1", "OF1"):
        best = int(np.argmax(curves[name]))
        rows.append([f"best {name}", float(thresholds[best]), *(float(curves[key][best]) for key in DRAWN)])
    text = (
        f"One threshold for all labels, at {len(thresholds)} probabilities. Decision today: {decision.describe()}.\n\n"
        "The best threshold is chosen on the images that it is judged on here: expect less on new ones."
    )
    figure = {"data": [_line(name, thresholds, curves[name]) for name in DRAWN], "layout": _layout(today, report)}
    return Section(title, text, ("threshold for", "probability", *DRAWN), rows, figure)


def _single(decision: Decision) -> float | None:
    """The one probability that decides, where there is one."""
    if decision.rule != "threshold":
        return None
    if decision.logit_thresholds is None:
        return decision.threshold
    if len(set(decision.logit_thresholds)) > 1:
        return None
    probability = float(np.exp(-np.logaddexp(0, -decision.logit_thresholds[0])))
    # So extreme a logit has no place on the axis.
    return probability if 0 < probability < 1 else None


def _line(name: str, thresholds: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": thresholds.round(4).tolist(),
        "y": values.round(5).tolist(),
    }


def _layout(today: float | None, report: Report) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "title": {"text": "CF1, OF1, OP and OR over the threshold"},
        "xaxis": {"title": {"text": "threshold (probability)"}, "range": [0, 1]},
        "yaxis": {"title": {"text": "ratio"}, "range": [-0.01, 1.02]},
        "height": 420,
        "showlegend": True,
        "hovermode": "x unified",
    }
    if today is not None:
        mark = {"type": "line", "x0": today, "x1": today, "y0": 0, "y1": 1, "yref": "paper"}
        marks, words = [mark], [{"x": today, "y": 0, "yref": "paper", "text": "decision today"}]
    else:
        kept = [(name, report.metrics[name]) for name in ("CF1", "OF1")]
        marks = [{"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": y, "y1": y} for _, y in kept]
        words = [{"x": 1, "xref": "paper", "y": y, "text": f"{name} of the decision today"} for name, y in kept]
    layout["shapes"] = [{**mark, "line": {"dash": "dot", "width": 1.5, "color": "#8a8f96"}} for mark in marks]
    anchors = {"showarrow": False, "xanchor": "left" if today is not None and today < 0.7 else "right"}
    layout["annotations"] = [{**word, **anchors, "yanchor": "bottom", "xshift": 4} for word in words]
    return layout
