from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.data.transforms import Preprocessing
from cotag.errors import SettingError


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


def test_letterbox_keeps_the_whole_picture_in_the_middle_and_pads_with_the_mean() -> None:
    found = Preprocessing(20, "letterbox", "bilinear", (0.2, 0.4, 1.2))(halves())
    assert found.shape == (3, 20, 20)
    picture = np.asarray(halves().resize((20, 10), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(found[:, 5:15], picture)
    for channel, value in enumerate((51, 102, 255)):
        assert (found[channel, :5] == value).all()
        assert (found[channel, 15:] == value).all()
    # An odd rest is one pixel more below; a line stays a line.
    thin = Preprocessing(9, "letterbox")(Image.new("RGB", (300, 1), "white"))[0]
    assert (thin == 255).sum(1).tolist() == [0, 0, 0, 0, 9, 0, 0, 0, 0]
    even = Preprocessing(8, "letterbox")(Image.new("RGB", (80, 30), "white"))[0]
    assert (even == 255).sum(1).tolist() == [0, 0, 8, 8, 8, 0, 0, 0]


@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
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
