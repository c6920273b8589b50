"""What a calibration is worth on images that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.errors import SettingError
from cotag.evaluation.calibration import Calibration, calibrate_out_of_fold, fit_calibration
from cotag.evaluation.calibration_error import BINS, brier_score, expected_calibration_error
from cotag.evaluation.resampling import resample_counts
from cotag.evaluation.uncertainty import moved, tail_place
from cotag.types.scores import Scores
from cotag.types.section import Section

RESAMPLES = 1000
LEVEL = 0.95
# How scores are read: as they were given, by fits that did not see the image, by the fit that saw them all.
BEFORE, CROSS_FITTED, NAIVE = "before", "after, cross-fitted (honest)", "after, on its own images (naive)"
VERDICTS = (
    "Calibrated, probabilities of new images are better",
    "Calibrated, probabilities of new images are worse",
    "Whether calibrated probabilities of new images are better cannot be told from these images",
)


@dataclass(frozen=True)
class CalibrationGain:
    """A fitted calibration and what it is worth.

    Attributes:
        calibration: fitted on all images.
        images, folds, seed: what it was fitted on, and how it was measured.
        values: before, cross-fitted, naive -> ``ECE`` and ``Brier``, means over labels that have a known image.
        difference: of the Brier score, cross-fitted minus before, with its 95 % bootstrap interval over images.
        labels: for each label: label, positives, ECE_before, ECE_after, Brier_before, Brier_after (cross-fitted); None
            without a known image.
    """

    calibration: Calibration
    images: int
    folds: int
    seed: int
    values: Mapping[str, Mapping[str, float]]
    difference: tuple[float, float, float]
    labels: list[dict[str, Any]]

    @property
    def words(self) -> str:
        """Whether calibrating helps, in words."""
        middle, low, high = self.difference
        verdict = VERDICTS[0 if high < 0 else 1 if low > 0 else 2]
        return f"{verdict} (Brier score {middle:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}; smaller is better)."

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the values, the labels and the calibration."""
        keys = {"before": BEFORE, "cross_fitted": CROSS_FITTED, "naive": NAIVE}
        return {
            **{key: dict(self.values[name]) for key, name in keys.items()},
            "Brier_difference": self.difference[0],
            "Brier_difference_interval": list(self.difference[1:]),
            "words": self.words,
            "images": self.images,
            "folds": self.folds,
            "seed": self.seed,
            "labels": self.labels,
            "calibration": self.calibration.to_json(),
        }

    def sections(self) -> list[Section]:
        """The values, then one row for each label, the largest error first."""
        text = (
            f"Method: {self.calibration.method}, fitted on {self.images} images; {self.calibration.describe()}.\n"
            f"Means over labels of ECE ({BINS} bins of equal width) and of the Brier score; {self.folds} folds, seed "
            f"{self.seed}.\n{self.words}"
        )
        rows: list[list[Any]] = [[name, found["ECE"], found["Brier"]] for name, found in self.values.items()]
        columns = ("ECE before", "ECE after", "Brier before", "Brier after")
        keys = [name.replace(" ", "_") for name in columns]
        ranked = sorted(self.labels, key=lambda label: -(label["ECE_before"] or 0.0))
        by_label = [[label["label"], label["positives"], *(label[key] for key in keys)] for label in ranked]
        return [
            Section("Calibration", text, ("probabilities", "ECE", "Brier"), rows),
            Section("Labels", "After: cross-fitted.", ("label", "positives", *columns), by_label),
        ]


def calibration_gain(
    scores: Scores, method: str, folds: int = 5, seed: int = 0, resamples: int = RESAMPLES
) -> CalibrationGain:
    """Fit a calibration, and measure it on images that it was not fitted on.

    Args:
        scores: of images that did not train the model.
        method: ``temperature``, ``platt`` or ``isotonic``.
        folds: 2 or more, drawn at random.
        seed: of the folds and of the bootstrap.
        resamples: of the bootstrap, 39 or more.

    Raises:
        SettingError: an unknown method, fewer images than folds, too few resamples, or no positive to fit on.
        ScoresError: the scores are calibrated already.
    """
    if not (scores.targets_NK == 1).any():
        raise SettingError("the scores have no known positive, so no calibration can be fitted; give other scores")
    calibration = fit_calibration(scores, method)
    read = {
        BEFORE: scores.probabilities(),
        CROSS_FITTED: calibrate_out_of_fold(scores, method, folds, seed).scores_NK,
        NAIVE: calibration.apply(scores).probabilities(),
    }
    errors = {name: _errors(found_NK, scores.targets_NK) for name, found_NK in read.items()}
    values = {
        name: {"ECE": float(np.nanmean(ece_K)), "Brier": float(np.nanmean(brier_K))}
        for name, (ece_K, brier_K) in errors.items()
    }
    labels = [
        {
            "label": name,
            "positives": int((scores.targets_NK[:, k] == 1).sum()),
            **{
                f"{what}_{when}": None if np.isnan(errors[of][place][k]) else float(errors[of][place][k])
                for place, what in enumerate(("ECE", "Brier"))
                for when, of in (("before", BEFORE), ("after", CROSS_FITTED))
            },
        }
        for k, name in enumerate(scores.label_space.names)
    ]
    difference = _difference(scores.targets_NK, read[BEFORE], read[CROSS_FITTED], resamples, seed)
    return CalibrationGain(calibration, len(scores), folds, seed, values, difference, labels)


def _errors(probability_NK: np.ndarray, targets_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ECE and Brier score of each label; float64 (K,), NaN without a known image."""
    found = np.full((2, targets_NK.shape[1]), np.nan)
    for k in range(targets_NK.shape[1]):
        known_N = np.sort(probability_NK[targets_NK[:, k] >= 0, k])
        positive_P = np.sort(probability_NK[targets_NK[:, k] == 1, k])
        found[:, k] = expected_calibration_error(known_N, positive_P), brier_score(known_N, positive_P)
    return found[0], found[1]


def _difference(
    targets_NK: np.ndarray, before_NK: np.ndarray, after_NK: np.ndarray, resamples: int, seed: int
) -> tuple[float, float, float]:
    """The mean Brier score after minus before, and its bootstrap interval."""
    place = tail_place(resamples, LEVEL)
    known_NK, present_NK = targets_NK >= 0, targets_NK == 1
    gain_NK = np.where(known_NK, np.square(after_NK - present_NK) - np.square(before_NK - present_NK), 0.0)
    counts_NR = resample_counts(present_NK, resamples, np.random.default_rng(seed)).astype(np.float64)
    counts_NR = np.concatenate([np.ones((len(targets_NK), 1)), counts_NR], axis=1)
    images_KR = known_NK.T.astype(np.float64) @ counts_NR
    # A label of few known images can be lost in a resample.
    gain_KR = np.divide(gain_NK.T @ counts_NR, images_KR, out=np.full(images_KR.shape, np.nan), where=images_KR > 0)
    gain_R = np.nanmean(gain_KR[known_NK.any(0)], axis=0)
    moved_R = moved(gain_R)
    return float(gain_R[0]), float(moved_R[place]), float(moved_R[-1 - place])
