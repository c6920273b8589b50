"""How far probabilities are from what they promise: expected calibration error and Brier score of a label."""

from __future__ import annotations

import numpy as np

BINS = 15


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits; float64."""
    with np.errstate(over="ignore"):
        found: np.ndarray = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return found


def brier_score(known_N: np.ndarray, positive_P: np.ndarray) -> float:
    """The mean squared distance of a label's probabilities from its targets; NaN without a known image.

    Args:
        known_N: probabilities of all known images of the label.
        positive_P: those of its positives.
    """
    if not len(known_N):
        return np.nan
    known_N, positive_P = known_N.astype(np.float64), positive_P.astype(np.float64)
    # Positives first count as absent, then that is put right: p² + (1 - 2p) = (1 - p)².
    return float(np.sum(np.square(known_N)) + np.sum(1 - 2 * positive_P)) / len(known_N)


def expected_calibration_error(known_N: np.ndarray, positive_P: np.ndarray, bins: int = BINS) -> float:
    """The distance of mean probability and share of positives, averaged over bins by their images.

    Args:
        known_N: probabilities of all known images of the label, rising.
        positive_P: those of its positives, rising.
        bins: equal widths; a probability on a border counts in the upper bin, 1 in the last.

    Returns:
        a ratio in [0, 1]; NaN without a known image.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, eq. 3, with the share of positives of one
    label for the accuracy.
    """
    if not len(known_N):
        return np.nan
    borders = np.linspace(0, 1, bins + 1)[1:-1]
    starts = np.concatenate([[0], np.searchsorted(known_N, borders)])
    sizes = np.diff(starts, append=len(known_N))
    hits = np.diff(np.searchsorted(positive_P, borders), prepend=0, append=len(positive_P))
    filled = sizes > 0
    sums = np.add.reduceat(known_N, starts[filled], dtype=np.float64)
    return float(np.abs(sums - hits[filled]).sum() / len(known_N))
