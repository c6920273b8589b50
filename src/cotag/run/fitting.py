"""The two ways to fit a tagger, from a recipe: a head on frozen features, or the whole end to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from cotag.data.sampling import Balance
from cotag.data.splits import Roles, stratified_folds
from cotag.evaluation.metrics import average_precisions
from cotag.models.heads.linear import LinearHead
from cotag.models.recompute import recomputing
from cotag.models.scoring import score_batches
from cotag.models.synchronized import synchronize
from cotag.models.tagger import Tagger, are_folded
from cotag.recipe import Recipe
from cotag.registry import OPTIMIZERS, SCHEDULES
from cotag.run.balance import balance_of, held_of
from cotag.run.checks import fold_count
from cotag.run.fitted import Fitted as Fitted
from cotag.run.folder import RunFolder
from cotag.run.loaders import judging_loader, score_together, training_loader
from cotag.run.losses import as_taught, head_criteria, label_counts, whole_criterion
from cotag.run.picture_cache import announce_cache
from cotag.run.roles import FOLDS, require_positives
from cotag.run.views import features_of
from cotag.training.checkpoint import Checkpoints
from cotag.training.criterion import masked_mean
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.gathering import gathered_reasons
from cotag.training.head_fit import (
    CachedHead,
    Chosen,
    HeadLoop,
    Judge,
    Part,
    Solver,
    descend_head,
    require_solvable,
    solve_head,
)
from cotag.training.label_counts import LabelCounts
from cotag.training.loop_settings import LoopSettings, StepSettings
from cotag.training.optim import parameter_groups
from cotag.training.processes import this_process
from cotag.training.tracking import Tracking
from cotag.training.trainer import Trainer
from cotag.types.index import Index
from cotag.types.progress import Progress


def fit(
    tagger: Tagger, index: Index, roles: Roles, recipe: Recipe, folder: RunFolder, progress: Progress, resume: bool,
    stop_after: int | None = None,
) -> Fitted:  # fmt: skip
    """Fit a tagger in the way that ``train.mode`` names.

    Args:
        stop_after: end to end, the epoch that is kept, where no image chooses.
    """
    if recipe.train.mode == "features":
        return fit_on_features(tagger, index, roles, recipe, progress)
    used = {"train": roles.train, "choose": roles.choose, "test": roles.test}
    announce_cache(tagger.preprocessing, recipe, used, progress)
    return fit_end_to_end(tagger, index, roles, recipe, folder, progress, resume, stop_after=stop_after)


def judge(logits_NK: np.ndarray, targets_NK: np.ndarray) -> dict[str, float]:
    """val_mAP and val_loss (mean BCE over the known entries) of the images that choose."""
    logits, targets = torch.from_numpy(logits_NK), torch.from_numpy(targets_NK)
    losses = nn.functional.binary_cross_entropy_with_logits(logits, (targets == 1).float(), reduction="none")
    return {
        "val_mAP": float(np.nanmean(average_precisions(logits_NK, targets_NK))),
        "val_loss": float(masked_mean(losses, targets >= 0)),
    }


def fit_on_features(tagger: Tagger, index: Index, roles: Roles, recipe: Recipe, progress: Progress) -> Fitted:
    """Compute features once, fit the head on them."""
    given, device = recipe.train, this_process().device
    started = time.monotonic()
    if given.optimizer == "lbfgs":
        require_solvable(tagger.head)
    found = features_of(tagger, index, roles, recipe, progress, device)
    extracted = time.monotonic()
    parts = parts_of(found, index, roles, recipe)
    tagger.head.to("cpu")
    balance = balance_of(recipe, index, roles)
    chosen = fit_head(tagger.head, parts, recipe, folds_of(parts, index, roles, recipe), progress, balance)
    fitted = time.monotonic()
    model = CachedHead(tagger.head)
    test = parts["test"]
    scores = {
        "choose": (chosen.rows, chosen.logits_MK),
        "test": score_batches(model, FeatureBatches(test.features, test.targets_NK, 1024)),
    }
    progress.say(
        f"head: weight decay {chosen.weight_decay:g} chosen by {given.choose_by}, in {fitted - extracted:.1f} s"
    )
    baseline = _baseline(tagger, parts, recipe)
    if baseline:
        progress.say(baseline)
    seconds = {"features": extracted - started, "head": fitted - extracted}
    return Fitted(scores, chosen.history, seconds, found.skipped, chosen.weight_decay, baseline)


def _baseline(tagger: Tagger, parts: dict[str, Part], recipe: Recipe) -> str:
    """A linear head on the same pooled features: what any other head should be held against."""
    reads = str(tagger.head.reads)
    if isinstance(tagger.head, LinearHead) or reads == "map":
        return ""
    train, choose, test = (parts[role] for role in ("train", "choose", "test"))
    head = LinearHead(train.features.features.shape[1], len(tagger.label_space), reads)
    solve_head(head, train, choose, Solver("auto", recipe.train.choose_by, recipe.train.refit), judge)
    _, logits_NK = score_batches(CachedHead(head), FeatureBatches(test.features, test.targets_NK, 1024))
    value = judge(logits_NK, test.targets_NK)["val_mAP"]
    return f"for comparison: a linear head on the same features ({reads} pooling) has test mAP {value:.4f}"


def parts_of(found: FeatureSet, index: Index, roles: Roles, recipe: Recipe) -> dict[str, Part]:
    """The features and targets of the images that train, choose and test, by role.

    Raises:
        DataError: none of the images of a role has a label.
    """
    parts = {}
    for role, difficult in (("train", recipe.data.difficult), ("choose", "unknown"), ("test", "unknown")):
        part = found.of(getattr(roles, role))
        require_positives(role, index, part.rows)
        parts[role] = Part(part, index.targets(part.rows, difficult))
    return parts


def folds_of(parts: dict[str, Part], index: Index, roles: Roles, recipe: Recipe) -> np.ndarray | None:
    """The fold of each image that trains or chooses, in this order; None where a part of them chooses."""
    count = fold_count(recipe, roles, FOLDS)
    if count is None:
        return None
    both = np.concatenate([parts["train"].features.rows, parts["choose"].features.rows])
    return stratified_folds(index, both, count, recipe.train.seed)


def fit_head(
    head: nn.Module, parts: dict[str, Part], recipe: Recipe, folds_N: np.ndarray | None, progress: Progress,
    balance: Balance | None, judge: Judge = judge,
) -> Chosen:  # fmt: skip
    """Fit a head on cached features as the recipe says; its weights are set. What judges an epoch may raise to stop."""
    given = recipe.train
    train, choose = parts["train"], parts["choose"]
    if given.optimizer == "lbfgs":
        how = Solver(given.weight_decay, given.choose_by, given.refit, given.epochs, folds_N)
        return solve_head(head, train, choose, how, judge)
    start_at_base_rate(head, as_taught(recipe, LabelCounts.of(train.targets_NK), len(train.targets_NK)))
    loop = head_loop(recipe, parts, balance)
    return descend_head(head, train, choose, given.weight_decay, judge, loop, given.refit, progress)


def head_loop(recipe: Recipe, parts: dict[str, Part], balance: Balance | None) -> HeadLoop:
    """How the training loop fits a head, as the recipe says."""
    given = recipe.train
    return HeadLoop(
        loop_settings(recipe),
        lambda groups: OPTIMIZERS.build(given.optimizer, groups, **given.optimizer_args),
        head_criteria(recipe, parts),
        SCHEDULES.build(given.schedule, **given.schedule_args),
        given.batch_size,
        given.learning_rate,
        given.seed,
        balance,
    )


def fit_end_to_end(
    tagger: Tagger, index: Index, roles: Roles, recipe: Recipe, folder: RunFolder, progress: Progress, resume: bool,
    judge: Judge = judge, stop_after: int | None = None,
) -> Fitted:  # fmt: skip
    """Fit backbone and head on pictures, with checkpoints. What judges an epoch may raise to stop."""
    given = recipe.train
    started = time.monotonic()
    balance = balance_of(recipe, index, roles)
    plan = None if balance is None else balance.plan(held_of(recipe, index, roles))
    batches = training_loader(tagger, index, roles.train, recipe, plan)
    held_out = judging_loader(tagger, index, roles.choose, recipe)

    def evaluate(model: nn.Module) -> dict[str, float]:
        if stop_after is not None:
            return {}
        rows, logits = score_together(model, held_out, progress, "validation")
        require_positives("choose", index, rows)
        return judge(logits, index.targets(rows))

    tagger.norm_statistics = given.norm_statistics
    if given.norm_statistics == "batch" and recipe.model.weights != "none" and are_folded(tagger.backbone):
        progress.say("the weights' batch norms hold no statistics (they were folded): set train.norm_statistics=frozen")
    if given.sync_batch_norm:
        synchronize(tagger, this_process().num_processes, this_process().device)
    if not resume:
        counts = label_counts(index, roles.train, recipe)
        start_at_base_rate(tagger.head, as_taught(recipe, counts, len(roles.train)))
    tagger.to(memory_format=torch.channels_last)
    decay = _number(given.weight_decay)
    groups = parameter_groups(tagger, given.learning_rate, given.backbone_rate, decay, given.layer_decay)
    trainer = Trainer(
        tagger,
        whole_criterion(recipe, tagger, index, roles.train),
        OPTIMIZERS.build(given.optimizer, groups, **given.optimizer_args),
        SCHEDULES.build(given.schedule, **given.schedule_args),
        loop_settings(recipe, stop_after),
        evaluate,
        Checkpoints(folder.checkpoints, given.checkpoint_minutes),
        lambda row: str(index.image(row)),
    )
    tracking = Tracking(given.trackers, folder.tracking, recipe.model_dump(mode="json"))
    with recomputing(tagger.backbone) if given.recompute else nullcontext():
        reached = trainer.fit(batches, index.label_space.hash, progress, resume, tracking)
    fitted = time.monotonic()
    scores = {}
    skipped = {**batches.skipped.reasons, **held_out.skipped.reasons}
    for role in ("choose", "test") if stop_after is None else ("test",):
        judged = judging_loader(tagger, index, getattr(roles, role), recipe)
        scores[role] = score_together(tagger, judged, progress, role)
        require_positives(role, index, scores[role][0])
        skipped.update(judged.skipped.reasons)
    progress.say(f"kept epoch {reached.best_epoch}" + (f", chosen by {given.choose_by}" if stop_after is None else ""))
    seconds = {"fitting": fitted - started, "judging": time.monotonic() - fitted}
    return Fitted(scores, reached.history, seconds, gathered_reasons(skipped), decay)


def loop_settings(recipe: Recipe, stop_after: int | None = None) -> LoopSettings:
    """How the loop runs, as the recipe says; ``stop_after`` as in ``fit``."""
    given = recipe.train
    patience, choose_by = (given.patience, given.choose_by) if stop_after is None else (None, "last")
    return LoopSettings(
        given.epochs,
        given.warmup_epochs,
        given.clip_norm,
        patience,
        choose_by,
        given.ema,
        stop_after,
        StepSettings(given.precision, given.accumulate, given.batch_size if given.compile else None, given.parallel),
    )


def start_at_base_rate(head: nn.Module, counts: LabelCounts) -> None:
    """Let a head that can begin at the labels' shares of positives do so."""
    start: Callable[[torch.Tensor], None] | None = getattr(head, "start_from", None)
    if start is not None:
        start(torch.from_numpy((counts.present_K + 0.5) / (counts.known_K + 1)).float())


def _number(weight_decay: float | str) -> float:
    return float(weight_decay)
