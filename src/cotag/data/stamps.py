"""What changes with the file of an image, so that what was made of it is not taken for what it is now."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from cotag.types.places import Place, is_address, split_part

SETTLED = 2.0
"""A file that changed in these last seconds may change again and carry the same time."""


def stamp_of_file(place: Place) -> bytes:
    """16 bytes of size, times and inode of the file that holds an image; empty where they cannot be asked for."""
    about = _about(place)
    if about is None:
        return b""
    told = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"
    return hashlib.blake2b(told.encode(), digest_size=16).digest()


def is_settled(place: Place, stamp: bytes, seconds: float) -> bool:
    """Whether the file still has this stamp, and did not change in the last seconds."""
    about = _about(place)
    if about is None:
        return False
    return stamp == stamp_of_file(place) and max(about.st_mtime, about.st_ctime) < time.time() - seconds


def file_of(place: Place) -> str:
    """The file or address that holds an image: of a member of a shard, the shard."""
    part = split_part(place)
    return part[1] if part is not None else os.fspath(place)


def _about(place: Place) -> os.stat_result | None:
    file = file_of(place)
    if is_address(file):
        return None
    try:
        return Path(file).stat()
    except OSError:
        return None
