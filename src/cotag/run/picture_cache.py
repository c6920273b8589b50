"""The cache of resized pictures of a run: where it is, and how much it will take."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sized

from cotag.data.augmentations import build_augmentations
from cotag.data.square_cache import SquareCache, keeps
from cotag.data.transforms import Preprocessing
from cotag.errors import StorageError
from cotag.recipe import Recipe
from cotag.storage import cache_folder
from cotag.training.bank_space import told
from cotag.types.progress import Progress

AUTO = "auto"


def picture_cache(preprocessing: Preprocessing, recipe: Recipe) -> SquareCache | None:
    """What ``data.cache`` asks for."""
    given = recipe.data.cache
    if given is None:
        return None
    return SquareCache(cache_folder("pictures") if given == AUTO else given, preprocessing)


def announce_cache(
    preprocessing: Preprocessing, recipe: Recipe, roles: Mapping[str, Sized], progress: Progress
) -> None:
    """Say what the cache will take on disk, and what it cannot keep.

    Args:
        roles: the rows that train and that judge, by role.

    Raises:
        StorageError: the disk has less free.
    """
    cache = picture_cache(preprocessing, recipe)
    if cache is None:
        return
    augmentations = build_augmentations(recipe.data.augment, preprocessing.image_size)
    kept = {role: 2 if role == "train" and augmentations else 1 for role in roles}
    if not keeps(augmentations):
        kept["train"] = 0
        progress.say(
            "data.cache: data.augment changes pictures before they are resized, so those that train are prepared each "
            "time; those that judge are kept"
        )
    squares = sum(len(rows) * kept[role] for role, rows in roles.items())
    missing = max(0, squares - cache.count()) * cache.bytes
    free = shutil.disk_usage(cache.folder).free
    progress.say(
        f"pictures: up to {squares:,} squares of {told(cache.bytes)}, {told(missing)} of them still to be written in "
        f"{cache.folder}; {told(free)} free"
    )
    if missing > free:
        raise StorageError(
            f"data.cache: {told(missing)} of pictures are still to be written in {cache.folder}, where {told(free)} "
            "are free; free space, name another folder, or leave data.cache out"
        )
