"""How much room the feature banks take: said before it is taken, and kept within ``COTAG_CACHE_LIMIT``."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from cotag.errors import SettingError, StorageError
from cotag.training.bank_lock import FileLock
from cotag.types.progress import Progress

GB = 1e9
UNITS = ((GB, "GB"), (1e6, "MB"), (1e3, "kB"))
LIMIT = "COTAG_CACHE_LIMIT"


def cache_limit() -> float:
    """The most bytes that all feature banks together may take: ``$COTAG_CACHE_LIMIT`` GB, without it no limit.

    Raises:
        SettingError: it is not a number above 0.
    """
    given = os.environ.get(LIMIT, "")
    try:
        limit = float(given) if given else math.inf
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise SettingError(f"{LIMIT} = {given!r}: must be a number of GB above 0; unset it for no limit")
    return limit * GB


def make_room(folder: Path, images: int, shape: tuple[int, ...], item_bytes: int, progress: Progress) -> None:
    """Say what features will take, remove the banks that were used least recently where there is a limit.

    Args:
        folder: of the bank that will grow; the other banks lie beside it.
        images: how many will be computed.
        shape: of the features of one image.
        item_bytes: of one number.

    Raises:
        StorageError: the disk has less free, or the limit does not allow it.
    """
    wanted = images * math.prod(shape) * item_bytes
    limit, own = cache_limit(), size_of(folder)
    if own + wanted > limit:
        raise StorageError(
            f"features: {images:,} images need {told(wanted)} beside the {told(own)} that are in {folder}, above "
            f"{LIMIT} = {limit / GB:g} GB; raise the limit, or choose a head on pooled features or a smaller image_size"
        )
    if limit < math.inf:
        _keep_within(limit - own - wanted, limit, folder, progress)
    free = shutil.disk_usage(folder).free
    times = " x ".join(f"{size}" for size in shape)
    progress.say(f"features: {images:,} images x {times}, {told(wanted)} in {folder}; {told(free)} free")
    if wanted > free:
        others = sum(size_of(bank) for bank in banks_beside(folder))
        spare = f" (other feature banks in {folder.parent} hold {told(others)})" if others else ""
        raise StorageError(
            f"features: {images:,} images need {told(wanted)} in {folder}, where {told(free)} are free; "
            f"free space{spare} or set COTAG_CACHE to another folder"
        )


def _keep_within(allowed: float, limit: float, folder: Path, progress: Progress) -> None:
    """Remove other banks, the one not used for longest first, until the rest takes at most ``allowed`` bytes."""
    sizes = {bank: size_of(bank) for bank in banks_beside(folder)}
    for bank in sorted(sizes, key=last_use):
        if sum(sizes.values()) <= allowed:
            return
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(last_use(bank)))
        if remove_unused(bank):
            progress.say(
                f"features: removed {bank} ({told(sizes.pop(bank))}, last used {used}) to stay within "
                f"{LIMIT} = {limit / GB:g} GB"
            )
    if sum(sizes.values()) > allowed:
        raise StorageError(
            f"features: other runs use feature banks of {told(sum(sizes.values()))} in {folder.parent}, so that "
            f"{LIMIT} = {limit / GB:g} GB does not suffice; wait for them or raise the limit"
        )


def banks_beside(folder: Path) -> list[Path]:
    """The other feature banks in the same place."""
    return [path for path in folder.parent.iterdir() if path.is_dir() and path != folder]


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def last_use(bank: Path) -> float:
    """When a bank was last opened, in seconds since 1970."""
    for name in ("in-use", "about.json"):
        with suppress(OSError):
            return (bank / name).stat().st_mtime
    return 0.0


def remove_unused(bank: Path) -> bool:
    """Remove a bank that no process has open; False where one has."""
    with FileLock(bank.parent / "lock"), FileLock(bank / "in-use", wait=False) as use:
        if not use.held:
            return False
        gone = bank.with_name(f"removed-{secrets.token_hex(4)}")
        try:
            bank.replace(gone)
        except OSError:
            return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def told(size: float) -> str:
    """A number of bytes in words."""
    unit, name = next(((unit, name) for unit, name in UNITS if size >= unit / 10), UNITS[-1])
    return f"{size / unit:.1f} {name}"
