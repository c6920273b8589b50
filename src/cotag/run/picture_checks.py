"""Settings of augmented and mixed pictures that contradict each other, refused before any work is done."""

from __future__ import annotations

from cotag.data.augmentations import build_augmentations
from cotag.errors import SettingError, listing, suggestion
from cotag.recipe import Recipe
from cotag.registry import LOSSES, MIXTURES

NO_MIX = "none"


def check_pictures(recipe: Recipe) -> None:
    """Refuse augmentations and mixtures that cannot be, and settings that this way of fitting would not use.

    Raises:
        SettingError: names the setting, and the nearest that there is or what to do.
    """
    data = recipe.data
    build_augmentations(data.augment)
    _check_mixture(recipe)
    if data.bad_images == "substitute" and recipe.train.mode == "features":
        raise SettingError(
            "data.bad_images = substitute: features are computed of each image once; choose skip, or set "
            "train.mode=end_to_end"
        )
    if data.cache is not None and recipe.train.mode == "features":
        raise SettingError(
            f"data.cache = {data.cache}: on features the feature bank keeps what pictures give; leave it out, or set "
            "train.mode=end_to_end"
        )
    if data.cache is not None and not data.cache.strip():
        raise SettingError("data.cache: is empty; name a folder, or auto, or leave it out")
    if data.views == "auto":
        return
    if recipe.train.mode == "end_to_end":
        raise SettingError(
            f"data.views = {data.views}: end to end each epoch augments anew; leave it out, or set train.mode=features"
        )
    if not data.augment:
        raise SettingError(
            f"data.views = {data.views}: without data.augment all views are the same; name augmentations"
        )


def _check_mixture(recipe: Recipe) -> None:
    data, loss = recipe.data, recipe.train.loss
    if data.mix == NO_MIX:
        if data.mix_args:
            raise SettingError("data.mix_args: data.mix = none does not use them; leave them out, or set data.mix")
        return
    if data.mix not in MIXTURES.entries:
        raise SettingError(f"data.mix = {data.mix!r} is not known{suggestion(data.mix, [NO_MIX, *MIXTURES.names()])}")
    MIXTURES.build(data.mix, **data.mix_args)
    if recipe.train.mode == "features":
        raise SettingError(
            f"data.mix = {data.mix}: mixes pictures, and features are computed of one at a time; leave it out, or set "
            "train.mode=end_to_end"
        )
    if not takes_shares(loss):
        others = listing(name for name in LOSSES.names() if takes_shares(name))
        raise SettingError(
            f"data.mix = {data.mix}: gives targets between 0 and 1, which loss {loss} does not take; leave it out, or "
            f"set train.loss to {others}"
        )


def takes_shares(loss: str) -> bool:
    """Whether the loss of this name takes targets between 0 and 1; see ``cotag.training.losses.loss``."""
    return bool(getattr(LOSSES.get(loss), "takes_shares", False))
