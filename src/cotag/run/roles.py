"""Which images train, choose and judge in a run, in words; roles without labels are refused."""

from __future__ import annotations

import numpy as np

from cotag.data.splits import Roles
from cotag.errors import DataError
from cotag.recipe import Recipe
from cotag.run.checks import fold_count
from cotag.types.index import Index

FOLDS = 5


def told(roles: Roles, recipe: Recipe) -> tuple[str, ...]:
    """Which images train, choose and judge, in words, as the recipe's way of fitting uses them."""
    trains, chooses, judges = roles.told
    count = fold_count(recipe, roles, FOLDS)
    if count is not None:
        images = len(roles.train) + len(roles.choose)
        return f"trains and chooses: {images} images, in {count} stratified folds, seed {recipe.train.seed}", judges
    if recipe.train.mode == "features" and recipe.train.refit:
        chooses += "; they train too once they have chosen"
    return trains, chooses, judges


def require_positives(role: str, index: Index, rows: np.ndarray) -> None:
    """Refuse images of a role of which none has a label.

    Raises:
        DataError: says which role has none.
    """
    what = {"train": "train", "choose": "choose", "test": "judge"}[role]
    if not len(rows):
        raise DataError(f"there is no image that can {what}; look at the splits and at the images that cannot be read")
    if not any((index.targets(rows[start : start + 4096]) == 1).any() for start in range(0, len(rows), 4096)):
        raise DataError(f"none of the {len(rows)} images that {what} has a label; look at the label file or the splits")
