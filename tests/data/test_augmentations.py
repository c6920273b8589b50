from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.data.augmentations import (
    Augmentation,
    build_augmentations,
    color,
    crop,
    crop_sides,
    cutout,
    flip,
    multiscale_crop,
    perspective,
    projection,
)
from cotag.errors import SettingError


def coded(width: int, height: int) -> Image.Image:
    """A picture whose red is the column and whose green is the row."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(pixels)


def several(augment: Augmentation, image: Image.Image, count: int = 60) -> list[np.ndarray]:
    return [np.asarray(augment(image, np.random.default_rng(seed))) for seed in range(count)]


def test_flip_mirrors_by_its_chance() -> None:
    image = coded(9, 4)
    plain, mirrored = np.asarray(image), np.asarray(image)[:, ::-1]
    assert all(np.array_equal(found, mirrored) for found in several(flip(1.0), image))
    assert all(np.array_equal(found, plain) for found in several(flip(0.0), image))
    assert 15 < sum(np.array_equal(found, mirrored) for found in several(flip(), image)) < 45


def test_crop_keeps_a_rectangle_of_the_picture_that_is_large_enough() -> None:
    places, areas = set(), []
    for found in several(crop(0.5, 1.5), coded(100, 80)):
        height, width = found.shape[:2]
        left, top = int(found[0, 0, 0]), int(found[0, 0, 1])
        assert np.array_equal(found, np.asarray(coded(100, 80))[top : top + height, left : left + width])
        places.add((left, top))
        areas.append(height * width / 8000)
        assert 1 / 1.55 < (width / 100) / (height / 80) < 1.55
    assert len(places) > 20
    # A stretched rectangle that would not fit is cut, so it may be smaller than asked for by the stretch.
    assert min(areas) > 0.5 / 1.5
    assert np.mean(areas) == pytest.approx(0.73, abs=0.05)


def test_crop_of_everything_keeps_everything() -> None:
    assert all(np.array_equal(found, np.asarray(coded(30, 20))) for found in several(crop(1.0, 1.0), coded(30, 20)))


def test_color_changes_brightness_within_its_strength() -> None:
    gray = Image.new("RGB", (4, 4), (100, 100, 100))
    values = [int(found[0, 0, 0]) for found in several(color(0.3), gray)]
    assert min(values) >= 69
    assert max(values) <= 131
    assert max(values) - min(values) > 40
    assert all((found == np.asarray(gray)).all() for found in several(color(0.0), gray))


def test_augmentations_come_in_the_order_of_their_names() -> None:
    first, second = build_augmentations(["crop", "flip"]), build_augmentations(["flip", "crop"])
    assert [type(augment).__name__ for augment in first] == ["Cropping", "Mirroring"]
    assert [type(augment).__name__ for augment in second] == ["Mirroring", "Cropping"]
    with pytest.raises(SettingError, match="augmentation 'flop' is not known; did you mean flip"):
        build_augmentations(["flop"])


# The crop of ML-GCN


def slow_crops(width: int, height: int, target: int) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Every (width, height) that may be kept, with every (left, top), written out; places may fall together."""
    shorter = width if width < height else height
    named = {"whole": 1.0, "seven eighths": 0.875, "three quarters": 0.75, "two thirds": 0.66, "half": 0.5}
    sides = []
    for scale in named.values():
        side = int(scale * shorter)
        if side in (target - 2, target - 1, target, target + 1, target + 2) and target <= shorter:
            side = target
        sides.append(side)
    whole, seven, three, two, half = sides
    near = {whole: [whole, seven, three], seven: [whole, seven, three, two], three: sides,
            two: [seven, three, two, half], half: [three, two, half]}  # fmt: skip
    found = {}
    for kept_width, heights in near.items():
        for kept_height in heights:
            x, y = (width - kept_width) // 4, (height - kept_height) // 4
            corners = [(0, 0), (4 * x, 0), (0, 4 * y), (4 * x, 4 * y)]
            edges = [(2 * x, 0), (2 * x, 4 * y), (0, 2 * y), (4 * x, 2 * y)]
            quarters = [(x, y), (3 * x, y), (x, 3 * y), (3 * x, 3 * y)]
            found[kept_width, kept_height] = [*corners, *edges, *quarters, (2 * x, 2 * y)]
    return found


