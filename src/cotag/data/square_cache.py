"""Prepared pictures kept on disk: decoded and resized once, then read as they are.

A picture's square is found by the place of the picture and by all that determines its pixels; it counts only while
the file that holds the picture is the same (size, times, inode) and its own checksum is right. Each is one file, which
gets its name when it is whole, so processes may share a folder. What is behind an address is taken for unchanging.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL
import simplejpeg

from cotag.data.augmentations import Augmentation
from cotag.data.geometry import Mirroring
from cotag.data.stamps import SETTLED, file_of, is_settled, stamp_of_file
from cotag.data.transforms import Preprocessing
from cotag.storage import write_json
from cotag.types.places import Place, is_address

VERSION = 1
ALWAYS = Mirroring(1.0)
_FOREVER = b"address".ljust(16)
_HEAD = 20
"""Bytes before the pixels: 16 of the stamp of the file, 4 of the checksum of stamp and pixels."""


class SquareCache:
    """Keeps what pictures become without augmentations, or mirrored.

    Args:
        folder: holds the squares of any preprocessing, each in a folder of its own.
        preprocessing: what is kept.

    Attributes:
        folder: that of this preprocessing.
    """

    def __init__(self, folder: str | os.PathLike[str], preprocessing: Preprocessing) -> None:
        about = square_about(preprocessing)
        key = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.folder = Path(folder).absolute() / f"{preprocessing.image_size}-{preprocessing.decode}-{key}"
        self.bytes = _HEAD + 3 * preprocessing.image_size**2
        if not (self.folder / "about.json").exists():
            write_json(self.folder / "about.json", about)
        self._writes = True

    def fill(
        self,
        place: Place,
        augmentations: Sequence[Augmentation],
        random: np.random.Generator | None,
        out_HWC: np.ndarray,
        prepare: Callable[[Sequence[Augmentation]], None],
    ) -> None:
        """Write the square of a picture into an array, from the disk or by ``prepare``, whose result is then kept.

        Args:
            place: of the picture.
            augmentations: as ``keeps`` takes them.
            random: of the augmentations.
            out_HWC: uint8, in one piece.
            prepare: fills ``out_HWC``, with the augmentations that it is given.

        Raises:
            ImageError: ``prepare`` cannot read the picture.
        """
        mirrored = any(a.mirrors(random) for a in augmentations if isinstance(a, Mirroring) and random is not None)
        stamp = _FOREVER if is_address(file_of(place)) else stamp_of_file(place)
        file = self._file(place, mirrored)
        if stamp and _read(file, stamp, out_HWC):
            return
        prepare([ALWAYS] if mirrored else [])
        if self._writes and stamp and (stamp == _FOREVER or is_settled(place, stamp, SETTLED)):
            self._writes = _write(file, stamp, out_HWC)

    def _file(self, place: Place, mirrored: bool) -> Path:
        text = place if is_address(place) else os.path.abspath(place)  # noqa: PTH100 (links stay as they are)
        key = hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()
        return self.folder / key[:2] / f"{key[2:]}{'-mirrored' if mirrored else ''}"

    def count(self) -> int:
        """How many squares there are."""
        return sum(1 for part in self.folder.glob("??") for name in os.scandir(part) if not name.name.startswith("."))


def keeps(augmentations: Sequence[Augmentation]) -> bool:
    """Whether the squares of pictures augmented in this way can be kept: nothing but one mirroring, if anything.

    All others change a picture before it is resized, and in another way each time.
    """
    return not augmentations or (len(augmentations) == 1 and isinstance(augmentations[0], Mirroring))


def square_about(preprocessing: Preprocessing) -> dict[str, object]:
    """All that determines the pixels of a square beside the picture."""
    about: dict[str, object] = {**preprocessing.to_json(), "version": VERSION}
    del about["std"]
    if preprocessing.resize != "letterbox":
        del about["mean"]
    return {**about, "pillow": PIL.__version__, "simplejpeg": simplejpeg.__version__}


def _read(file: Path, stamp: bytes, out_HWC: np.ndarray) -> bool:
    """Fill an array from a file, if that is whole and of this stamp; else it holds anything."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        head = bytearray(_HEAD)
        pixels = memoryview(out_HWC.data).cast("B")
        # One byte more would show that it is longer.
        found = os.readv(handle, [head, pixels, bytearray(1)])
    except OSError:
        return False
    finally:
        os.close(handle)
    whole = found == _HEAD + len(pixels) and head[:16] == stamp
    return whole and _checksum(stamp, pixels) == head[16:]


def _checksum(stamp: bytes, pixels: memoryview) -> bytes:
    return zlib.crc32(pixels, zlib.crc32(stamp)).to_bytes(4, "little")


def _write(file: Path, stamp: bytes, out_HWC: np.ndarray) -> bool:
    """Keep a square; False where it cannot be kept, as on a full disk: then pictures are prepared each time."""
    pixels = memoryview(out_HWC.data).cast("B")
    temporary = file.with_name(f".{file.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Without waiting for the disk: what a power cut leaves fails its checksum.
        with temporary.open("wb") as handle:
            handle.writelines((stamp, _checksum(stamp, pixels), pixels))
        temporary.replace(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True
