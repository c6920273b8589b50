from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotag.data import resampling
from cotag.data.resampling import Box, call, load_library, resize

SOURCE = Path(resampling.__file__).with_name("_resample.c")
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@pytest.fixture(scope="module", params=["", "-DPLAIN"], ids=["vectors", "plain"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The library as this checkout's source makes it, with vector instructions and without."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("library")
    flags = ["-O2", "-fPIC", "-shared", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", *request.param.split()]
    subprocess.run([compiler, *flags, SOURCE, "-o", folder / "_resample.so", "-lm"], check=True)
    found = load_library(folder)
    assert found is not None
    return found


def case(number: int) -> tuple[np.ndarray, tuple[int, int], Image.Resampling, Box | None]:
    """A picture, a size, a filter and a box, now and then with a side that stays as it is."""
    random = np.random.default_rng(number)
    height, width = (int(side) for side in random.integers(1, 140, 2))
    out_height, out_width = (int(side) for side in random.integers(1, 120, 2))
    out_height = height if number % 5 == 0 else out_height
    out_width = width if number % 7 == 0 else out_width
    box = None
    if number % 3 == 0:
        left, right = sorted(random.uniform(0, width, 2))
        top, bottom = sorted(random.uniform(0, height, 2))
        box = (float(left), float(top), float(right), float(bottom))
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return pixels, (out_width, out_height), FILTERS[number % len(FILTERS) if number % 2 else number // 2 % 3], box


def test_the_bytes_are_those_of_pillow(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    order = resampling.order_of_pillow(library)
    assert order is not None
    monkeypatch.setattr(resampling, "_compiled", lambda: (library, order))
    for number in range(400):
        pixels, size, how, box = case(number)
        wanted = np.asarray(Image.fromarray(pixels).resize(size, how, box))
        assert np.array_equal(resize(pixels, size, how, box), wanted), number


@pytest.mark.parametrize("size", [(20000, 9, 2, 9), (9, 20000, 9, 2), (6000, 40, 5, 40), (8200, 8, 4, 4)])
def test_thousands_of_taps_overflow_nothing(library: ctypes.CDLL, size: tuple[int, int, int, int]) -> None:
    width, height, out_width, out_height = size
    order = resampling.order_of_pillow(library)
    assert order is not None
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    pixels[::2] = np.random.default_rng(0).integers(0, 256, pixels[::2].shape)
    out = np.empty((out_height, out_width, 3), dtype=np.uint8)
    for how in FILTERS:
        resampling.call(library, pixels, out, how, None, order(*size))
        assert np.array_equal(out, np.asarray(Image.fromarray(pixels).resize((out_width, out_height), how)))


def test_without_the_library_pillow_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_compiled", lambda: None)
    for number in range(20):
        pixels, size, how, box = case(number)
        assert np.array_equal(
            resize(pixels, size, how, box), np.asarray(Image.fromarray(pixels).resize(size, how, box))
        )


def test_parts_of_pictures_and_of_batches_need_no_copy_of_their_own(library: ctypes.CDLL) -> None:
    random = np.random.default_rng(0)
    whole = random.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    for part in (whole[3:40, 5:61], whole[::-1, ::-1], whole.transpose(1, 0, 2), whole[40:, 60:]):
        batch = np.full((3, 21, 30, 3), 77, dtype=np.uint8)
        call(library, part, batch[1], Image.Resampling.BICUBIC, None, False)
        again = np.empty((21, 30, 3), dtype=np.uint8)
        call(library, np.ascontiguousarray(part), again, Image.Resampling.BICUBIC, None, False)
        assert np.array_equal(batch[1], again)
        assert (batch[0] == 77).all()
        assert (batch[2] == 77).all()


def test_a_library_that_gives_other_bytes_is_not_used(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(*args: object) -> None:
        call(*args)  # type: ignore[arg-type]
        args[2][0, 0, 0] ^= 1  # type: ignore[index]

    assert resampling.order_of_pillow(library) is not None
    monkeypatch.setattr(resampling, "call", off_by_one)
    assert resampling.order_of_pillow(library) is None


def test_what_the_library_must_not_see_is_refused(library: ctypes.CDLL) -> None:
    pixels, out = np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((2, 2, 3), dtype=np.uint8)
    for box in ((-1, 0, 4, 4), (0, 0, 5, 4), (2, 0, 2, 4), (0, 3, 4, 2)):
        with pytest.raises(ValueError, match="does not lie in the 4 x 4 pixels"):
            call(library, pixels, out, Image.Resampling.BILINEAR, box, False)
    with pytest.raises(TypeError, match="takes uint8"):
        call(library, pixels.astype(np.float32), out, Image.Resampling.BILINEAR, None, False)
