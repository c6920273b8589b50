"""Settings that contradict each other or the data, refused before any work is done."""

from __future__ import annotations

from cotag.data.splits import Roles
from cotag.errors import SettingError, listing
from cotag.models.backbone_parts import ALL
from cotag.models.tagger import head_needs
from cotag.recipe import Recipe
from cotag.recipe_settings import Settings, TrainSettings
from cotag.registry import HEADS, OPTIMIZERS, SCHEDULES
from cotag.run.balance import check_balance
from cotag.run.deciding import check_decide
from cotag.run.losses import check_loss
from cotag.run.picture_checks import check_pictures

LOOP_SETTINGS = (
    *("batch_size", "learning_rate", "optimizer_args", "schedule", "schedule_args"),
    *("warmup_epochs", "clip_norm", "patience", "ema", "l1"),
)
# For pictures alone: a head on features is small and trained in seconds, its arithmetic is quick as it is.
WHOLE_SETTINGS = (
    *("accumulate", "precision", "compile", "recompute", "parallel", "sync_batch_norm"),
    *("checkpoint_minutes", "trackers"),
)
# What is not done with weights in shares.
WHOLE_WEIGHTS = ("ema", "l1", "compile", "recompute")
BACKBONE_SETTINGS = ("backbone_rate", "layer_decay", "freeze", "norm_statistics")
# Which settings the kinds of a graph use.
GRAPH_USES = {
    "reweighted": ("tau", "p", "axis"),
    "binary": ("tau",),
    "symmetric": ("tau",),
    "conditional": (),
    "identity": (),
}


def check_recipe(recipe: Recipe) -> None:
    """Refuse unknown names and settings of components, and settings that this way of fitting would not use.

    Raises:
        SettingError: names the setting, and the nearest that there is or what to do.
    """
    given = recipe.train
    HEADS.check(recipe.model.head, recipe.model.head_args)
    _check_knowledge(recipe)
    check_loss(given)
    SCHEDULES.check(given.schedule, given.schedule_args)
    check_balance(recipe)
    check_pictures(recipe)
    check_decide(recipe.decide)
    if given.optimizer != "lbfgs":
        OPTIMIZERS.check(given.optimizer, given.optimizer_args)
    if given.mode == "features":
        _refuse_unused(given, BACKBONE_SETTINGS + WHOLE_SETTINGS, "train.mode = features", "train.mode=end_to_end")
    else:
        if given.optimizer == "lbfgs":
            raise SettingError("train.optimizer = lbfgs: solves a head on features; choose adamw or sgd for end_to_end")
        if given.weight_decay == "auto":
            raise SettingError("train.weight_decay = auto: is chosen on features only; give a number for end_to_end")
        _refuse_unused(given, ("refit", "folds"), "train.mode = end_to_end", "train.mode=features")
        _check_frozen(given)
        _check_parallel(given)
    if given.optimizer != "lbfgs" and given.folds is not None:
        raise SettingError("train.folds: is for train.optimizer = lbfgs; leave it out, or choose lbfgs")
    if given.optimizer == "lbfgs":
        if given.loss != "bce" or given.loss_args:
            raise SettingError(
                f"train.optimizer = lbfgs: solves loss bce only, given {given.loss}; choose adamw or sgd"
            )
        _refuse_unused(given, LOOP_SETTINGS, "train.optimizer = lbfgs", "adamw or sgd")


def _check_parallel(given: TrainSettings) -> None:
    """Refuse what is not done with weights in shares, and statistics of batches that are not used."""
    if given.sync_batch_norm and given.norm_statistics == "frozen":
        raise SettingError("train.sync_batch_norm: train.norm_statistics = frozen uses none of a batch; leave one out")
    if given.parallel == "fsdp":
        _refuse_unused(given, WHOLE_WEIGHTS, "train.parallel = fsdp", "train.parallel=ddp")
        if given.precision == "fp16":
            raise SettingError("train.precision = fp16: is not for train.parallel = fsdp; choose bf16 or fp32")


def _check_frozen(given: TrainSettings) -> None:
    """Refuse settings of a backbone's training where none of it trains."""
    whole = "train.freeze = [backbone]" if ALL in given.freeze else "train.backbone_rate = 0"
    unused = ["layer_decay", "backbone_rate" if ALL in given.freeze else "freeze"]
    if ALL in given.freeze or given.backbone_rate == 0:
        changed = [name for name in _changed(given) if name in unused]
        if changed:
            raise SettingError(f"train.{changed[0]}: {whole} freezes all of the backbone; leave one of them out")


def _check_knowledge(recipe: Recipe) -> None:
    """Refuse settings of a graph or of vectors that the head does not use, or that its kind does not."""
    needs, head = head_needs(recipe.model.head), recipe.model.head
    for name, given in (("graph", recipe.graph), ("vectors", recipe.vectors)):
        changed = _changed(given)
        if changed and name not in needs:
            users = listing(other for other in HEADS.names() if name in head_needs(other))
            raise SettingError(f"{name}.{changed[0]}: head {head} uses no {name}; leave it out, or choose {users}")
    used = ("kind", "file" if recipe.graph.file else "unknown", *GRAPH_USES[recipe.graph.kind])
    unused = [name for name in _changed(recipe.graph) if name not in used]
    if unused:
        what = "of a file" if unused[0] == "unknown" else f"of kind {recipe.graph.kind}"
        raise SettingError(f"graph.{unused[0]}: a graph {what} does not use it; leave it out")
    if recipe.vectors.size is not None and recipe.vectors.source not in ("random", "learned"):
        raise SettingError(
            f"vectors.size = {recipe.vectors.size}: vectors of source {recipe.vectors.source} have their own size; "
            "leave it out, or set vectors.source to random or learned"
        )


def _changed(given: Settings) -> list[str]:
    """The settings of a group that are not as they are by default."""
    usual = dict(type(given)())
    return [key for key, value in given if value != usual[key]]


def _refuse_unused(given: TrainSettings, names: tuple[str, ...], by: str, other: str) -> None:
    """Refuse settings that were changed and would be ignored."""
    changed = [f"train.{name}" for name in _changed(given) if name in names]
    if changed:
        raise SettingError(f"{' and '.join(changed)}: {by} does not use it; leave it out, or choose {other}")


def fold_count(recipe: Recipe, roles: Roles, default: int) -> int | None:
    """In how many folds the training images choose; None where a part of them or another split does.

    Raises:
        SettingError: folds are asked for and a split of its own chooses.
    """
    given = recipe.train
    if given.optimizer != "lbfgs" or given.folds == 1:
        return None
    if roles.split_off:
        return given.folds or default
    if given.folds is not None:
        raise SettingError(
            f"train.folds = {given.folds}: a split of its own chooses here; leave it out, or set data.choose to a share"
        )
    return None
