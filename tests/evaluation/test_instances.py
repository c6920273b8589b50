from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cotag.errors import LabelSpaceError, ScoresError, SettingError
from cotag.evaluation.instances import THRESHOLDS, Instances, instance_average_precision
from cotag.types.labels import LabelSpace

SPACE = LabelSpace(("cat", "dog", "cow"))


def instances(*rows: tuple[Any, ...], **columns: Any) -> Instances:
    """Of (image, label, box[, score])."""
    images, labels = (np.array([row[place] for row in rows], dtype=int) for place in (0, 1))
    boxes = np.array([row[2] for row in rows], dtype=float).reshape(-1, 4)
    scores = np.array([row[3] for row in rows]) if rows and len(rows[0]) > 3 else None
    return Instances(SPACE, images, labels, boxes, **({"scores": scores} | columns))


NONE = instances(scores=np.zeros(0))
# Two cats and a dog of 10 x 10 pixels.
TRUE = instances((1, 0, (0, 0, 10, 10)), (2, 0, (0, 0, 10, 10)), (2, 1, (50, 50, 10, 10)))


def test_by_hand() -> None:
    found = instances(
        (1, 0, (0, 0, 10, 10), 0.9),  # IoU 1
        (1, 0, (70, 70, 10, 10), 0.8),  # wrong
        (2, 0, (0, 0, 10, 8), 0.7),  # IoU 0.8
        (2, 1, (50, 50, 10, 6), 0.6),  # IoU 0.6
        (2, 2, (0, 0, 5, 5), 0.9),  # a label that no image has
    )
    value = instance_average_precision(TRUE, found)
    # cats: recall to 0.5 (51 of 101 points) at precision 1; up to IoU 0.8 the rest at 2 / 3
    whole, half = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert value["AP50"] == pytest.approx((whole + 1) / 2)
    assert value["AP75"] == pytest.approx((whole + 0) / 2)
    # 7 thresholds from 0.5 to 0.8, and 3 over it; dogs: 0.5, 0.55 and 0.6
    cats, dogs = (7 * whole + 3 * half) / 10, 3 / 10
    assert value["labels"] == {"cat": pytest.approx(cats), "dog": pytest.approx(dogs), "cow": None}
    assert value["AP"] == value["AP_small"] == pytest.approx((cats + dogs) / 2)
    assert (value["AP_medium"], value["AP_large"], value["without_instances"]) == (None, None, 1)
    assert value["protocol"] == "COCO box AP; IoU 0.5 to 0.95 (10 steps); at most 100 detections of a label in an image"


def test_options_count() -> None:
    found = instances((1, 0, (70, 70, 10, 10), 0.9), (1, 0, (0, 0, 10, 10), 0.8), (2, 0, (0, 0, 10, 10), 0.7))
    value = instance_average_precision(TRUE, found, thresholds=(0.6,), most=1)
    # of the first image only the wrong one counts: recall 0.5 at precision 1 / 2
    assert value["labels"]["cat"] == pytest.approx(51 / 101 / 2)
    assert (value["AP50"], value["AP75"]) == (None, None)
    assert value["protocol"] == "COCO box AP; IoU 0.6; at most 1 detections of a label in an image"


def test_a_crowd_is_neither_right_nor_wrong_and_areas_say_what_is_small() -> None:
    true = instances((1, 0, (0, 0, 10, 10)), (1, 0, (40, 40, 50, 50)), crowd=np.array([False, True]))
    found = instances((1, 0, (50, 50, 10, 10), 0.9), (1, 0, (0, 0, 10, 10), 0.8))
    assert instance_average_precision(true, found)["AP"] == pytest.approx(1)
    only = instances((1, 0, (0, 0, 10, 10)), crowd=np.array([True]))
    assert instance_average_precision(only, found)["without_instances"] == 3
    given = instances((1, 0, (0, 0, 10, 10)), areas=np.array([5000.0]))
    value = instance_average_precision(given, instances((1, 0, (0, 0, 10, 10), 0.8)))
    assert (value["AP_small"], value["AP_medium"]) == (None, pytest.approx(1))


def test_empty_sides() -> None:
    value = instance_average_precision(TRUE, NONE)
    assert (value["AP"], value["AP50"], value["labels"]["dog"], value["labels"]["cow"]) == (0, 0, 0, None)
    for true in (instances(), NONE):
        for found in (NONE, instances((1, 0, (0, 0, 1, 1), 0.5))):
            value = instance_average_precision(true, found)
            assert (value["AP"], value["without_instances"]) == (None, 3)


# Against a slow AP


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    reach = np.minimum(one[:2] + one[2:], other[:2] + other[2:]) - np.maximum(one[:2], other[:2])
    both = np.prod(np.maximum(reach, 0))
    return float(both / (np.prod(one[2:]) + np.prod(other[2:]) - both))


def slow(true: Instances, found: Instances, label: int, threshold: float) -> float | None:
    """From the definition, one detection after the other."""
    assert true.boxes is not None
    assert found.boxes is not None
    assert found.scores is not None
    total = int((true.labels == label).sum())
    if not total:
        return None
    taken: set[int] = set()
    right = []
    for row in sorted(np.flatnonzero(found.labels == label), key=lambda row: (-found.scores[row], found.images[row])):
        free = [
            place
            for place in np.flatnonzero((true.images == found.images[row]) & (true.labels == label))
            if place not in taken and overlap(true.boxes[place], found.boxes[row]) >= threshold
        ]
        right.append(bool(free))
        if free:
            taken.add(max(free, key=lambda place: overlap(true.boxes[place], found.boxes[row])))
    hits = np.cumsum(right)
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / total
    return float(np.mean([max(precision[recall >= point], default=0.0) for point in np.linspace(0, 1, 101)]))


