"""Locks between processes that share a feature bank; the system gives them back however a process ends."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: no locks; runs at once compute the same twice, without damage
    fcntl = None  # type: ignore[assignment]

KEY_BYTES = 16


class FileLock:
    """A lock on a file, until it is released, collected, or the process ends.

    Where the file system knows no locks, or the file cannot be written, it is held without effect.

    Args:
        path: of the file; made where it is missing.
        shared: several may hold it together.
        wait: until it is free; else ``held`` says whether it was.
    """

    def __init__(self, path: Path, shared: bool = False, wait: bool = True) -> None:
        self.held = True
        self.release: Callable[[], Any] = lambda: None
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
            # What another user made can be locked without writing to it.
            with suppress(OSError):
                self._handle = os.open(path, flags, 0o666)
                break
        else:
            return
        self.release = weakref.finalize(self, _release, self._handle, os.getpid())
        self._take(shared, wait)

    def _take(self, shared: bool, wait: bool) -> None:
        if fcntl is None:  # pragma: no cover
            return
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._handle, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self.held = False
        except OSError:
            return

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _release(handle: int, owner: int) -> None:
    # A process that was forked since shares the lock: only its owner gives it back.
    if fcntl is not None and os.getpid() == owner:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


class Claims:
    """The images that this process is computing, named where other processes with the same bank see them.

    Where they cannot be written (a full disk), another process may compute the same images; nothing is damaged.

    Args:
        folder: of the bank.
        missing: says which of some keys are not in the bank yet.

    Attributes:
        ignores_others: take what others claim too.
    """

    def __init__(self, folder: Path, missing: Callable[[list[bytes]], list[bytes]]) -> None:
        self.ignores_others = False
        self._missing = missing
        self._mutex = folder / "lock"
        self._all = folder / "claims"
        with FileLock(self._mutex), suppress(OSError):
            self._all.mkdir(exist_ok=True)
        self._file = self._all / f"{os.getpid()}-{secrets.token_hex(4)}"
        with FileLock(self._mutex):
            self._lock = FileLock(self._file)

    def take(self, keys: list[bytes]) -> list[bytes]:
        """Those of the keys that are missing and that no other process has claimed; claimed by this one from now on."""
        with FileLock(self._mutex):
            missing = self._missing(keys)
            others = set() if self.ignores_others else self._others()
            free = [key for key in missing if key not in others]
            with suppress(OSError), self._file.open("ab") as handle:
                handle.write(b"".join(free))
        return free

    def all_taken(self, keys: list[bytes]) -> bool:
        """Whether other processes are computing all of these."""
        with FileLock(self._mutex):
            return self._others().issuperset(keys)

    def drop(self) -> None:
        """Claim nothing any more."""
        with FileLock(self._mutex), suppress(OSError):
            self._file.write_bytes(b"")

    def _others(self) -> set[bytes]:
        found: set[bytes] = set()
        for path in self._all.glob("*"):
            if path == self._file:
                continue
            with FileLock(path, wait=False) as lock, suppress(OSError):
                if lock.held:
                    # Its process has ended.
                    path.unlink()
                    continue
                claimed = path.read_bytes()
                found.update(claimed[at : at + KEY_BYTES] for at in range(0, len(claimed), KEY_BYTES))
        return found

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._file.unlink()
        self._lock.release()
