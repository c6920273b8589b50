"""The feature bank on disk: parts of features, found by the digest of what they were computed from.

A bank is a folder named by all that determines the features; ``about.json`` says it in full. In it lie parts, each
written whole: an array of features, an array of the keys that they belong to, and ``part.json`` with the shape, the
kind of number and the checksum of both. A part is checked before its first use in a process; one that is cut or
changed is removed and its images are computed anew. Processes may share a bank: each writes parts of its own, and
what one wrote the others find.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cotag.errors import StorageError, listing
from cotag.storage import clear_leftovers, whole_folder, write_json
from cotag.training.bank_lock import KEY_BYTES, FileLock
from cotag.training.stored_rows import StoredRows
from cotag.types.progress import Progress

FEATURES, DIGESTS, PART = "features.npy", "digests.npy", "part.json"
READ_BYTES = 1 << 24


class FeatureBank:
    """Features by key; a key is the digest of an image file, or of that and the number of an augmented view.

    Args:
        folder: where the parts lie.
        dtype: of the features.
        shape: of one image's features; None for a size that the bank does not know beforehand.
        use: the lock that says that the bank is in use.
    """

    def __init__(self, folder: Path, dtype: Any, shape: tuple[int | None, ...], use: FileLock | None = None) -> None:
        self.folder, self.dtype, self.shape = folder, np.dtype(dtype), shape
        self.refused: list[str] = []
        self._use = use
        self._names: list[str] = []
        self._arrays: list[np.ndarray] = []
        self._unchecked: set[int] = set()
        self._places: dict[bytes, tuple[int, int]] = {}
        self._seen: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Find the parts that were added since, by whom ever."""
        for part in sorted(path for path in self.folder.glob("part-*") if path.name not in self._seen):
            self._seen.add(part.name)
            self._open(part)

    def _open(self, part: Path, checked: bool = False) -> None:
        try:
            about, keys = _read_part(part)
            features = np.load(part / FEATURES, mmap_mode="r")
            self._require_fit(about, keys, features)
        except FileNotFoundError as error:
            if part.is_dir():
                self._refuse(part, f"{Path(error.filename).name} is missing")
        except PermissionError as error:
            self.refused.append(f"{part}: could not be read ({error.strerror})")
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self._refuse(part, str(error).splitlines()[0])
        else:
            self.shape = features.shape[1:]
            number = len(self._arrays)
            self._names.append(part.name)
            self._arrays.append(np.asarray(features))
            if not checked:
                self._unchecked.add(number)
            for row in range(len(keys)):
                self._places.setdefault(keys[row].tobytes(), (number, row))

    def _require_fit(self, about: dict[str, Any], keys: np.ndarray, features: np.ndarray) -> None:
        told = (tuple(about["shape"]), about["dtype"])
        if (features.shape, features.dtype.name) != told or len(keys) != len(features):
            raise ValueError(f"features {features.shape} {features.dtype} where {told[0]} {told[1]} were written")
        shape = features.shape[1:]
        fits = len(shape) == len(self.shape) and all(
            a in (None, b) for a, b in zip(self.shape, shape, strict=True)
        )  # fmt: skip
        if features.dtype != self.dtype or not fits:
            wanted = " x ".join("?" if size is None else str(size) for size in self.shape)
            raise ValueError(f"features {shape} {features.dtype} where {wanted} {self.dtype} are wanted")

    def _refuse(self, part: Path, reason: str) -> None:
        """Remove a part that is of no use."""
        self.refused.append(f"{part}: {reason}")
        shutil.rmtree(part, ignore_errors=True)

    def missing(self, keys: list[bytes]) -> list[bytes]:
        """Those of the keys that are in no part; parts that hold some of the others are checked first."""
        self.refresh()
        used = {self._places[key][0] for key in keys if key in self._places} & self._unchecked
        bad = {number for number in used if not self._is_whole(number)}
        self._unchecked -= used
        if bad:
            self._places = {key: place for key, place in self._places.items() if place[0] not in bad}
            for number in bad:
                self._refuse(self.folder / self._names[number], "its content changed since it was written")
        return [key for key in keys if key not in self._places]

    def _is_whole(self, number: int) -> bool:
        part = self.folder / self._names[number]
        try:
            return bool(json.loads((part / PART).read_text())["features"] == _checksum(part / FEATURES))
        except (OSError, ValueError, KeyError):
            return False

    def add(self, keys: list[bytes], features: np.ndarray) -> None:
        """Write one part: N keys of 16 bytes and their features (N, ...).

        Raises:
            StorageError: it could not be written; nothing half-written remains.
        """
        part = self.folder / f"part-{secrets.token_hex(8)}"
        self._seen.add(part.name)
        digests = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        with whole_folder(part) as temporary:
            _write(temporary / FEATURES, features)
            _write(temporary / DIGESTS, digests)
            sums = {"features": _checksum(temporary / FEATURES), "digests": _checksum(temporary / DIGESTS)}
            write_json(temporary / PART, {"shape": features.shape, "dtype": features.dtype.name, **sums})
        self._open(part, checked=True)

    def rows(self, keys: list[bytes]) -> StoredRows:
        """The features of keys that are all in the bank; they stay on disk until they are read."""
        places = np.array([self._places[key] for key in keys], dtype=np.int32).reshape(-1, 2)
        shape = tuple(size or 0 for size in self.shape)
        return StoredRows(list(self._arrays), places, shape, self.dtype, self._use)

    def said(self) -> str:
        """What was refused since the last time, in one line; empty where nothing was."""
        refused, self.refused = self.refused, []
        return f"features: not used, computed anew: {listing(refused, 3)}" if refused else ""


