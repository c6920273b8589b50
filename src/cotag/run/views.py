"""The features that a run trains on: of the images, and of augmented views of those that train."""

from __future__ import annotations

import numpy as np
import torch

from cotag.data.splits import Roles
from cotag.models.tagger import Tagger
from cotag.recipe import Recipe
from cotag.run.checks import fold_count
from cotag.run.roles import FOLDS
from cotag.run.training_counts import training_roles
from cotag.training.extraction import Views
from cotag.training.features import FeatureSet, compute_features
from cotag.types.index import Index
from cotag.types.progress import Progress

AUTO_VIEWS = 4


def views_of(recipe: Recipe, roles: Roles) -> Views:
    """The augmented views that a recipe asks for: of all images that train at some time, and of none that judges."""
    data = recipe.data
    if not data.augment:
        return Views()
    # In folds all images train the heads that judge the others.
    in_folds = fold_count(recipe, roles, FOLDS) is not None
    trains = ("train", "choose") if in_folds else training_roles(recipe)
    rows = np.concatenate([getattr(roles, role) for role in trains])
    count = AUTO_VIEWS if data.views == "auto" else int(data.views)
    return Views(count, data.augment, recipe.train.seed, frozenset(rows.tolist()))


def features_of(
    tagger: Tagger, index: Index, roles: Roles, recipe: Recipe, progress: Progress, device: torch.device | str
) -> FeatureSet:
    """The features of all images of a run, with the views that its recipe asks for; see ``compute_features``."""
    data, views = recipe.data, views_of(recipe, roles)
    rows = np.sort(np.concatenate([roles.train, roles.choose, roles.test]))
    found = compute_features(tagger, index, rows, progress, data.bad_images, data.workers, device=device, views=views)
    if views.rows is None:
        what, total = "images", len(found.rows)
    else:
        augmented = len(views.rows & set(found.rows.tolist()))
        what, total = "images and augmented views", len(found.rows) + views.count * augmented
        progress.say(
            f"trains on {augmented:,} images and {views.count} augmented views of each; what chooses and judges is not "
            "augmented"
        )
    progress.say(f"features: {found.computed} {what} through the backbone, {total - found.computed} at hand")
    return found
