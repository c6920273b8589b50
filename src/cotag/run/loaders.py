"""The loaders of a run that trains the whole model on pictures."""

from __future__ import annotations

import numpy as np
from torch import nn

from cotag.data.augmentations import build_augmentations
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.sampling import EpochPlan
from cotag.data.shared_order import WholeBatches
from cotag.models.scoring import score_batches
from cotag.models.tagger import Tagger
from cotag.recipe import Recipe
from cotag.registry import MIXTURES
from cotag.run.picture_cache import picture_cache
from cotag.run.picture_checks import NO_MIX
from cotag.training.gathering import gathered
from cotag.training.processes import this_process
from cotag.types.index import Index
from cotag.types.progress import Progress


def training_loader(
    tagger: Tagger, index: Index, rows: np.ndarray, recipe: Recipe, plan: EpochPlan | None = None
) -> Loader:
    """The images that train: shuffled or as planned, augmented and mixed, shared by all processes."""
    data, given, state = recipe.data, recipe.train, this_process()
    augmentations = build_augmentations(data.augment, tagger.preprocessing.image_size)
    cache = picture_cache(tagger.preprocessing, recipe)
    return Loader(
        ImageRows(index, tagger.preprocessing, augmentations, given.seed, cache),
        BatchOrder(rows, given.batch_size, True, given.seed, state.process_index, state.num_processes, plan),
        data.difficult,
        data.bad_images,
        data.workers,
        None if data.mix == NO_MIX else MIXTURES.build(data.mix, **data.mix_args),
    )


def judging_loader(tagger: Tagger, index: Index, rows: np.ndarray, recipe: Recipe) -> Loader:
    """Images as they are, in order, the batches of this process; one that cannot be read is judged by no other."""
    state = this_process()
    images = ImageRows(index, tagger.preprocessing, cache=picture_cache(tagger.preprocessing, recipe))
    order = WholeBatches(rows, recipe.train.batch_size, state.process_index, state.num_processes)
    policy = "skip" if recipe.data.bad_images == "substitute" else recipe.data.bad_images
    return Loader(images, order, "unknown", policy, recipe.data.workers)


def score_together(model: nn.Module, batches: Loader, progress: Progress, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and logits of all images of a judging loader, whichever process scored them, in their order."""
    state, rows = this_process(), batches.order.rows
    share = -(-len(rows) // state.num_processes)
    return gathered(*score_batches(model, batches, state.device, progress, title, share), rows)
