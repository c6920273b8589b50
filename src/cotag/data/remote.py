"""Bytes behind an address that fsspec knows, asked for again where a try fails."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from cotag.errors import ImageError, MissingExtra, SettingError

Found = TypeVar("Found")

TRIES, WAIT = "COTAG_TRIES", "COTAG_RETRY_SECONDS"
SECONDS = 60
"""How long one answer over http may take."""
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError, NotImplementedError)
# Of what a web server refuses, these may be granted later: too slow, too early, too often.
_PASSING = (408, 425, 429)


def read_address(address: str, where: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of an address, or of a part of it.

    Args:
        where: names it in messages.
        start, end: of the part.

    Raises:
        ImageError: it is not there, may not be read, or no try succeeded.
        MissingExtra: what speaks its protocol is not installed.
    """

    data = trying(address, where, lambda system, path: bytes(system.cat_file(path, start=start, end=end)))
    # A server that knows no ranges sends all.
    return data[start:end] if end is not None and len(data) > end - (start or 0) else data


class RemoteFile(io.RawIOBase):
    """The bytes behind an address as a file to be read, each part asked for again where a try fails.

    Args:
        address: of a file whose size is told.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address, self._place = address, 0
        self._size = int(about(address, address).get("size") or 0)
        self._all: bytes | None = None if self._size else read_address(address, address)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self._size if self._all is None else len(self._all)
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        start, end = self._place, self._place + len(buffer)
        if self._all is None:
            end = max(start, min(end, self._size))
            data = trying(
                self._address, self._address, lambda system, path: bytes(system.cat_file(path, start=start, end=end))
            )
            if len(data) > end - start:
                # The server knows no ranges and sent all; it need not do so again.
                self._all = data
        if self._all is not None:
            data = self._all[start:end]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def trying(address: str, where: str, use: Callable[[Any, str], Found]) -> Found:
    """What ``use`` makes of an address's file system and path there.

    It is tried ``$COTAG_TRIES`` times (4), with ``$COTAG_RETRY_SECONDS`` (0.5) before the second try and twice as much
    before each further one; what is not there or not allowed is not asked for again.

    Raises:
        ImageError: no try succeeded; names the address, the number of tries and the last reason.
        MissingExtra: what speaks the protocol is not installed.
    """
    tries, wait = patience()
    for made in range(1, tries + 1):
        try:
            return use(*_located(address))
        except FileNotFoundError:
            raise ImageError(f"{where}: there is no such file; correct the address or take it out") from None
        except ImportError as error:
            raise MissingExtra(
                f"{where}: needs what is not installed ({error}); install it, or: pip install 'cotag[remote]'"
            ) from None
        # Each protocol has errors of its own: aiohttp's, botocore's, those of sockets.
        except Exception as error:
            if made == tries or _is_final(error):
                raise ImageError(
                    f"{where}: could not be fetched in {made} {'try' if made == 1 else 'tries'} ({_said(error)}); "
                    f"check the address and the network, or raise {TRIES}"
                ) from error
        time.sleep(wait * 2 ** (made - 1))
    raise AssertionError


def patience() -> tuple[int, float]:
    """How many tries an address gets, and how many seconds pass before the second.

    Raises:
        SettingError: the environment says something else than such numbers.
    """
    given = os.environ.get(TRIES, "4"), os.environ.get(WAIT, "0.5")
    try:
        tries, wait = int(given[0]), float(given[1])
    except ValueError:
        tries, wait = 0, 0.0
    if tries < 1 or not 0 <= wait <= 3600:
        raise SettingError(
            f"{TRIES} = {given[0]!r}, {WAIT} = {given[1]!r}: must be a whole number from 1 and seconds from 0 to 3600; "
            "unset them for 4 and 0.5"
        )
    return tries, wait


def _located(address: str) -> tuple[Any, str]:
    """The file system of an address, which fsspec keeps for each process, and the path there."""
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if address.startswith(("http://", "https://")):
        import aiohttp

        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=SECONDS)}
    system, path = url_to_fs(address, **options)
    return system, path


def _is_final(error: Exception) -> bool:
    """Whether asking again would bring the same."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status not in _PASSING
    return isinstance(error, _FINAL)


def _said(error: Exception) -> str:
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return f"{status} {getattr(error, 'message', '')}".strip()
    return " ".join(str(error).split())[:200] or type(error).__name__


def about(address: str, where: str) -> dict[str, Any]:
    """What the file system says of an address, ``size`` among it.

    Raises:
        ImageError: it cannot be asked for.
    """
    found: dict[str, Any] = trying(address, where, lambda system, path: system.info(path))
    return found


def stamp_of(address: str, where: str) -> str:
    """What is known to change when the content of an address does: its size, and mark or time where they are told.

    Raises:
        ImageError: it cannot be asked for.
    """
    found = about(address, where)
    keys = ("size", "ETag", "Last-Modified", "LastModified", "etag", "mtime", "updated", "created", "modified")
    return repr([(key, str(found[key])) for key in keys if found.get(key) is not None])
