"""Predictors: one small protocol that evaluation, decisions and serving rest on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from cotag.data.decoding import prepare_file
from cotag.errors import ImageError
from cotag.evaluation.calibration import Calibration
from cotag.evaluation.decision import Decision
from cotag.inference.views import ONE_VIEW, Views, mean_logits, viewer
from cotag.models.bundle import load_tagger
from cotag.models.settings import calibration_of, model_folder
from cotag.models.tagger import Tagger
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


class Predictor(Protocol):
    """Gives a score for every label of a picture."""

    @property
    def label_space(self) -> LabelSpace:
        """The K labels."""

    @property
    def kind(self) -> str:
        """``logit`` or ``probability``."""

    def score(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Scores of B opened RGB pictures; float32 or float64 (B, K)."""


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of one picture.

    Attributes:
        image: its path.
        labels: the labels that the decision gives, the most probable first.
        scores: the probability of every label by name, in [0, 1], in the order of the label space.
        error: why the picture could not be read; labels and scores are empty then.
    """

    image: str
    labels: list[str]
    scores: dict[str, float]
    error: str = ""


class TaggerPredictor:
    """A trained tagger as a predictor.

    Args:
        tagger: in evaluation mode.
        decision: how scores become labels.
        calibration: what its logits go through before anything is decided, if any.
    """

    def __init__(self, tagger: Tagger, decision: Decision, calibration: Calibration | None = None) -> None:
        self.tagger = tagger.eval()
        self.decision = decision
        self.calibration = calibration
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tagger.to(self.device)

    @property
    def label_space(self) -> LabelSpace:
        """The K labels."""
        return self.tagger.label_space

    @property
    def kind(self) -> str:
        """``logit``; ``probability`` with a calibration of steps."""
        return self.calibration.kind if self.calibration else "logit"

    def score(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Scores of B opened RGB pictures; (B, K), float32, or float64 where they are calibrated."""
        return self._scores([[self.tagger.preprocessing(image)] for image in images]).scores_NK

    def calibrated(self, scores: Scores) -> Scores:
        """The tagger's own logits as this predictor gives them.

        Raises:
            ScoresError: they are calibrated already.
        """
        return self.calibration.apply(scores) if self.calibration else scores

    def _scores(self, pixels: Sequence[Sequence[np.ndarray]], views: Views = ONE_VIEW) -> Scores:
        """Scores of pictures, of each its pixels at every scale."""
        names = [str(number) for number in range(len(pixels))]
        logits = self._logits(pixels, views)
        unknown = np.full(logits.shape, -1, dtype=np.int8)
        return self.calibrated(Scores(names, logits, unknown, "logit", self.label_space))

    def _logits(self, pixels: Sequence[Sequence[np.ndarray]], views: Views) -> np.ndarray:
        model, found = viewer(self.tagger, views), []
        with torch.inference_mode():
            for of_scale in zip(*pixels, strict=True):
                images_BCHW = torch.from_numpy(np.stack(of_scale)).to(self.device)
                found.append(model(images_BCHW).logits_BK.float().cpu().numpy())
        return mean_logits(found)

    def predict(
        self,
        images: Sequence[str | os.PathLike[str]],
        batch_size: int = 32,
        skip_bad: bool = False,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> Iterator[Prediction]:
        """One Prediction for each picture, in order, as they are ready.

        Args:
            images: paths.
            skip_bad: give a picture that cannot be read as a Prediction with its error, instead of raising.
            flip, scales: the views of a picture whose logits are averaged; see ``Views``.

        Raises:
            ImageError: a picture cannot be read and ``skip_bad`` is not set.
            SettingError: the model does not take pictures of such a scale.
        """
        views = Views(flip, tuple(scales))
        views.require(self.tagger)
        return self._predict(images, batch_size, skip_bad, views)

    def _predict(
        self, images: Sequence[str | os.PathLike[str]], batch_size: int, skip_bad: bool, views: Views
    ) -> Iterator[Prediction]:
        sizes = views.preprocessings(self.tagger.preprocessing)
        for start in range(0, len(images), batch_size):
            # Prepared one by one: 32 photographs of a camera at their own size take more than a gigabyte.
            prepared: list[list[np.ndarray]] = []
            errors: list[str] = []
            part = images[start : start + batch_size]
            for path in part:
                try:
                    prepared.append([prepare_file(path, prepare) for prepare in sizes])
                    errors.append("")
                except ImageError as error:
                    if not skip_bad:
                        raise
                    errors.append(str(error))
            read = [path for path, error in zip(part, errors, strict=True) if not error]
            scored = iter(self._decided(read, prepared, views))
            for path, reason in zip(part, errors, strict=True):
                yield Prediction(os.fspath(path), [], {}, reason) if reason else next(scored)

    def _decided(
        self, paths: Sequence[str | os.PathLike[str]], pixels: list[list[np.ndarray]], views: Views
    ) -> list[Prediction]:
        if not pixels:
            return []
        scores = self._scores(pixels, views)
        given_BK, probabilities_BK = self.decision.apply(scores), scores.probabilities()
        labels = self.label_space.names
        found = []
        for path, given, probabilities in zip(paths, given_BK, probabilities_BK, strict=True):
            order = [k for k in np.argsort(-probabilities, kind="stable") if given[k]]
            by_name = {name: float(value) for name, value in zip(labels, probabilities, strict=True)}
            found.append(Prediction(os.fspath(path), [labels[k] for k in order], by_name))
        return found


def load(path: str | os.PathLike[str]) -> TaggerPredictor:
    """The predictor of a run folder or of a model folder.

    Raises:
        WeightsError: there is no model, or it is damaged.
        LabelSpaceError: its decision or calibration was fitted for other labels.
    """
    tagger, about = load_tagger(model_folder(Path(path)))
    space = tagger.label_space
    return TaggerPredictor(tagger, Decision.from_json(about["decision"], space), calibration_of(about, space))