@pytest.mark.parametrize("seed", range(4))
def test_boxes_equal_a_slow_average_precision(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, guesses = [], []
    for image in range(8):
        for _ in range(random.integers(1, 6)):
            box = np.append(random.uniform(0, 60, 2), random.uniform(15, 40, 2)).round(1)
            label = int(random.integers(2))
            rows.append((image, label, box))
            for _ in range(random.integers(0, 3)):
                guess = (box + random.normal(scale=3, size=4)).round(1)
                guesses.append((image, label if random.random() < 0.8 else 1 - label, guess, random.random()))
    true, found = instances(*rows), instances(*guesses)
    value = instance_average_precision(true, found)
    for label, name in enumerate(SPACE.names):
        wanted = [slow(true, found, label, threshold) for threshold in THRESHOLDS]
        mean = None if wanted[0] is None else pytest.approx(np.mean(wanted), abs=1e-9)
        assert value["labels"][name] == mean
    at_half = [slow(true, found, label, 0.5) for label in (0, 1)]
    assert value["AP50"] == pytest.approx(np.mean([one for one in at_half if one is not None]), abs=1e-9)
    assert 0.05 < value["AP"] < 0.95


# Masks


def disk(row: int, column: int, radius: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    found: np.ndarray = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return found


def of_masks(*masks: Any, **columns: Any) -> Instances:
    return Instances(SPACE, np.ones(len(masks), int), np.zeros(len(masks), int), masks=masks, **columns)


def test_masks_overlap_by_their_pixels() -> None:
    true, half = disk(20, 20, 12), disk(20, 20, 12)
    half[:, :20] = False
    shared = half.sum() / true.sum()
    found = of_masks(half, scores=np.array([0.5]))
    for threshold, wanted in ((shared - 0.01, 1), (shared + 0.01, 0)):
        value = instance_average_precision(of_masks(true), found, "mask", thresholds=(threshold,))
        assert value["AP"] == pytest.approx(wanted)
        assert "mask AP" in value["protocol"]


def test_run_length_masks_are_the_same_masks() -> None:
    from pycocotools import mask as coco

    pair = [disk(20, 20, 12), disk(20, 24, 12)]
    runs = [coco.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in pair]
    score = {"scores": np.array([0.5])}
    wanted = instance_average_precision(of_masks(pair[0]), of_masks(pair[1], **score), "mask")
    assert instance_average_precision(of_masks(runs[0]), of_masks(runs[1], **score), "mask") == wanted
    assert 0 < wanted["AP"] < 1


# What is refused, and what is said


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    instance_average_precision(TRUE, instances((1, 0, (0, 0, 10, 10), 0.9)))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([(7, 0, (0, 0, -3, 5))], {}, r"instance 0, in image 7: box \[0.0, 0.0, -3.0, 5.0\]; .* no negative size"),
        ([(7, 0, (0, np.nan, 3, 5))], {}, "finite"),
        ([(7, 3, (0, 0, 3, 5))], {}, "instance 0, in image 7: label 3; allowed are 0 to 2"),
        ([(7, -1, (0, 0, 3, 5))], {}, "label -1"),
        ([(7, 0, (0, 0, 3, 5), np.inf)], {}, "score inf; give a finite number"),
        ([(7, 0, (0, 0, 3, 5))], {"scores": np.zeros(2)}, "scores are of 2 instances and images of 1"),
        ([(7, 0, (0, 0, 3, 5))], {"areas": np.array([np.nan])}, "area nan"),
        ([(7, 0, (0, 0, 3)), (7, 0, (0, 0, 3)), (7, 0, (0, 0, 3)), (7, 0, (0, 0, 3))], {}, "boxes are of 3"),
    ],
)
def test_instances_that_cannot_be(rows: list[Any], columns: dict[str, Any], said: str) -> None:
    with pytest.raises(ScoresError, match=said):
        instances(*rows, **columns)


def test_two_sides_that_do_not_fit() -> None:
    found = instances((1, 0, (0, 0, 10, 10), 0.9))
    with pytest.raises(ScoresError, match="found instances have no scores"):
        instance_average_precision(TRUE, TRUE)
    with pytest.raises(ScoresError, match="true instances have no masks; mask AP needs them"):
        instance_average_precision(TRUE, found, "mask")
    other = Instances(LabelSpace(("cat", "dog")), found.images, found.labels, found.boxes, scores=found.scores)
    with pytest.raises(LabelSpaceError, match="true and found instances: "):
        instance_average_precision(TRUE, other)
    small = of_masks(disk(20, 20, 12, (30, 60)), scores=np.array([0.5]))
    with pytest.raises(ScoresError, match=r"found instance 0, in image 1: its mask is 60 x 30 .* is 60 x 40"):
        instance_average_precision(of_masks(disk(20, 20, 12)), small, "mask")


@pytest.mark.parametrize("mask", [np.zeros((4, 4)), np.zeros(4, dtype=bool), {"size": [4, 4], "counts": [16]}])
def test_masks_that_are_none(mask: Any) -> None:
    with pytest.raises(ScoresError, match=r"true instance 0, in image 1: its mask is .*give bool"):
        instance_average_precision(of_masks(mask), of_masks(scores=np.zeros(0)), "mask")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "boxes"}, "did you mean box"),
        ({"thresholds": ()}, r"thresholds = \[\]"),
        ({"thresholds": (0.5, 1.5)}, "above 0 and up to 1"),
        ({"thresholds": (0.7, 0.5)}, "ascending"),
        ({"most": 0}, "most = 0"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        instance_average_precision(TRUE, NONE, **options)
