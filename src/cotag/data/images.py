"""Images from files that may be anything: decoded to upright 8-bit RGB, or refused in one line."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from cotag.data.contents import open_image_bytes
from cotag.data.tar_shards import Walk
from cotag.errors import DataError, ImageError
from cotag.types.places import Place, is_address, root_of, split_part

MAX_PIXELS = 100_000_000
"""The most pixels (width times height) that an image may declare; more is refused before anything is decoded."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2", ".avif", ".ppm", ".pgm", ".pbm"}
)
"""The endings, in lower case, by which images are found in a folder."""

# Only these decoders run on a file: Pillow has others, and that of EPS starts Ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000", "AVIF")
_ENABLED = [name for name in FORMATS if name != "AVIF" or find_spec("PIL.AvifImagePlugin")]
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*", b"\x00\x00\x00\x0cjP")
_ORIENTATION_TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(
    path: str | os.PathLike[str],
    row: int | None = None,
    source: str = "",
    cover: tuple[int, int] | None = None,
) -> Image.Image:
    """The image of a file as upright RGB of 8 bits.

    The EXIF orientation is applied; 16 bits become 8 by their high byte; transparent pixels are laid over
    white; of an animation the first frame is taken.

    Args:
        path: of a JPEG, PNG, GIF, BMP, PPM, WebP, TIFF, JPEG 2000 or AVIF file, or another place of one; see
            ``cotag.types.places``.
        row: the row that names the image, and ``source`` the file it is in; both for messages.
        cover: (width, height) in pixels that are enough: a JPEG may then be decoded at 1/2, 1/4 or 1/8 of its
            size, never below these, which is faster and not exact. Other formats are not affected.

    Raises:
        ImageError: the file is missing, not readable, empty, of another format, truncated, damaged, or has more
            than MAX_PIXELS pixels.
    """
    where = location(path, row, source)
    with open_image_bytes(path, where) as stream:
        return decode(stream, where, cover)


def location(path: str | os.PathLike[str], row: int | None = None, source: str = "") -> str:
    """An image as messages name it: its path, and the row and file that it comes from."""
    parts = [f"row {row}" if row is not None else "", source]
    inside = " of ".join(part for part in parts if part)
    return f"{os.fspath(path)} ({inside})" if inside else os.fspath(path)


def decode(stream: BinaryIO, where: str, cover: tuple[int, int] | None = None) -> Image.Image:
    """The image in a stream of bytes as upright RGB of 8 bits; see ``open_image``.

    Raises:
        ImageError: the bytes are no image of a known format, are truncated or damaged, or hold too many pixels.
    """
    with refusing(stream, where):
        image = opened(stream, where)
        if cover is not None:
            # A picture may lie on its side, so both sides must cover the longer one.
            image.draft(None, (max(cover), max(cover)))
        if image.format == "JPEG":
            require_end(stream, where)
        image.load()
        turn = TURNS.get(orientation(image))
        image = _eight_bits(image, where)
        return image.transpose(turn) if turn is not None else image


def measure(stream: BinaryIO, where: str) -> tuple[int, int]:
    """The (width, height) in pixels of the upright image, from its header alone.

    Raises:
        ImageError: as ``decode``, as far as the header shows it.
    """
    with refusing(stream, where):
        return upright_size(opened(stream, where))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """The (width, height) of an opened image once it is turned upright."""
    # Pillow gives the size of a TIFF as it will be after turning.
    sideways = image.format != "TIFF" and orientation(image) in (5, 6, 7, 8)
    return (image.height, image.width) if sideways else image.size


def opened(stream: BinaryIO, where: str) -> Image.Image:
    """The image in a stream with its header read and nothing decoded; for use within ``refusing``.

    Raises:
        ImageError: it declares too many pixels or none.
    """
    image: Image.Image = Image.open(stream, formats=_ENABLED)
    _require_size(image.width * image.height, where)
    return image