def open_bank(
    folder: Path, about: dict[str, Any], dtype: Any, shape: tuple[int | None, ...], progress: Progress
) -> FeatureBank:
    """The bank in a folder, made where there is none, and marked as in use as long as it or its rows live.

    A folder that says of itself to be of other features, or does not say of what, is set aside and not used.

    Raises:
        StorageError: the folder cannot be made.
    """
    told = json.loads(json.dumps(about))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder.parent}: could not be made ({error.strerror}); set COTAG_CACHE to another folder"
        ) from error
    with FileLock(folder.parent / "lock"):
        if folder.is_dir() and (reason := _other_than(told, folder)):
            aside = folder.with_name(f"{folder.name}-other-{secrets.token_hex(4)}")
            folder.replace(aside)
            progress.say(f"features: {folder} {reason}; set aside as {aside.name} and not used")
        if not folder.is_dir():
            write_json(folder / "about.json", told)
        with FileLock(folder / "in-use", wait=False) as alone:
            if alone.held:
                clear_leftovers(folder)
        use = FileLock(folder / "in-use", shared=True)
        with suppress(OSError):
            os.utime(folder / "in-use")
    return FeatureBank(folder, dtype, shape, use)


def _other_than(about: dict[str, Any], folder: Path) -> str:
    """In which way the features in a folder are not those of ``about``."""
    try:
        found = json.loads((folder / "about.json").read_text())
    except FileNotFoundError:
        return "has no about.json that says what its features are of" if any(folder.iterdir()) else ""
    except (OSError, ValueError):
        return "has an about.json that cannot be read"
    if not isinstance(found, dict):
        return "has an about.json that is no object"
    other = [name for name in about if found.get(name) != about[name]]
    return f"holds features of other {listing(other)} (about.json)" if other else ""


def _read_part(part: Path) -> tuple[dict[str, Any], np.ndarray]:
    """What a part says of itself, and its keys (N, 16), which are checked."""
    about = json.loads((part / PART).read_text())
    if _checksum(part / DIGESTS) != about["digests"]:
        raise ValueError(f"{DIGESTS} changed since it was written")
    return about, np.load(part / DIGESTS)


def _checksum(path: Path) -> str:
    """CRC-32 of a file: against damage by accident, as fast as the file can be read."""
    total = 0
    with path.open("rb") as handle:
        while piece := handle.read(READ_BYTES):
            total = zlib.crc32(piece, total)
    return f"{total:08x}"


def _write(path: Path, array: np.ndarray) -> None:
    """Write an array by plain writes, whose errors say why (numpy's own say only how many bytes were written)."""
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(array))
        handle.write(np.ascontiguousarray(array).data)
