"""How many images trained each label of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cotag.recipe import Recipe
from cotag.run.folder import RunFolder
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

if TYPE_CHECKING:
    from cotag.data.splits import Roles


def training_counts(index: Index, roles: Roles, recipe: Recipe) -> np.ndarray:
    """Images of each label among those that train, and those that choose where they train too; int64 (K,)."""
    rows = [getattr(roles, role) for role in training_roles(recipe)]
    return index.counts(rows=np.concatenate(rows))


def training_roles(recipe: Recipe) -> tuple[str, ...]:
    """The roles whose images train in the end."""
    refit = recipe.train.mode == "features" and recipe.train.refit
    return ("train", "choose") if refit else ("train",)


def counts_of_run(run: RunFolder, index: Index, space: LabelSpace) -> np.ndarray | None:
    """The same of a finished run, for these labels; None where the index does not hold all that trained.

    Args:
        run: a run's folder; a model that lies alone says nothing of what trained it.
        index: of the data, whose labels may stand in another order.
        space: the K labels of the run.
    """
    roles = run.saved_roles()
    places = space.positions_in(index.label_space)
    if roles is None or not run.recipe.is_file() or (places < 0).any():
        return None
    wanted = training_roles(Recipe.load(run.recipe))
    rows = roles.rows_of(wanted, index)
    if not len(rows) or len(rows) < roles.count(wanted):
        return None
    return index.counts(rows=rows)[places]