@contextmanager
def refusing(stream: BinaryIO, where: str) -> Iterator[None]:
    """Whatever a decoder raises becomes an ImageError of one line."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"\d+", str(error))
        _require_size(int(number.group()) if number else MAX_PIXELS + 1, where)
        raise ImageError(f"{where}: {error}; scale it down or take it out") from error
    # A decoder that meets hostile bytes raises anything (struct.error, KeyError, zlib.error, MemoryError ...).
    except Exception as error:
        raise ImageError(f"{where}: {_reason(stream, error)}; fetch it again or take it out") from error


def _require_size(pixels: int, where: str) -> None:
    if pixels == 0:
        raise ImageError(f"{where}: declares a width or height of 0; take it out")
    if pixels > MAX_PIXELS:
        raise ImageError(
            f"{where}: declares {pixels:,} pixels and at most {MAX_PIXELS:,} are decoded "
            "(it may be a decompression bomb); scale it down or take it out"
        )


def _reason(stream: BinaryIO, error: Exception) -> str:
    said = " ".join(str(error).split())
    if "truncated" in said.lower():
        return "is truncated"
    if isinstance(error, UnidentifiedImageError):
        stream.seek(0)
        start = stream.read(12)
        if start.startswith(_SIGNATURES) or start[4:8] == b"ftyp":
            return "is truncated or damaged (its header cannot be read)"
        return f"is no image of a known format ({', '.join(FORMATS)})"
    return f"is damaged or truncated and cannot be decoded ({said or type(error).__name__})"


def require_end(stream: BinaryIO, where: str) -> None:
    """Refuse a JPEG that lost its end to zero bytes, as interrupted downloads do; it would decode to plain gray.

    Raises:
        ImageError: it did.
    """
    place = stream.tell()
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - 64))
    zeros = not any(stream.read())
    if zeros:
        stream.seek(0)
        data = stream.read()
        # Some cameras pad a whole file with zeros: then the end marker stands after the last scan.
        zeros = data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    stream.seek(place)
    if zeros:
        raise ImageError(f"{where}: is truncated (its end is filled with zeros); fetch it again or take it out")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    # Damaged EXIF does not damage the pixels; every viewer then shows them as they are stored.
    except Exception:
        return 1


def _eight_bits(image: Image.Image, where: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values_HW = np.asarray(image)
        gray = Image.fromarray((values_HW >> 8).astype(np.uint8))
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            gray.putalpha(Image.fromarray(np.where(values_HW == clear, 0, 255).astype(np.uint8)))
        image = gray
    elif image.mode in ("I", "F"):
        raise ImageError(
            f"{where}: has 32 bits for each pixel, whose range no header declares; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Place]:
    """The images that files, folders, patterns, shards and addresses stand for, each once, in the order given.

    Args:
        paths: a file is taken as it is; a folder stands for all images in it and below, sorted by path, hidden
            ones left out; a pattern (``*``, ``?``, ``[...]``, ``**``) for the images that it matches, or where it
            matches folders alone, for the images in these; a tar file for the images in it, also at an address;
            a part of a file (``a.tar::b.jpg``) and an address are taken as they are.

    Raises:
        DataError: a path or pattern stands for no image.
    """
    found: dict[Place, None] = {}
    for given in paths:
        images = _expand(os.fspath(given))
        if not images:
            raise DataError(f"{os.fspath(given)}: {_nothing(os.fspath(given))}")
        found.update(dict.fromkeys(images))
    return list(found)


def _expand(given: str) -> list[Place]:
    if split_part(given) is not None:
        return [root_of(given)]
    if given.endswith(".tar") and (is_address(given) or Path(given).is_file()):
        members = (member.name for member, _ in Walk(root_of(given)).members())
        return [root_of(f"{given}::{name}") for name in members if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if is_address(given):
        return [given]
    path = Path(given)
    if path.is_dir():
        return [*_images_below(path)]
    if path.exists():
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]  # noqa: PTH207 (absolute ones too)
    files = [match for match in matches if match.suffix.lower() in IMAGE_SUFFIXES and match.is_file()]
    return [*files] or [image for match in matches if match.is_dir() for image in _images_below(match)]


def _images_below(folder: Path) -> list[Path]:
    inside = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    visible = (p for p in inside if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    return sorted(path for path in visible if path.is_file())


def _nothing(given: str) -> str:
    if given.endswith(".tar") and Path(given).is_file():
        return f"the shard holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); give another"
    if Path(given).is_dir():
        return f"the folder holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); give another"
    if glob.has_magic(given):
        return "the pattern matches no image; correct it, and quote it if the shell should leave it alone"
    return "there is no such file or folder; correct the path"
