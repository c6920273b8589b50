"""The losses that a recipe names, with what they need to know of the images that train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from cotag.data.splits import Roles
from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.recipe_settings import TrainSettings
from cotag.registry import LOSSES
from cotag.run.training_counts import training_roles
from cotag.training.criterion import Criterion, takes_unknown
from cotag.training.head_fit import Part
from cotag.training.label_counts import LabelCounts
from cotag.types.frequency import infrequent_labels
from cotag.types.index import Index


def loss_needs(name: str) -> tuple[str, ...]:
    """What a loss must be given besides its settings; see ``cotag.training.losses.loss``."""
    found: tuple[str, ...] = getattr(LOSSES.get(name), "needs", ())
    return found


def check_loss(given: TrainSettings) -> None:
    """Refuse an unknown loss, settings that it does not take, and settings that it is given by itself.

    Raises:
        SettingError: names the setting.
    """
    counted = [name for name in given.loss_args if name in loss_needs(given.loss)]
    if counted:
        raise SettingError(f"train.loss_args.{counted[0]}: is counted on the images that train; leave it out")
    LOSSES.check(given.loss, given.loss_args)


def require_loss(recipe: Recipe, index: Index, roles: Roles) -> None:
    """Refuse a loss that cannot be made for these images, before any work is done.

    Raises:
        SettingError: weights of another length, for example.
    """
    both = np.concatenate([getattr(roles, role) for role in training_roles(recipe)])
    infrequent_K = infrequent_labels(label_counts(index, both, recipe).present_K, recipe.balance.infrequent)
    _loss(recipe.train, label_counts(index, roles.train, recipe), infrequent_K)


def head_criteria(recipe: Recipe, parts: Mapping[str, Part]) -> Callable[[nn.Module, LabelCounts], Criterion]:
    """Makes the losses of a head on cached features, by the counts of the images that train it in a fit.

    Labels are infrequent among all images that train in the end, so that none changes sides when the head is fitted
    again with the images that chose.
    """
    targets = [parts[role].targets_NK for role in training_roles(recipe)]
    infrequent_K = infrequent_labels(LabelCounts.of(np.concatenate(targets)).present_K, recipe.balance.infrequent)

    def make(model: nn.Module, counts: LabelCounts) -> Criterion:
        return Criterion(_loss(recipe.train, counts, infrequent_K), recipe.train.l1, model.parameters())

    return make


def whole_criterion(recipe: Recipe, model: nn.Module, index: Index, rows: np.ndarray) -> Criterion:
    """The losses of a whole model that is trained on rows of an Index."""
    counts = label_counts(index, rows, recipe)
    loss = _loss(recipe.train, counts, infrequent_labels(counts.present_K, recipe.balance.infrequent))
    return Criterion(loss, recipe.train.l1, model.parameters())


def as_taught(recipe: Recipe, counts: LabelCounts, images: int) -> LabelCounts:
    """Counts of some images as the recipe's loss has them learned: unknown labels are absent where it takes them."""
    # Which labels are infrequent does not matter here, only that some are where the loss asks for some.
    loss = _loss(recipe.train, counts, np.ones(len(counts.present_K), dtype=bool))
    return replace(counts, known_K=np.full_like(counts.known_K, images)) if takes_unknown(loss) else counts


def label_counts(index: Index, rows: np.ndarray, recipe: Recipe) -> LabelCounts:
    """The counts of some images that train, without their dense targets; see ``Index.targets``."""
    present_K, unknown_K, difficult_K = (index.counts(name, rows) for name in ("positives", "unknowns", "difficult"))
    if recipe.data.difficult == "positive":
        present_K = present_K + difficult_K
    elif recipe.data.difficult == "unknown":
        unknown_K = unknown_K + difficult_K
    return LabelCounts(present_K, len(rows) - unknown_K)


def _loss(given: TrainSettings, counts: LabelCounts, infrequent_K: np.ndarray) -> nn.Module:
    known: dict[str, Any] = {"counts_K": counts.present_K, "known_K": counts.known_K, "infrequent_K": infrequent_K}
    needed = {name: known[name] for name in loss_needs(given.loss)}
    found: nn.Module = LOSSES.build(given.loss, **given.loss_args, **needed)
    return found
