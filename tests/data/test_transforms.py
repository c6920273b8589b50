from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.data.transforms import (
    Augmentation,
    Preprocessing,
    build_augmentations,
    color,
    crop,
    crop_sides,
    cutout,
    flip,
    multiscale_crop,
)
from cotag.errors import SettingError
from cotag.registry import AUGMENTATIONS


def coded(width: int, height: int) -> Image.Image:
    """A picture whose red is the column and whose green is the row."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(pixels)


def halves() -> Image.Image:
    """40 x 20 pixels: 10 black columns, 20 gray, 10 white."""
    pixels = np.full((20, 40, 3), 128, dtype=np.uint8)
    pixels[:, :10], pixels[:, 30:] = 0, 255
    return Image.fromarray(pixels)


# Preprocessing


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    found = Preprocessing(20)(coded(20, 20))
    assert found.shape == (3, 20, 20)
    assert found.dtype == np.uint8
    assert found[0, 3].tolist() == list(range(20))
    assert found[1, :, 3].tolist() == list(range(20))


def test_squash_keeps_all_and_crop_keeps_the_center() -> None:
    squashed = Preprocessing(20, "squash", "bilinear")(halves())[0]
    cropped = Preprocessing(20, "crop", "bilinear")(halves())[0]
    assert squashed.shape == cropped.shape == (20, 20)
    assert squashed[:, :4].max() < 5
    assert squashed[:, -4:].min() > 250
    assert cropped.min() == cropped.max() == 128


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_a_tall_picture_is_a_turned_wide_one(resize: str) -> None:
    prepare = Preprocessing(16, resize)
    tall = halves().transpose(Image.Transpose.TRANSPOSE)
    np.testing.assert_allclose(prepare(tall).astype(int), prepare(halves()).transpose(0, 2, 1).astype(int), atol=1)


def test_shrinking_averages_over_all_pixels() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))).convert("RGB")
    found = Preprocessing(8, "squash", "bilinear")(stripes).astype(int)
    assert np.abs(found - 127).max() <= 8


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolations_are_those_of_pillow(name: str) -> None:
    wanted = halves().resize((9, 9), getattr(Image.Resampling, name.upper()))
    found = Preprocessing(9, "squash", name)(halves())
    assert np.array_equal(found, np.asarray(wanted).transpose(2, 0, 1))


def test_json_makes_the_same_preprocessing_again() -> None:
    prepare = Preprocessing(33, "crop", "lanczos", (0.1, 0.2, 0.3), (1, 2, 3))
    assert Preprocessing(**json.loads(json.dumps(prepare.to_json()))) == prepare


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"resize": "sqash"}, "data.resize = 'sqash' is not known; did you mean squash"),
        ({"interpolation": "cubic"}, "data.interpolation = 'cubic' is not known; did you mean bicubic"),
        ({"image_size": 0}, "data.image_size = 0: must be at least 1 pixel"),
        ({"std": (1, 0, 1)}, r"data.std = \[1.0, 0.0, 1.0\]: must be above 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Preprocessing(**{"image_size": 8, **settings})


# Augmentations


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
@pytest.mark.parametrize("size", [(1, 1), (40, 20)])
def test_every_augmentation_gives_rgb_by_its_random_numbers_alone(name: str, size: tuple[int, int]) -> None:
    (augment,) = build_augmentations([name])
    image = coded(*size)
    found = [np.asarray(augment(image, np.random.default_rng(seed))) for seed in (1, 1, *range(2, 12))]
    assert augment(image, np.random.default_rng(1)).mode == "RGB"
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(np.asarray(image), np.asarray(coded(*size)))
    if size != (1, 1):
        assert any(not np.array_equal(found[0], other) for other in found[2:])


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
    assert "crop" in first[0].__qualname__  # type: ignore[attr-defined]
    assert "crop" in second[1].__qualname__  # type: ignore[attr-defined]
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
