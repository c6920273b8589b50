"""Files that are written whole or not at all, and where Cotag keeps what it can make again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cotag.errors import OutputExists, StorageError

# Its lines are those of sha256sum, which can check them too.
SEAL = "sha256sums"
_LEFTOVER = re.compile(r"\.(.+)\.\d+-[0-9a-f]{8}\.(part|old)")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends well.

    When the block raises, the temporary file is removed, and whatever lay at ``path`` before is
    untouched; an error of the file system (a full disk, no permission) becomes a StorageError.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise _refusal(path, error) from error
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def whole_folder(path: str | os.PathLike[str], before: Path | None = None) -> Iterator[Path]:
    """Like ``whole_file`` for a folder: filled under a temporary name, then renamed.

    A folder that already lies at ``path`` is replaced only after the new one is complete.

    Args:
        before: beside ``path``; what the folder that lies there becomes. Without it that folder is removed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            _exchange(temporary, path, before)
        else:
            temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise _refusal(path, error) from error
    except StorageError as error:
        _remove(temporary)
        # nobody has seen the temporary name
        raise StorageError(str(error).replace(str(temporary), str(path))) from error
    except BaseException:
        _remove(temporary)
        raise


def _refusal(path: Path, error: OSError) -> StorageError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    other = "set COTAG_CACHE to another folder" if path.is_relative_to(_cache()) else "choose another --out"
    return StorageError(f"{path}: could not be written ({reason}); free space or {other}")


def _exchange(new: Path, path: Path, before: Path | None) -> None:
    """Put ``new`` in the place of ``path``, which becomes ``before`` or goes; or leave all as it was."""
    gone = new.with_suffix(".old")
    moves = [(path, gone if before is None else before), (new, path)]
    if before is not None and before.exists():
        gone = gone.with_name(gone.name.replace(path.name, before.name, 1))
        moves.insert(0, (before, gone))
    try:
        for source, target in moves:
            source.replace(target)
    except BaseException:
        # An interruption may come before or after the move that it hits.
        for source, target in reversed(moves):
            if target.exists() and not source.exists():
                target.replace(source)
        raise
    _remove(gone)


def seal(folder: Path) -> None:
    """Write down the SHA-256 of every file of a folder, once all of them are on the disk."""
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / SEAL:
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
                found = hashlib.file_digest(handle, "sha256").hexdigest()
            lines.append(f"{found}  {path.relative_to(folder).as_posix()}\n")
    write_text(folder / SEAL, "".join(lines))


def require_sealed(folder: Path) -> None:
    """Refuse a folder whose files are not to the bit those that ``seal`` saw.

    Raises:
        StorageError: a file was cut, altered or lost, or the folder was not sealed.
    """
    try:
        lines = [line.partition("  ") for line in (folder / SEAL).read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        raise StorageError(f"{folder}: is damaged ({SEAL} cannot be read)") from None
    if not lines:
        raise StorageError(f"{folder}: is damaged ({SEAL} is empty)")
    if not all(name for _, _, name in lines):
        raise StorageError(f"{folder}: is damaged ({SEAL} is not what was written)")
    for wanted, _, name in lines:
        try:
            with (folder / name).open("rb") as handle:
                found = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise StorageError(f"{folder}: is damaged ({name}: {error.strerror})") from None
        if found != wanted:
            raise StorageError(f"{folder}: is damaged ({name} is not what was written)")


def clear_leftovers(folder: str | os.PathLike[str]) -> None:
    """Clean up below a folder after a process that was killed while it wrote.

    What was half-written goes; a folder that was just being replaced comes back as it was.
    """
    for path in list(Path(folder).rglob(".*")):
        match = _LEFTOVER.fullmatch(path.name)
        if match is None or not path.exists():
            continue
        whole = path.with_name(match[1])
        if match[2] == "old" and not whole.exists():
            path.replace(whole)
        else:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def require_free(path: str | os.PathLike[str], force: bool) -> None:
    """Raise OutputExists where ``path`` holds something and ``force`` was not given."""
    path = Path(path)
    taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if taken and not force:
        raise OutputExists(f"{path}: exists already; give --force to overwrite it or choose another --out")


def cache_folder(name: str) -> Path:
    """The folder for things of one kind that can be made again: ``$COTAG_CACHE`` or ``~/.cache/cotag``."""
    return _cache() / name


def _cache() -> Path:
    base = os.environ.get("COTAG_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cotag"
