"""The balance of a run: which labels are infrequent, and the sampler that shows them more often."""

from __future__ import annotations

import numpy as np

from cotag.data.balance_sections import balance_lines, balance_section
from cotag.data.holdings import Holdings
from cotag.data.samplers import Sampler
from cotag.data.sampling import Balance
from cotag.data.splits import Roles
from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.registry import SAMPLERS
from cotag.run.training_counts import training_roles
from cotag.types.frequency import infrequent_labels, parse_rule, require_infrequent, tell_infrequent
from cotag.types.index import Index
from cotag.types.progress import Progress
from cotag.types.section import Section


def check_balance(recipe: Recipe) -> None:
    """Refuse unknown names and values, and settings that would not be used.

    Raises:
        SettingError: names the setting.
    """
    given, usual = recipe.balance, dict(type(recipe.balance)())
    parse_rule(given.infrequent)
    sampler: Sampler = SAMPLERS.build(given.sampler, **given.sampler_args)
    if given.sampler == "none":
        unused = [name for name in ("epoch", "labels_without_images") if dict(given)[name] != usual[name]]
        if unused:
            raise SettingError(f"balance.{unused[0]}: sampler none does not use it; leave it out, or name a sampler")
        return
    if not sampler.repeats and given.labels_without_images != usual["labels_without_images"]:
        raise SettingError(
            f"balance.labels_without_images: sampler {given.sampler} repeats nothing and does not use it; leave it out"
        )
    if recipe.train.optimizer == "lbfgs":
        raise SettingError(
            f"balance.sampler = {given.sampler}: train.optimizer = lbfgs takes all images at once; choose adamw or "
            "sgd, or set sampler none"
        )


def counts_of(recipe: Recipe, index: Index, roles: Roles) -> np.ndarray:
    """Images of each label among all that train in a run, by which labels are infrequent; int64 (K,)."""
    both = np.concatenate([getattr(roles, role) for role in training_roles(recipe)])
    return Holdings.of_index(index, both, recipe.data.difficult).counts()


def balance_of(recipe: Recipe, index: Index, roles: Roles) -> Balance | None:
    """The sampler of a run, checked against the images that train; None for each image once.

    Raises:
        SettingError: there is no infrequent label, or none of a label's images trains.
    """
    if recipe.balance.sampler == "none":
        return None
    balance = _unchecked(recipe, index, roles)
    if balance.sampler.needs_infrequent:
        require_infrequent(counts_of(recipe, index, roles), recipe.balance.infrequent)
    names, without_images = index.label_space.names, recipe.balance.labels_without_images
    balance.check(held_of(recipe, index, roles), names, without_images)
    return balance


def _unchecked(recipe: Recipe, index: Index, roles: Roles) -> Balance:
    given = recipe.balance
    sampler: Sampler = SAMPLERS.build(given.sampler, **given.sampler_args)
    infrequent_K = infrequent_labels(counts_of(recipe, index, roles), given.infrequent)
    return Balance(given.sampler, sampler, infrequent_K, given.epoch)


def held_of(recipe: Recipe, index: Index, roles: Roles) -> Holdings:
    """The labels of the images that train."""
    return Holdings.of_index(index, roles.train, recipe.data.difficult)


def balance_report(recipe: Recipe, index: Index, roles: Roles, progress: Progress) -> list[Section]:
    """Say how frequent labels are and what the sampler makes of that; the same as a section of the report.

    Nothing where the recipe says nothing of balance.
    """
    if recipe.balance == type(recipe.balance)():
        return []
    balance = balance_of(recipe, index, roles) or _unchecked(recipe, index, roles)
    told = tell_infrequent(counts_of(recipe, index, roles), recipe.balance.infrequent)
    section = balance_section(balance, held_of(recipe, index, roles), index.label_space.names, told)
    for line in balance_lines(section):
        progress.say(line)
    return [section]