def kept(image: Image.Image) -> tuple[int, int, int, int]:
    """Width, height, left and top of a part of ``coded``."""
    red, green, _ = image.getpixel((0, 0))  # type: ignore[misc]
    return (*image.size, red, green)


@pytest.mark.parametrize(
    ("width", "height", "target"), [(200, 150, 448), (90, 161, 60), (200, 150, 112), (101, 100, 73)]
)
def test_the_crop_reaches_every_published_rectangle_and_no_other(width: int, height: int, target: int) -> None:
    crops = slow_crops(width, height, target)
    wanted = Counter((*sides, *place) for sides, places in crops.items() for place in places)
    assert (len(crops), wanted.total()) == (19, 19 * 13)
    image, augment, random = coded(width, height), multiscale_crop(target), np.random.default_rng(0)
    found = Counter(kept(augment(image, random)) for _ in range(40 * wanted.total()))
    assert found.keys() == wanted.keys()
    # Each of the 247 equally often: about 40 times, give or take 6.
    assert all(abs(found[crop] - 40 * often) < 30 * often**0.5 for crop, often in wanted.items())


@pytest.mark.parametrize(
    ("shorter", "target", "wanted"),
    [
        (480, 448, [480, 420, 360, 316, 240]),
        (450, 448, [448, 393, 337, 297, 225]),
        (451, 448, [451, 394, 338, 297, 225]),
        (447, 448, [447, 391, 335, 295, 223]),
        (512, 448, [512, 448, 384, 337, 256]),
        (514, 448, [514, 448, 385, 339, 257]),
        (509, 448, [509, 445, 381, 335, 254]),
        (1, 448, [1, 1, 1, 1, 1]),
    ],
)
def test_a_side_within_three_pixels_of_the_target_becomes_it(shorter: int, target: int, wanted: list[int]) -> None:
    assert crop_sides(shorter, target) == wanted


def test_the_crop_never_leaves_the_picture() -> None:
    for width, height in ((447, 447), (446, 600), (3, 2), (1, 9)):
        picture, augment = Image.new("RGB", (width, height), "white"), multiscale_crop(448)
        for found in several(augment, picture):
            assert found.min() == 255
            assert 1 <= found.shape[1] <= width
            assert 1 <= found.shape[0] <= height


def test_the_size_of_the_model_reaches_the_crop() -> None:
    (known,), (unknown,) = build_augmentations(["multiscale_crop"], 60), build_augmentations(["multiscale_crop"])
    assert 60 in {found.shape[1] for found in several(known, coded(62, 62))}
    assert 60 not in {found.shape[1] for found in several(unknown, coded(62, 62))}
    flip_alone = build_augmentations(["flip"], 60)
    assert len(flip_alone) == 1


# Cutout


def test_cutout_covers_half_of_both_sides_around_any_point() -> None:
    picture, centers, sizes, colors = Image.new("RGB", (40, 20), (1, 2, 3)), set(), set(), set()
    for found in several(cutout(0.5), picture, 300):
        covered = (found != (1, 2, 3)).any(2)
        rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
        assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        sizes.add((len(columns), len(rows)))
        centers.add((columns[0], rows[0]))
        colors.add(tuple(int(value) for value in found[rows[0], columns[0]]))
    assert max(sizes) == (20, 10)
    assert min(width for width, _ in sizes) == 10
    assert min(height for _, height in sizes) == 5
    assert len(centers) > 50
    assert len(colors) > 200
    assert all((found == (1, 2, 3)).all() for found in several(cutout(0.0), picture))


# Perspective


