"""How fast pictures are read, decoded and resized, and how fast the loader hands them over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cotag.data.augmentations import build_augmentations
from cotag.data.decoding import decoded
from cotag.data.images import location
from cotag.data.loader import ImageRows, Loader
from cotag.data.read import read
from cotag.data.splits import Roles, assign_roles
from cotag.data.transforms import Preprocessing
from cotag.data.workers import worker_count
from cotag.errors import ImageError
from cotag.models.tagger import Tagger
from cotag.recipe import Recipe
from cotag.run.bench.advice import input_advice
from cotag.run.bench.stages import Measured, Stage, paced, rounds
from cotag.run.checks import check_recipe
from cotag.run.loaders import training_loader
from cotag.run.model import label_knowledge, make_tagger
from cotag.run.normalization import with_numbers
from cotag.run.roles import require_positives
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent

SAMPLE = 32


@dataclass(frozen=True)
class Ready:
    """What a run of a recipe on data begins with."""

    recipe: Recipe
    index: Index
    roles: Roles
    tagger: Tagger


def make_ready(data: str, recipe: str, overrides: Sequence[str], progress: Progress) -> Ready:
    """Read the data, and make an untrained tagger, as a run would.

    Raises:
        CotagError: as a run.
    """
    settings = Recipe.load(recipe, overrides)
    check_recipe(settings)
    index = read(data, **settings.data.read)
    given = settings.data
    roles = assign_roles(index, given.train, given.choose, given.test, settings.train.seed)
    require_positives("train", index, roles.train)
    settings = with_numbers(settings, index, roles, progress)
    knowledge = label_knowledge(settings, index, roles.train, progress, pictured=False)
    return Ready(settings, index, roles, make_tagger(settings, index.label_space, knowledge))


def bench_input(
    data: str, recipe: str, overrides: Sequence[str], seconds: float = 20.0, progress: Progress | None = None
) -> Measured:
    """Time reading, decoding, resizing and augmenting one after the other, and the loader with its workers.

    Args:
        seconds: that are spent measuring.

    Raises:
        CotagError: as a run.
    """
    ready = make_ready(data, recipe, overrides, progress or Silent())
    stages, fast = single_stages(ready, seconds / 2)
    pace = paced(loader_of(ready).epoch, seconds / 2)
    workers = worker_count(ready.recipe.data.workers)
    stages.append(Stage(f"loader, {workers} workers", pace))
    limit = max(stages[:3], key=lambda stage: stage.seconds).name
    title = f"Input: {data}, {recipe}, {ready.tagger.preprocessing.image_size} pixels"
    return Measured(title, stages, limit, input_advice(ready.recipe, stages, fast))


def loader_of(ready: Ready) -> Loader:
    """The loader that trains."""
    return training_loader(ready.tagger, ready.index, ready.roles.train, ready.recipe)


def single_stages(ready: Ready, seconds: float) -> tuple[list[Stage], float | None]:
    """The parts of preparing a picture in one process, and how long decoding would take with ``data.decode=fast``.

    Returns:
        reading, decoding, resizing, and all of it with the augmentations; seconds for an image, None where it is fast.
    """
    recipe, index = ready.recipe, ready.index
    augmentations = build_augmentations(recipe.data.augment, ready.tagger.preprocessing.image_size)
    images = ImageRows(index, ready.tagger.preprocessing, augmentations, recipe.train.seed)
    rows = _readable(images, ready.roles.train, recipe)
    size = images.preprocessing.image_size
    out_HWC = np.empty((size, size, 3), dtype=np.uint8)
    contents = [images.content(row) for row in rows]
    where = [location(index.image(row), row) for row in rows]

    def decode(preprocessing: Preprocessing) -> list[np.ndarray]:
        return [decoded(data, name, preprocessing) for data, name in zip(contents, where, strict=True)]

    pixels = decode(images.preprocessing)

    def resize() -> None:
        for one in pixels:
            images.preprocessing.fit(one, out_HWC)

    def prepare() -> None:
        for row in rows:
            images.prepare((1, row, 0), out_HWC)

    works: dict[str, Callable[[], Any]] = {
        "reading": lambda: [images.content(row) for row in rows],
        "decoding": lambda: decode(images.preprocessing),
        "resizing": resize,
        "one process, augmented": prepare,
    }
    stages = [Stage(name, rounds(work, len(rows), seconds / 5)) for name, work in works.items()]
    if recipe.data.decode == "fast":
        return stages, None
    return stages, rounds(lambda: decode(replace(images.preprocessing, decode="fast")), len(rows), seconds / 5)


def _readable(images: ImageRows, rows: np.ndarray, recipe: Recipe) -> list[int]:
    """Some rows whose pictures can be read, the same ones for a seed."""
    size = images.preprocessing.image_size
    out_HWC = np.empty((size, size, 3), dtype=np.uint8)
    found: list[int] = []
    for row in np.random.default_rng(recipe.train.seed).permutation(rows).tolist():
        try:
            images.prepare((1, row, 0), out_HWC)
        except ImageError as error:
            if recipe.data.bad_images == "stop":
                raise ImageError(f"{error}; or set data.bad_images=skip to leave such images out") from None
            continue
        found.append(row)
        if len(found) == SAMPLE:
            break
    if not found:
        raise ImageError(f"none of the {len(rows)} images that train can be read; look at their paths")
    return found
