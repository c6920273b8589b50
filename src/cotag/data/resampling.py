"""Resizing RGB of 8 bits to the bytes that Pillow gives, by a compiled library where it was built."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
Order = Callable[[int, int, int, int], bool]

_COMPILED = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def resize(
    pixels_HWC: np.ndarray,
    size: tuple[int, int],
    how: Image.Resampling,
    box: Box | None = None,
    out_HWC: np.ndarray | None = None,
) -> np.ndarray:
    """What ``Image.resize`` gives, byte by byte.

    Args:
        pixels_HWC: uint8 (H, W, 3); may be a part of a larger picture.
        size: (width, height) in pixels.
        how: the filter.
        box: (left, top, right, bottom) in pixels, the part that is resized; fractions count. All where not given.
        out_HWC: takes the result, uint8 (height, width, 3).
    """
    height, width = pixels_HWC.shape[:2]
    if out_HWC is None:
        out_HWC = np.empty((size[1], size[0], 3), dtype=np.uint8)
    if size == (width, height) and box in (None, (0, 0, width, height)):
        out_HWC[:] = pixels_HWC
        return out_HWC
    compiled = _compiled() if how in _COMPILED else None
    if compiled is None:
        out_HWC[:] = np.asarray(Image.fromarray(np.ascontiguousarray(pixels_HWC)).resize(size, how, box))
        return out_HWC
    library, down_first = compiled
    call(library, pixels_HWC, out_HWC, how, box, down_first(width, height, *size))
    return out_HWC


def call(
    library: ctypes.CDLL,
    pixels_HWC: np.ndarray,
    out_HWC: np.ndarray,
    how: Image.Resampling,
    box: Box | None,
    down_first: bool,
) -> None:
    """Let the compiled library fill ``out_HWC``; ``down_first`` is the order of its two passes."""
    height, width = pixels_HWC.shape[:2]
    if pixels_HWC.strides[1:] != (3, 1) or pixels_HWC.strides[0] < 0:
        pixels_HWC = np.ascontiguousarray(pixels_HWC)
    target_HWC = out_HWC if out_HWC.strides[1:] == (3, 1) else np.empty(out_HWC.shape, dtype=np.uint8)
    if pixels_HWC.dtype != np.uint8 or out_HWC.dtype != np.uint8 or out_HWC.shape[2] != 3 or pixels_HWC.shape[2] != 3:
        raise TypeError(f"resize takes uint8 (H, W, 3), given {pixels_HWC.dtype} {pixels_HWC.shape}")
    whole = box or (0, 0, width, height)
    if not (0 <= whole[0] < whole[2] <= width and 0 <= whole[1] < whole[3] <= height):
        raise ValueError(f"box {whole} does not lie in the {width} x {height} pixels of the picture")
    failed = library.cotag_resize(
        *(pixels_HWC.ctypes.data, pixels_HWC.strides[0], height, width),
        (ctypes.c_float * 4)(*whole),
        *(target_HWC.ctypes.data, target_HWC.strides[0], *target_HWC.shape[:2]),
        int(how),
        int(down_first),
    )
    if failed:
        raise MemoryError(f"resizing {width} x {height} pixels")
    if target_HWC is not out_HWC:
        out_HWC[:] = target_HWC


def is_compiled() -> bool:
    """Whether the compiled library resizes; otherwise Pillow does."""
    return _compiled() is not None


def load_library(folder: Path = Path(__file__).parent) -> ctypes.CDLL | None:
    """The compiled library; None where it was not built when Cotag was installed."""
    for path in sorted(folder.glob("_resample*.so")):
        try:
            library = ctypes.CDLL(str(path))
            function = library.cotag_resize
        except (OSError, AttributeError):
            continue
        pixels: list[Any] = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_int]
        function.argtypes = [*pixels, ctypes.POINTER(ctypes.c_float), *pixels, ctypes.c_int, ctypes.c_int]
        function.restype = ctypes.c_int
        return library
    return None


@cache
def _compiled() -> tuple[ctypes.CDLL, Order] | None:
    """The library with the order of passes of the Pillow that is installed; None where their bytes differ."""
    library = load_library()
    order = order_of_pillow(library) if library else None
    return (library, order) if library and order else None


def order_of_pillow(library: ctypes.CDLL) -> Order | None:
    """When the Pillow that is installed goes down first; None where the library's bytes are not Pillow's."""
    for order in (_cheaper_first, _across_first):
        if all(_agrees(library, order, *sizes) for sizes in _PROBES):
            return order
    return None


def _cheaper_first(width: int, height: int, out_width: int, out_height: int) -> bool:
    """Pillow 13: down first where this takes away more than twice the rows that across takes away columns."""
    return out_height < height and height - out_height > 2 * (width - out_width)


def _across_first(width: int, height: int, out_width: int, out_height: int) -> bool:
    """Pillow before that."""
    return False


# Sizes (width, height, out_width, out_height) at which the orders differ, and at which they do not.
_PROBES = ((31, 40, 37, 17), (41, 90, 29, 20), (40, 31, 17, 37), (33, 25, 12, 12), (8, 9, 23, 19))


def _agrees(library: ctypes.CDLL, order: Order, width: int, height: int, out_width: int, out_height: int) -> bool:
    pixels_HWC = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, out_HWC = Image.fromarray(pixels_HWC), np.empty((out_height, out_width, 3), dtype=np.uint8)
    for how in _COMPILED:
        for box in (None, (1.3, 0.4, width - 0.6, height - 1.7)):
            call(library, pixels_HWC, out_HWC, how, box, order(width, height, out_width, out_height))
            if not np.array_equal(out_HWC, np.asarray(image.resize((out_width, out_height), how, box))):
                return False
    return True
