"""The decision of a run: declared by its recipe, or fitted to the images that choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cotag.data.splits import Roles
from cotag.errors import SettingError
from cotag.evaluation.cross_fit import cross_fit
from cotag.evaluation.decision import RULES, Decision
from cotag.evaluation.decision_fit import ADJUSTING_RULES, DecisionFit
from cotag.evaluation.objective import Objective, parse_objective
from cotag.evaluation.sections.decision import decision_section
from cotag.recipe import Recipe
from cotag.recipe_settings import DecideSettings
from cotag.run.balance import counts_of
from cotag.types.frequency import require_infrequent
from cotag.types.index import Index
from cotag.types.labels import NOT_EVALUATED, LabelSpace
from cotag.types.progress import Progress
from cotag.types.scores import Scores
from cotag.types.section import Section

FOLDS = 5
# Settings that only fitting uses.
FITTING = ("multiplier", "at_least", "false_positive", "false_negative", "shrinkage")


@dataclass(frozen=True)
class Decided:
    """How a run's scores become labels.

    Attributes:
        decision: for the model.
        sections: what it is worth on images that it was not fitted on; none where nothing was fitted.
    """

    decision: Decision
    sections: Sequence[Section] = ()


def check_decide(given: DecideSettings) -> None:
    """Refuse settings that are missing, or that the rule would not use.

    Raises:
        SettingError: names the setting.
    """
    try:
        if _fit_of(given, ()) is None:
            Decision(given.rule, given.threshold, given.k)
    except SettingError as error:
        text = str(error)
        raise SettingError(text if text.startswith("decide.") else f"decide: {text}") from None


def require_decision(recipe: Recipe, index: Index, roles: Roles) -> None:
    """Refuse a decision that these data do not have the labels or the images for.

    Raises:
        SettingError: says what is missing.
    """
    given, space = recipe.decide, index.label_space
    if given.evaluated_only and (space.evaluated.all() or not space.evaluated.any()):
        which = "all" if space.evaluated.all() else "none"
        raise SettingError(
            f"decide.evaluated_only leaves out the labels of the group {NOT_EVALUATED!r}, and {which} of the labels "
            "of these data are evaluated; leave it out"
        )
    if given.rule in ADJUSTING_RULES:
        _infrequent(recipe, index, roles)
    if _fit_of(given, ()) is not None and len(roles.choose) < 2:
        raise SettingError(f"decide.rule = {given.rule}: is fitted to the images that choose; there are too few")


def decide(recipe: Recipe, index: Index, roles: Roles, choosing: Scores, progress: Progress) -> Decided:
    """The decision of a run.

    Args:
        choosing: scores of the images that choose, by a model that did not train on them.

    Raises:
        SettingError: none of them has a label that counts.
    """
    how = _how(recipe, index, roles)
    if how is None:
        return Decided(_declared(recipe.decide, index.label_space))
    folds, seed = min(FOLDS, len(choosing)), recipe.train.seed
    try:
        found = cross_fit(choosing, how, folds, seed)
    except SettingError as error:
        # A run is not lost for want of an honest value.
        decision = how.fit(choosing)
        progress.say(f"decision: {decision.describe()}; what it is worth on new images cannot be said ({error})")
        return Decided(decision)
    name = how.objective.measured if how.k is None else how.objective.measured.replace("@k", f"@{how.k}")
    low, high = found.cross_fitted.interval
    progress.say(
        f"decision: {found.decision.describe()}; {name} {found.cross_fitted.value:.4f} ({low:.4f} to {high:.4f}) "
        f"cross-fitted on the {len(choosing)} images that choose, {found.naive.value:.4f} naive"
    )
    return Decided(found.decision, [decision_section(found, len(choosing), folds, seed)])


def decision_of(recipe: Recipe, index: Index, roles: Roles, choosing: Scores) -> Decision:
    """The decision of ``decide`` alone, without what it is worth on images that it was not fitted on."""
    how = _how(recipe, index, roles)
    return _declared(recipe.decide, index.label_space) if how is None else how.fit(choosing)


def _how(recipe: Recipe, index: Index, roles: Roles) -> DecisionFit | None:
    infrequent = _infrequent(recipe, index, roles) if recipe.decide.rule in ADJUSTING_RULES else ()
    return _fit_of(recipe.decide, infrequent)


def _declared(given: DecideSettings, space: LabelSpace) -> Decision:
    excluded = _not_evaluated(space) if given.evaluated_only else ()
    return Decision(given.rule, given.threshold, given.k, None, None, space if excluded else None, excluded)


def _fit_of(given: DecideSettings, infrequent: tuple[str, ...]) -> DecisionFit | None:
    """How a decision is fitted; None where the recipe declares it."""
    usual = DecideSettings()
    changed = [name for name in FITTING if getattr(given, name) != getattr(usual, name)]
    multiplied = given.rule == "group_multiplier" and given.multiplier is not None
    if given.objective is None and given.rule in RULES:
        if changed:
            raise SettingError(
                f"decide.{changed[0]}: rule {given.rule} without an objective fits nothing and does not use it; leave "
                "it out, or set decide.objective"
            )
        return None
    if given.objective is None and not multiplied:
        raise SettingError(f"decide.rule = {given.rule}: is fitted; say what for, such as decide.objective=mR@3")
    if given.threshold != usual.threshold:
        raise SettingError(
            f"decide.threshold = {given.threshold}: rule {given.rule} does not use it here; leave it out"
        )
    name, at_k = parse_objective(given.objective or f"mR@{given.k or 1}")
    if given.k is not None and at_k not in (None, given.k):
        raise SettingError(f"decide.objective = {given.objective} with decide.k = {given.k}: leave decide.k out")
    k = given.k if given.objective is None or at_k is None else at_k
    wanted = Objective(name, given.at_least, given.false_positive, given.false_negative)
    return DecisionFit(wanted, given.rule, k, given.shrinkage, infrequent, given.multiplier, given.evaluated_only)


def _infrequent(recipe: Recipe, index: Index, roles: Roles) -> tuple[str, ...]:
    """The names of the infrequent labels that may be given, by the rule of ``balance.infrequent``."""
    space, found_K = index.label_space, require_infrequent(counts_of(recipe, index, roles), recipe.balance.infrequent)
    if recipe.decide.evaluated_only:
        found_K = found_K & space.evaluated
    names = tuple(name for name, infrequent in zip(space.names, found_K, strict=True) if infrequent)
    if not names:
        raise SettingError(
            f"balance.infrequent = {recipe.balance.infrequent!r}: no label that is evaluated is infrequent by it; "
            "choose another rule"
        )
    return names


def _not_evaluated(space: LabelSpace) -> tuple[str, ...]:
    return tuple(name for name, judged in zip(space.names, space.evaluated, strict=True) if not judged)
