"""Scores of a tagger on the images of an Index."""

from __future__ import annotations

import time

import numpy as np

from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.errors import ImageError, LabelSpaceError, listing
from cotag.inference.predictor import TaggerPredictor
from cotag.inference.views import ONE_VIEW, Views, mean_logits, viewer
from cotag.models.scoring import score_batches
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Progress
from cotag.types.scores import Scores


def score_index(
    predictor: TaggerPredictor,
    index: Index,
    rows: np.ndarray,
    progress: Progress,
    bad_images: str = "stop",
    workers: int | str = "auto",
    origin: str = "",
    views: Views = ONE_VIEW,
) -> tuple[Scores, dict[int, str]]:
    """Scores of some rows of an Index, and the rows that could not be read with the reason.

    The labels of the Index are matched to the tagger's by name; their order may differ.

    Raises:
        LabelSpaceError: the Index has other labels than the tagger.
        ImageError: an image cannot be read and ``bad_images`` is ``stop``, or none can be read.
        SettingError: the model does not take pictures of a view's size.
    """
    views.require(predictor.tagger)
    columns = columns_of(predictor.label_space, index.label_space)
    model, found = viewer(predictor.tagger, views), []
    for prepare in views.preprocessings(predictor.tagger.preprocessing):
        loader = Loader(ImageRows(index, prepare), BatchOrder(rows, 32), bad_images=bad_images, workers=workers)
        found.append(score_batches(model, loader, predictor.device, progress, "scores", len(rows)))
    scored, logits = _averaged(found)
    if not len(scored) and len(rows):
        reason = next(iter(loader.skipped.reasons.values()))
        raise ImageError(f"none of the {len(rows)} images can be read; the first: {reason}")
    about = {"model": origin, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    targets = index.targets(scored)[:, columns]
    scores = Scores(index.ids_of(scored), logits, targets, "logit", predictor.label_space, about)
    return predictor.calibrated(scores), loader.skipped.reasons


def _averaged(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and mean logits of what each scale gave; rows that could be read at all of them."""
    if len(found) == 1:
        return found[0]
    places = [{row: place for place, row in enumerate(scored.tolist())} for scored, _ in found]
    # A file may vanish between two passes.
    rows = [row for row in places[0] if all(row in others for others in places)]
    parts = [logits[[place[row] for row in rows]] for place, (_, logits) in zip(places, found, strict=True)]
    return np.array(rows, dtype=np.int64), mean_logits(parts)


def scores_of_rows(
    predictor: TaggerPredictor, index: Index, rows: np.ndarray, progress: Progress, batch_size: int = 32
) -> Scores:
    """Scores of some rows of an Index in their order, whatever its labels are; all targets are unknown.

    Raises:
        ImageError: an image cannot be read.
    """
    images = ImageRows(index, predictor.tagger.preprocessing)
    loader = Loader(images, BatchOrder(rows, batch_size), bad_images="stop", workers="auto")
    scored, logits = score_batches(predictor.tagger, loader, predictor.device, progress, "scores", len(rows))
    place = {int(row): number for number, row in enumerate(scored)}
    logits = logits[[place[int(row)] for row in rows]]
    unknown = np.full(logits.shape, -1, dtype=np.int8)
    return predictor.calibrated(Scores(index.ids_of(rows), logits, unknown, "logit", predictor.label_space))


def columns_of(wanted: LabelSpace, given: LabelSpace) -> np.ndarray:
    """For each wanted label its column among the given ones.

    Raises:
        LabelSpaceError: one has a label that the other has not.
    """
    missing = [name for name in wanted.names if name not in given]
    added = [name for name in given.names if name not in wanted]
    if missing or added:
        parts = [
            f"{what}: {listing(names, 3)}"
            for what, names in (("only the model has", missing), ("only the data have", added))
            if names
        ]
        raise LabelSpaceError(
            f"the model's labels and the data's differ ({'; '.join(parts)}); judge it on data with its own labels"
        )
    return wanted.positions_in(given)
