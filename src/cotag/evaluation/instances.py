"""Average precision of detected instances, by boxes or by masks, as COCO computes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.errors import ScoresError, SettingError, suggestion
from cotag.types.labels import LabelSpace

# What pycocotools calls them.
KINDS = {"box": "bbox", "mask": "segm"}
THRESHOLDS = tuple(float(value) for value in np.linspace(0.5, 0.95, 10).round(2))
SIZES = ("all", "small", "medium", "large")
MASKS = "give bool (height, width), or a run-length mask of COCO: {'size': [height, width], 'counts': bytes}"


@dataclass(frozen=True, eq=False)
class Instances:
    """M objects in images, true or detected.

    Args:
        label_space: what ``labels`` counts in.
        images: number of each instance's image; int (M,).
        labels: int (M,).
        boxes: x, y, width, height in pixels; float (M, 4).
        masks: of each instance bool (height, width), or a compressed COCO run-length mask with ``size`` and
            ``counts``.
        scores: of detections, higher means more certain; (M,).
        areas: pixels (M,), which say what is small, medium and large; of the masks or else of the boxes where not
            given. COCO states those of its masks for its boxes, too.
        crowd: true instances that stand for several; what is detected there is neither right nor wrong. bool (M,).

    Raises:
        ScoresError: a column of another length, a label that does not exist, a box or a number that cannot be.
    """

    label_space: LabelSpace
    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray | None = None
    masks: Sequence[np.ndarray | Mapping[str, Any]] | None = None
    scores: np.ndarray | None = None
    areas: np.ndarray | None = None
    crowd: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        for name in ("labels", "boxes", "masks", "scores", "areas", "crowd"):
            column = getattr(self, name)
            if column is not None and len(column) != count:
                raise ScoresError(f"{name} are of {len(column)} instances and images of {count}; give one for each")
        labels = np.asarray(self.labels)
        known: np.ndarray = (labels >= 0) & (labels < len(self.label_space))
        self._require(known, "label", self.labels, f"allowed are 0 to {len(self.label_space) - 1}")
        if self.boxes is not None and count:
            boxes = np.asarray(self.boxes, dtype=np.float64)
            if boxes.shape != (count, 4):
                raise ScoresError(f"boxes of shape {boxes.shape}; give x, y, width and height in pixels for each")
            whole = np.isfinite(boxes) & ((boxes >= 0) | (np.arange(4) < 2))
            said = "give x, y, width and height, finite and of no negative size"
            self._require(np.asarray(whole.all(axis=1)), "box", boxes, said)
        for name in ("scores", "areas"):
            if (column := getattr(self, name)) is not None:
                self._require(np.isfinite(column), name[:-1], column, "give a finite number")

    def __len__(self) -> int:
        return len(self.images)

    def _require(self, allowed_M: np.ndarray, what: str, values: Sequence[Any] | np.ndarray, said: str) -> None:
        if not allowed_M.all():
            place = int(np.argmin(allowed_M))
            value = np.asarray(values[place]).tolist()
            raise ScoresError(f"instance {place}, in image {self.images[place]}: {what} {value}; {said}")


def instance_average_precision(
    truth: Instances,
    found: Instances,
    kind: str = "box",
    thresholds: Sequence[float] = THRESHOLDS,
    most: int = 100,
) -> dict[str, Any]:
    """AP of detected instances, by the program that defines it (pycocotools).

    Args:
        truth: the true instances.
        found: the detected ones, with scores.
        kind: whether ``box`` or ``mask`` have to overlap.
        thresholds: of the overlap (IoU) from which on an instance is found; ascending, in (0, 1].
        most: only so many of each label count in an image, those with the highest scores.

    Returns:
        ``AP``, ``AP50`` and ``AP75`` (None without such a threshold), ``AP_small``, ``AP_medium`` and ``AP_large``
        (instances up to 32 x 32 and 96 x 96 pixels, and over), in [0, 1], each the mean over the labels that have
        such instances, None without any; ``labels``: the AP of each by name, None where it has no instances;
        ``without_instances``: how many these are; and ``protocol`` in words.

    Raises:
        LabelSpaceError: other labels, or in another order.
        ScoresError: detections without scores, masks or boxes that are missing, or masks of one image that differ in
            size.
        SettingError: an unknown kind, thresholds that are none, or ``most`` under 1.

    Source: T.-Y. Lin et al., "Microsoft COCO", 2014, and its cocoapi: 101 recall points, greedy matches by score.
    """
    _check_settings(kind, thresholds, most)
    truth.label_space.require_same(found.label_space, "true and found instances")
    if found.scores is None:
        raise ScoresError("the found instances have no scores; give one for each, by which they are ranked")
    sizes: dict[int, tuple[int, int]] = {}
    both = [_annotations(which, instances, kind, sizes) for which, instances in (("true", truth), ("found", found))]
    precision_TRKA = _precisions(both[0], both[1], len(truth.label_space), kind, thresholds, most)
    precisions_TKA = np.where(precision_TRKA > -1, precision_TRKA, np.nan).mean(1)

    def at(threshold: float) -> float | None:
        return _mean(precisions_TKA[np.isclose(thresholds, threshold), :, 0])

    by_label = {name: _mean(precisions_TKA[:, k, 0]) for k, name in enumerate(truth.label_space.names)}
    by_size = {f"AP_{size}": _mean(precisions_TKA[..., place]) for place, size in enumerate(SIZES) if place}
    steps = f"{thresholds[0]:g}" + (f" to {thresholds[-1]:g} ({len(thresholds)} steps)" if len(thresholds) > 1 else "")
    return {
        "AP": _mean(precisions_TKA[..., 0]),
        "AP50": at(0.5),
        "AP75": at(0.75),
        **by_size,
        "labels": by_label,
        "without_instances": sum(value is None for value in by_label.values()),
        "protocol": f"COCO {kind} AP; IoU {steps}; at most {most} detections of a label in an image",
    }


def _check_settings(kind: str, thresholds: Sequence[float], most: int) -> None:
    if kind not in KINDS:
        raise SettingError(f"kind = {kind!r} of average precision is not known{suggestion(kind, KINDS)}")
    steps = np.asarray(thresholds, dtype=np.float64)
    if not len(steps) or not ((steps > 0) & (steps <= 1)).all() or (np.diff(steps) <= 0).any():
        raise SettingError(f"thresholds = {steps.tolist()}: give overlaps above 0 and up to 1, in ascending order")
    if most < 1:
        raise SettingError(f"most = {most}: give a number of detections of 1 or more")


def _annotations(which: str, of: Instances, kind: str, sizes: dict[int, tuple[int, int]]) -> list[dict[str, Any]]:
    """The instances as pycocotools takes them; the sizes of the images' masks are noted and compared."""
    outlines = of.boxes if kind == "box" else of.masks
    if outlines is None:
        raise ScoresError(
            f"the {which} instances have no {'boxes' if kind == 'box' else 'masks'}; {kind} AP needs them"
        )
    annotations = []
    for place, (image, label, outline) in enumerate(zip(of.images, of.labels, outlines, strict=True)):
        # pycocotools takes the id 0 for no match.
        one: dict[str, Any] = {"id": place + 1, "image_id": int(image), "category_id": int(label)}
        if kind == "box":
            one["bbox"] = [float(value) for value in outline]
            area = one["bbox"][2] * one["bbox"][3]
        else:
            one["segmentation"], area = _encoded(outline, f"{which} instance {place}, in image {image}")
            size = sizes.setdefault(int(image), tuple(one["segmentation"]["size"]))
            if size != tuple(one["segmentation"]["size"]):
                raise ScoresError(
                    f"{which} instance {place}, in image {image}: its mask is {_by(one['segmentation']['size'])} and "
                    f"one before it in this image is {_by(size)}; give masks of the image's size"
                )
        one["area"] = area if of.areas is None else float(of.areas[place])
        one["iscrowd"] = int(of.crowd is not None and bool(of.crowd[place]))
        if of.scores is not None:
            one["score"] = float(of.scores[place])
        annotations.append(one)
    return annotations


