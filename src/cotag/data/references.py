"""Where a label file's images are: references checked against their root, and against what lies on the disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cotag.data.sources import PathLike, Source, require_folder
from cotag.errors import DataError, listing
from cotag.types.places import Place, is_address, split_part

MISSING = ("stop", "skip", "keep")
_ODD = r"^$|^/|\\|^[A-Za-z]:|//|(^|/)\.{1,2}(/|$)"


def images_root(images: PathLike) -> Place:
    """The folder that the option ``images`` names, or the address.

    Raises:
        DataError: it is a folder that is not there.
    """
    return os.fspath(images) if is_address(images) else images_folder(images)


def images_folder(images: PathLike) -> Path:
    """The folder that the option ``images`` names.

    Raises:
        DataError: it is not there, or an address.
    """
    if is_address(images):
        raise DataError(f"{images}: is an address, in which this format cannot look for images; give a folder")
    return require_folder(images, "images=FOLDER, the folder that the image references start from")


def present(references: Sequence[str], folder: Place) -> np.ndarray:
    """Which references are files below ``folder``, by one listing of each folder; bool (N,).

    Of a part of a shard the shard is looked for; what is behind an address counts as present, as asking for each would
    take as long as an epoch. A name counts only as it is spelled on the disk, so that a data set that can be read on
    one system can be read on all.
    """
    listed: dict[str, set[str]] = {}
    found = np.zeros(len(references), dtype=bool)
    if isinstance(folder, str):
        return ~found
    for number, reference in enumerate(references):
        if is_address(reference):
            found[number] = True
            continue
        part = split_part(reference)
        parent, _, name = (part[1] if part else reference).rpartition("/")
        names = listed.get(parent)
        if names is None:
            names = listed[parent] = _files(folder / parent)
        found[number] = name in names
    return found


def _files(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as items:
            return {item.name for item in items if item.is_file()}
    except (OSError, ValueError):  # ValueError: a zero byte in a name
        return set()


def best_folder(references: Sequence[str], folders: Sequence[Place]) -> Place:
    """The first of the folders that holds all references, or else the one that holds most."""
    plain = [reference for reference, odd in zip(references, _odd(references), strict=True) if not odd]
    best, most = folders[0], 0
    for folder in folders:
        count = int(present(plain, folder).sum()) if isinstance(folder, str) or folder.is_dir() else 0
        if count > most:
            best, most = folder, count
        if most == len(plain):
            break
    return best


def _odd(references: Sequence[str]) -> np.ndarray:
    """References that are not plainly a path below their folder; bool (N,)."""
    return np.asarray(pc.match_substring_regex(pa.array(references, pa.string()), _ODD).to_numpy(zero_copy_only=False))


def inside(references: Sequence[str], folder: Place, root: Place, base: Path, source: Source) -> list[str]:
    """The references as relative to ``root``, with ``/`` between folders.

    A relative reference starts from ``folder``; one that climbs out of it (``../x.jpg``) from ``base``, where the
    label file lies, and must arrive inside ``root``; so must an absolute one. The check is by names alone:
    symbolic links inside the root may lead anywhere. Addresses stay as they are.

    Args:
        references: N references as the label file has them.
        folder: where plain references start, ``root`` or below it.

    Raises:
        DataError: a reference is empty or leaves the root.
    """
    if isinstance(folder, str) or isinstance(root, str):
        return _below_address(references, folder, source)
    prefix = Path(os.path.relpath(folder, root)).as_posix()
    before = "" if prefix == "." else prefix + "/"
    found = [before + reference for reference in references] if before else list(references)
    for row in np.flatnonzero(_odd(references)).tolist():
        address = is_address(references[row])
        found[row] = references[row] if address else _resolved(references[row], folder, root, base, source, row)
    return found


def _below_address(references: Sequence[str], root: Place, source: Source) -> list[str]:
    """References to what is below an address, none of which may leave it."""
    for row in np.flatnonzero(_odd(references)).tolist():
        if not is_address(references[row]):
            raise source.error(
                row,
                f"image {references[row]!r} is not plainly below the root {str(root)!r}; write it as folder/name.jpg",
            )
    return list(references)


def _resolved(reference: str, folder: Path, root: Path, base: Path, source: Source, row: int) -> str:
    if not reference.strip():
        raise source.error(row, "the image reference is empty; name the image or remove the row")
    path = os.path.normpath(reference)
    climbs = path == ".." or path.startswith(".." + os.sep)
    full = _absolute((base if climbs else folder) / path)
    top = _absolute(root)
    if full != top and full.is_relative_to(top):
        return full.relative_to(top).as_posix()
    way = "images=/" if Path(reference).is_absolute() else "images=FOLDER, a folder that holds it"
    raise source.error(row, f"image {reference!r} is outside the root {str(root)!r}; read with {way}")


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def missing_error(names: Sequence[str], count: int, file: Path, folders: Sequence[Place]) -> DataError:
    """The error for images that are not there.

    Args:
        names: the missing references.
        count: how many references there are.
        folders: where was looked.
    """
    verb = "is" if len(names) == 1 else "are"
    return DataError(
        f"{file}: {len(names)} of {count} images {verb} missing, first {listing([repr(name) for name in names[:5]])}; "
        f"looked in {listing(map(str, dict.fromkeys(folders)))}; read with images=FOLDER where they are, "
        "missing=skip to leave them out, or missing=keep for their labels alone"
    )
