"""What every registered augmentation must do: a new one needs a line in SAMPLES."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.data.augmentations import Augmentation
from cotag.registry import AUGMENTATIONS


@dataclass(frozen=True)
class Sample:
    """The settings at which an augmentation changes nothing, if any; the strongest; whether it keeps the size."""

    neutral: dict[str, Any] | None
    strongest: dict[str, Any] = field(default_factory=dict)
    keeps_size: bool = True


SAMPLES = {
    "flip": Sample({"chance": 0}, {"chance": 1}),
    "crop": Sample({"smallest": 1, "stretch": 1}, {"smallest": 0, "stretch": 9}, keeps_size=False),
    "color": Sample({"strength": 0}, {"strength": 1}),
    "perspective": Sample({"strength": 0, "chance": 1}, {"strength": 0.95, "chance": 1}),
    "multiscale_crop": Sample(None, {"image_size": 1}, keeps_size=False),
    "cutout": Sample({"share": 0}, {"share": 2}),
    "randaugment": Sample({"operations": 0}, {"operations": 6, "magnitude": 10}),
    "augmix": Sample(None, {"severity": 10, "chains": 5, "depth": 5}),
}
SIZES = [(1, 1), (1, 9), (7, 1), (2, 3), (40, 20), (33, 65)]


@pytest.fixture(params=AUGMENTATIONS.names())
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in SAMPLES, f"augmentation {request.param!r} has no sample here; add one"
    return str(request.param)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def changed(augment: Augmentation, image: Image.Image, seed: int) -> Image.Image:
    return augment(image, np.random.default_rng(seed))


@pytest.mark.parametrize("strongest", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_it_gives_a_picture_by_its_random_numbers_alone(name: str, size: tuple[int, int], strongest: bool) -> None:
    augment = AUGMENTATIONS.build(name, **(SAMPLES[name].strongest if strongest else {}))
    image = picture(*size)
    before = np.asarray(image).copy()
    found = [changed(augment, image, seed) for seed in (1, 1, *range(2, 14))]
    for one in found:
        assert one.mode == "RGB"
        assert one.size == size if SAMPLES[name].keeps_size else min(one.size) >= 1
        assert one.width <= size[0]
        assert one.height <= size[1]
    assert np.array_equal(np.asarray(found[0]), np.asarray(found[1]))
    assert np.array_equal(np.asarray(image), before)
    if min(size) > 3:
        assert any(not np.array_equal(before, np.asarray(one)) for one in found)


def test_what_one_draws_does_not_depend_on_the_calls_before(name: str) -> None:
    augment, image = AUGMENTATIONS.build(name), picture(24, 18)
    first = np.asarray(changed(augment, image, 3))
    changed(augment, picture(9, 30), 4)
    assert np.array_equal(first, np.asarray(changed(augment, image, 3)))


def test_at_neutral_settings_nothing_changes(name: str) -> None:
    neutral = SAMPLES[name].neutral
    if neutral is None:
        pytest.skip("this augmentation has no neutral settings")
    augment = AUGMENTATIONS.build(name, **neutral)
    for size in SIZES:
        for seed in range(5):
            assert np.array_equal(np.asarray(changed(augment, picture(*size), seed)), np.asarray(picture(*size)))


def test_the_page_names_it_with_its_settings(name: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "pictures.md").read_text("utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` ")]
    for setting, parameter in inspect.signature(AUGMENTATIONS.get(name)).parameters.items():
        assert f"`{setting}`" in row
        shown = {"multiscale_crop": "the model's", "stretch": "4/3"}
        value = shown.get(name) or shown.get(setting) or f"{parameter.default:g}"
        assert f"({value})" in row, f"{setting} is {value}"


def test_it_is_listed(name: str, cotag: Callable[..., Any]) -> None:
    assert f"\n{name} " in "\n" + cotag("list", "augmentations").out


def test_it_says_what_it_is(name: str) -> None:
    line = AUGMENTATIONS.described()[name]
    assert len(line) > 20
    assert line.endswith(".")
