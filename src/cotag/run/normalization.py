"""What pixels are normalized by: numbers, the model's own, ImageNet's, or those of the images that train."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from cotag.data.scan import scan
from cotag.data.splits import Roles
from cotag.errors import ImageError, SettingError
from cotag.recipe import Recipe
from cotag.run.training_counts import training_roles
from cotag.storage import cache_folder, write_json
from cotag.training.image_digests import digest_images
from cotag.types.index import Index
from cotag.types.progress import Progress

Numbers = tuple[float, float, float]
IMAGENET: dict[str, Numbers] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Their means differ by about 0.15, so that the mean of so many is known to 0.003.
SAMPLE, DIGITS = 2000, 5


def given_numbers(recipe: Recipe, name: str) -> Numbers | None:
    """``data.mean`` or ``data.std`` as numbers; None for the backbone's own.

    Raises:
        SettingError: they are those of the data, which were not looked at.
    """
    given = getattr(recipe.data, name)
    if given == "data":
        raise SettingError(f"data.{name} = data: the pixels of the data are not known here; give 3 numbers")
    if given == "imagenet":
        return IMAGENET[name]
    return None if given in (None, "model") else tuple(given)


def with_numbers(recipe: Recipe, index: Index, roles: Roles, progress: Progress) -> Recipe:
    """The recipe with numbers, or null for the backbone's own, in place of names; says what was computed.

    Those of the data are of the images that train in the end: mean and standard deviation of all their pixels, at
    their own size, rounded to 5 digits; of a sample where there are more than 2,000. Once computed they are kept.

    Raises:
        ImageError: none of these images can be read.
        SettingError: all their pixels are the same.
    """
    computed: dict[str, Numbers] = {}
    if "data" in (recipe.data.mean, recipe.data.std):
        rows = np.sort(np.concatenate([getattr(roles, role) for role in training_roles(recipe)]))
        sample = rows if len(rows) <= SAMPLE else np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
        computed = _pixels_of(index, sample, progress)
        shown = "; ".join(f"{name} {' '.join(f'{value:.3f}' for value in computed[name])}" for name in IMAGENET)
        some = "" if len(sample) == len(rows) else f"a seeded sample of {len(sample):,} of "
        progress.say(f"pixels: {shown}, of {some}the {len(rows):,} images that train")
    found = {
        name: computed[name] if getattr(recipe.data, name) == "data" else given_numbers(recipe, name)
        for name in IMAGENET
    }
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=found)})


def _pixels_of(index: Index, rows: np.ndarray, progress: Progress) -> dict[str, Numbers]:
    """Mean and standard deviation of the pixels of some images; those that cannot be read are left out."""
    digests, _ = digest_images(index, rows, "skip", progress)
    path = _kept_in(sorted(digests.values()))
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text("utf-8"))
        return {name: tuple(float(value) for value in kept[name]) for name in IMAGENET}  # type: ignore[misc]
    seen = scan(index.subset(rows), progress=progress, most=len(rows))
    if not seen.decoded:
        reasons = list(seen.unreadable.values())
        raise ImageError(f"data.mean = data: none of {len(rows)} images can be read; the first: {reasons[0]}")
    means, deviations = (values.round(DIGITS) for values in seen.moments())
    if deviations.min() <= 0:
        raise SettingError(
            "data.std = data: a channel has the same value in all pixels of the images that train; give 3 numbers, or "
            "set imagenet or model"
        )
    found = {"mean": means.tolist(), "std": deviations.tolist()}
    write_json(path, {**found, "images": seen.decoded})
    return {name: tuple(values) for name, values in found.items()}


def _kept_in(digests: list[bytes]) -> Path:
    key = hashlib.blake2b(b"".join(digests), digest_size=8).hexdigest()
    return cache_folder("pixels") / f"{key}.json"
