"""Which images train, choose and judge in a trial."""

from __future__ import annotations

import numpy as np

from cotag.data.splits import CHOOSE_SHARE, Roles, assign_roles, stratified_folds, stratified_parts
from cotag.recipe import Recipe
from cotag.types.index import Index


def trial_roles(index: Index, recipe: Recipe, first_seed: int, folds: int | None) -> Roles:
    """The roles of a trial: the same images judge for all seeds, or take turns in folds.

    Args:
        recipe: of the trial, with its seed.
        first_seed: of the sweep, which splits off the images that judge.
        folds: in how many all images take turns in judging, one for each seed; None for images that always judge.
    """
    data, seed = recipe.data, recipe.train.seed
    found = assign_roles(index, data.train, data.choose, data.test, first_seed)
    share = data.choose if isinstance(data.choose, float) else CHOOSE_SHARE
    if folds is not None:
        rows = np.sort(np.concatenate([found.train, found.choose, found.test]))
        judges_N = stratified_folds(index, rows, folds, first_seed) == (seed - first_seed) % folds
        parts = stratified_parts(index, rows[~judges_N], share, seed + 1)
        return Roles(*parts, rows[judges_N], found.told)
    if found.split_off and seed != first_seed:
        both = np.sort(np.concatenate([found.train, found.choose]))
        return Roles(*stratified_parts(index, both, share, seed + 1), found.test, found.told)
    return found