def _encoded(mask: np.ndarray | Mapping[str, Any], where: str) -> tuple[dict[str, Any], float]:
    """A run-length mask and its area in pixels."""
    from pycocotools import mask as coco

    if isinstance(mask, Mapping):
        if not isinstance(mask.get("counts"), bytes) or len(mask.get("size", ())) != 2:
            raise ScoresError(f"{where}: its mask is no compressed run-length mask; {MASKS}")
        runs = {"size": [int(side) for side in mask["size"]], "counts": mask["counts"]}
    else:
        if np.ndim(mask) != 2 or np.asarray(mask).dtype != bool:
            shape, kind = np.shape(mask), np.asarray(mask).dtype
            raise ScoresError(f"{where}: its mask is an array of shape {shape} and type {kind}; {MASKS}")
        runs = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return runs, float(coco.area(runs))


def _by(size: Sequence[int]) -> str:
    return f"{size[1]} x {size[0]}"


def _precisions(
    true: list[dict[str, Any]],
    found: list[dict[str, Any]],
    labels: int,
    kind: str,
    thresholds: Sequence[float],
    most: int,
) -> np.ndarray:
    """Precision at each threshold, of 101 recalls, of each label, for each size; -1 where there is no instance."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = sorted({one["image_id"] for one in true + found})
    if not numbers:
        return np.full((len(thresholds), 101, labels, len(SIZES)), -1.0)
    # It asks for the sides of an image before it sees that the masks bring theirs.
    pictures = [{"id": number, "height": 0, "width": 0} for number in numbers]
    # It prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (true, found):
            side = COCO()
            side.dataset = {
                "images": pictures,
                "annotations": annotations,
                "categories": [{"id": k} for k in range(labels)],
            }
            side.createIndex()
            sides.append(side)
        judge = COCOeval(*sides, iouType=KINDS[kind])
        judge.params.iouThrs = np.asarray(thresholds, dtype=np.float64)
        judge.params.maxDets = [most]
        judge.evaluate()
        judge.accumulate()
    precision: np.ndarray = judge.eval["precision"][..., 0]
    return precision


def _mean(values: np.ndarray) -> float | None:
    """Of those that are numbers; None without any."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None
