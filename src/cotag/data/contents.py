"""The bytes of an image, wherever it is: the one place that turns a reference into them."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

from cotag.data.parquet_cells import read_cell
from cotag.data.remote import read_address
from cotag.data.tar_shards import read_member
from cotag.errors import ImageError
from cotag.types.places import is_address, split_part


def read_image(place: str | os.PathLike[str], where: str) -> bytes:
    """The bytes of an image file, of a part of a shard, or behind an address; see ``cotag.types.places``.

    Args:
        where: names the image in messages.

    Raises:
        ImageError: there is no such image, it is empty, no plain file, not readable, or cut short with its shard.
        MissingExtra: what speaks the protocol of an address is not installed.
    """
    part = split_part(place)
    if part is not None:
        data = (read_member if part[0] == "tar" else read_cell)(part[1], part[2], where)
    elif is_address(place):
        data = read_address(os.fspath(place), where)
    else:
        try:
            with _open(place, where) as stream:
                return stream.read()
        except OSError as error:
            raise _unreadable(where, error) from error
    return _require_some(data, where)


def open_image_bytes(place: str | os.PathLike[str], where: str) -> BinaryIO:
    """The bytes of an image as a stream, of which a file is read no further than it is asked for.

    Raises:
        ImageError: as ``read_image``.
    """
    if split_part(place) is None and not is_address(place):
        return _open(place, where)
    return io.BytesIO(read_image(place, where))


def _open(path: str | os.PathLike[str], where: str) -> BinaryIO:
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            what = "a folder" if stat.S_ISDIR(about.st_mode) else "no plain file"
            raise ImageError(f"{where}: is {what}; give the path of an image")
        if about.st_size == 0:
            _require_some(b"", where)
        return Path(path).open("rb")
    except FileNotFoundError:
        raise ImageError(f"{where}: there is no such file; correct the path or take it out") from None
    except PermissionError:
        raise ImageError(f"{where}: may not be read; allow it (chmod +r) or take it out") from None
    except (OSError, ValueError) as error:
        raise _unreadable(where, error) from error


def _require_some(data: bytes, where: str) -> bytes:
    if not data:
        raise ImageError(f"{where}: is empty (0 bytes); fetch the file again or take it out")
    return data


def _unreadable(where: str, error: Exception) -> ImageError:
    reason = getattr(error, "strerror", None) or str(error)
    return ImageError(f"{where}: cannot be read ({reason}); correct the path or take it out")