def test_a_projection_takes_four_points_to_four_points() -> None:
    sources = np.array([(0, 0), (40, 0), (40, 20), (0, 20)])
    for seed in range(5):
        targets = sources + np.random.default_rng(seed).uniform(-5, 5, (4, 2))
        a, b, c, d, e, f, g, h = projection(sources, targets)
        for (x, y), target in zip(sources, targets, strict=True):
            below = g * x + h * y + 1
            assert ((a * x + b * y + c) / below, (d * x + e * y + f) / below) == pytest.approx(tuple(target))
    # Half the size: every point comes from twice as far.
    assert projection(sources / 2, sources) == pytest.approx([2, 0, 0, 0, 2, 0, 0, 0])


def test_perspective_shrinks_within_its_strength_and_is_gray_around() -> None:
    white, image = Image.new("RGB", (80, 60), "white"), coded(80, 60)
    shares = []
    for found in several(perspective(0.5, 1.0), white):
        covered = (found == 255).all(2)
        assert covered[15:45, 20:60].all()
        assert (found[~covered].min(), found[~covered].max()) >= (128, 128)
        shares.append(covered.mean())
    # Corners move by an eighth of a side on average, so that about 0.75 x 0.75 is left.
    assert np.mean(shares) == pytest.approx(0.5625, abs=0.05)
    assert len({found.tobytes() for found in several(perspective(0.5, 1.0), image)}) == 60
    assert all(np.array_equal(found, np.asarray(image)) for found in several(perspective(0.0, 1.0), image))
    assert all(np.array_equal(found, np.asarray(image)) for found in several(perspective(0.5, 0.0), image))
    changed = [not np.array_equal(found, np.asarray(image)) for found in several(perspective(), image)]
    assert 15 < sum(changed) < 45


# Settings


def test_an_augmentation_has_settings_of_its_own() -> None:
    image = coded(9, 4)
    (always, never, usual) = build_augmentations([{"flip": {"chance": 1}}, {"flip": {"chance": 0}}, {"flip": {}}])
    assert all(np.array_equal(found, np.asarray(image)[:, ::-1]) for found in several(always, image))
    assert all(np.array_equal(found, np.asarray(image)) for found in several(never, image))
    assert 15 < sum(np.array_equal(found, np.asarray(image)) for found in several(usual, image)) < 45
    (own,) = build_augmentations([{"multiscale_crop": {"image_size": 60}}], 999)
    assert 60 in {found.shape[1] for found in several(own, coded(62, 62))}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"flip": {"chnace": 1}}, "augmentation flip: setting 'chnace' is not known; did you mean chance"),
        ({"flop": {}}, "augmentation 'flop' is not known; did you mean flip"),
        ({"flip": {"chance": 1.5}}, "data.augment: flip: chance = 1.5: must be a number, 0 to 1"),
        ({"flip": {"chance": "often"}}, "flip: chance = 'often': must be a number, 0 to 1"),
        ({"flip": {"chance": True}}, "flip: chance = True"),
        ({"flip": {"chance": float("nan")}}, "flip: chance = nan"),
        ({"crop": {"smallest": -0.1}}, "crop: smallest = -0.1: must be a number, 0 to 1"),
        ({"crop": {"stretch": 0.9}}, "crop: stretch = 0.9: must be a number, 1 or more"),
        ({"color": {"strength": 2}}, "color: strength = 2: must be a number, 0 to 1"),
        ({"cutout": {"share": -1}}, "cutout: share = -1"),
        ({"perspective": {"strength": 1}}, "perspective: strength = 1: must be a number, 0 to 0.95"),
        ({"multiscale_crop": {"image_size": 0}}, "image_size = 0: must be a whole number, 1 or more"),
        ({"randaugment": {"magnitude": 11}}, "randaugment: magnitude = 11: must be a number, 0 to 10"),
        ({"randaugment": {"operations": 1.5}}, "randaugment: operations = 1.5: must be a whole number, 0 or more"),
        ({"augmix": {"alpha": 0}}, "augmix: alpha = 0: must be a number"),
        ({"augmix": {"chains": 0}}, "augmix: chains = 0: must be a whole number, 1 or more"),
        ({"flip": {}, "crop": {}}, "names 2 augmentations; give each an entry of its own"),
    ],
)
def test_wrong_settings_are_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        build_augmentations([given])
    assert "\n" not in str(caught.value)
