"""Fitting a head on cached features, with its regularization chosen on images that do not train."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from cotag.data.holdings import Holdings
from cotag.data.sampling import Balance, EpochPlan
from cotag.errors import SettingError
from cotag.models.heads.linear import LinearHead
from cotag.models.scoring import score_batches
from cotag.training.checkpoint import TrainingState
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureBatches, FeatureSet, as_features
from cotag.training.label_counts import LabelCounts
from cotag.training.linear_probe import STRENGTHS, cross_validated_logits, fit_linear_probe
from cotag.training.loop_settings import LoopSettings, choosing_value
from cotag.training.optim import Groups, parameter_groups
from cotag.training.schedules import Schedule
from cotag.training.trainer import Evaluate, Trainer
from cotag.types.batch import Output
from cotag.types.progress import Progress, Silent

Judge = Callable[[np.ndarray, np.ndarray], dict[str, float]]
History = list[dict[str, float]]
DECAYS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Part:
    """Features with their targets int8 (N, K): 1, 0, or -1 for unknown."""

    features: FeatureSet
    targets_NK: np.ndarray


@dataclass(frozen=True)
class Chosen:
    """What the choosing images decided.

    Attributes:
        weight_decay: the strength of the regularization.
        history: one dictionary for each strength (solver) or epoch (loop).
        rows: the rows of the images that chose, int64 (M,).
        logits_MK: float32; what a head said of them that was not fitted on them.
    """

    weight_decay: float
    history: History
    rows: np.ndarray
    logits_MK: np.ndarray


@dataclass(frozen=True)
class Solver:
    """How the batched solver fits a linear head.

    Attributes:
        weight_decay: the strength, or ``auto`` for the best of ``linear_probe.STRENGTHS``.
        choose_by: ``mAP`` or ``loss``.
        refit: fit once more with the images that chose.
        iterations: the most steps.
        folds_N: the fold of each image of train and choose, in this order: all of them choose, each by a head
            that was fitted without its fold. None: only the images of ``choose`` do.
    """

    weight_decay: float | str
    choose_by: str
    refit: bool
    iterations: int = 200
    folds_N: np.ndarray | None = None

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strengths to choose among."""
        return STRENGTHS if self.weight_decay == "auto" else (float(self.weight_decay),)


def require_solvable(head: nn.Module) -> LinearHead:
    """The head as one that the solver can fit.

    Raises:
        SettingError: it is not linear, pools in a way that has parameters, or has what only a loop uses.
    """
    if not isinstance(head, LinearHead) or head.reads == "map":
        raise SettingError(
            "train.optimizer = lbfgs solves a linear head with avg or max pooling; choose adamw or sgd for another head"
        )
    used = [name for name, has in (("dropout", head.dropout.p > 0), ("norm", head.norm is not None)) if has]
    if used:
        raise SettingError(
            f"model.head_args.{used[0]}: train.optimizer = lbfgs does not use it; leave it out, or choose adamw or sgd"
        )
    return head


def solve_head(head: nn.Module, train: Part, choose: Part, how: Solver, judge: Judge) -> Chosen:
    """Fit a linear head by the batched solver, for all strengths at once.

    Augmented views are further samples. The loss is a mean, so the images weigh as much against the regularization as
    without them; those that choose are judged as they are.

    Args:
        head: a linear head on ``avg`` or ``max`` pooled features; its weights are set.
        judge: (logits_NK, targets_NK) -> val_mAP and val_loss.

    Raises:
        SettingError: the head is another, or the strength is not above 0.
    """
    classifier = require_solvable(head).classifier
    if min(how.strengths) <= 0:
        raise SettingError(f"train.weight_decay = {how.weight_decay}: lbfgs needs a strength above 0")
    both = joined(train, choose)
    if how.folds_N is not None:
        # All views of an image lie in its fold; it is judged as it is, which is its first view.
        folds = torch.from_numpy(how.folds_N).repeat(both.features.views)
        found_RMK = cross_validated_logits(*_tensors(both), folds, how.strengths, how.iterations)
        logits_RMK = found_RMK[:, : len(how.folds_N)].numpy()
        judged, probe = both, None
    else:
        probe = fit_linear_probe(*_tensors(train), how.strengths, how.iterations)
        held_out = torch.from_numpy(choose.features.features).float()
        logits_RMK = (held_out @ probe.weights_RKD.transpose(1, 2) + probe.bias_RK[:, None]).numpy()
        judged = choose
    history: History = [
        {"weight_decay": strength, **_judged_by_fold(logits_MK, judged.targets_NK, how.folds_N, judge)}
        for strength, logits_MK in zip(how.strengths, logits_RMK, strict=True)
    ]
    best = max(range(len(history)), key=lambda r: choosing_value(history[r], how.choose_by))
    chosen = Chosen(how.strengths[best], history, judged.features.rows, logits_RMK[best])
    if how.refit or probe is None:
        final = both if how.refit else train
        probe, best = fit_linear_probe(*_tensors(final), (chosen.weight_decay,), how.iterations), 0
    with torch.no_grad():
        classifier.weight.copy_(probe.weights_RKD[best])
        classifier.bias.copy_(probe.bias_RK[best])
    return chosen


def _judged_by_fold(
    logits_MK: np.ndarray, targets_MK: np.ndarray, folds_M: np.ndarray | None, judge: Judge
) -> dict[str, float]:
    """The mean over folds of what is judged in each; scores of different folds come from different heads."""
    if folds_M is None:
        return judge(logits_MK, targets_MK)
    parts = [judge(logits_MK[folds_M == fold], targets_MK[folds_M == fold]) for fold in np.unique(folds_M)]
    return {name: float(np.nanmean([part[name] for part in parts])) for name in parts[0]}


class CachedHead(nn.Module):
    """A head as a model of cached features."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, cached: torch.Tensor) -> Output:
        """Logits of cached features (B, ...)."""
        return Output(self.head(as_features(cached, str(self.head.reads))))


@dataclass(frozen=True)
class HeadLoop:
    """How the training loop fits a head.

    Attributes:
        loop: epochs, warm-up, clipping, patience, choosing.
        make_optimizer: an optimizer of parameter groups.
        make_criterion: a model's losses, by the counts of the images that train it.
        schedule: of the learning rate.
        batch_size: images in a step.
        learning_rate: at the start of the schedule.
        seed: of the order and of dropout.
        balance: how often an epoch takes each image; each once where not given.
    """

    loop: LoopSettings
    make_optimizer: Callable[[Groups], torch.optim.Optimizer]
    make_criterion: Callable[[nn.Module, LabelCounts], Criterion]
    schedule: Schedule
    batch_size: int
    learning_rate: float
    seed: int
    balance: Balance | None = None

    def plan(self, train: Part) -> EpochPlan | None:
        """How often an epoch takes each image of a part; None for each once."""
        return None if self.balance is None else self.balance.plan(Holdings.of_targets(train.targets_NK))

    def fit(
        self, head: nn.Module, train: Part, weight_decay: float, evaluate: Evaluate, loop: LoopSettings,
        progress: Progress,
    ) -> TrainingState:  # fmt: skip
        """Fit once with one strength of weight decay; the head keeps the weights of the best epoch."""
        torch.manual_seed(self.seed)
        model = CachedHead(head)
        optimizer = self.make_optimizer(parameter_groups(model, self.learning_rate, 1.0, weight_decay))
        batches = FeatureBatches(train.features, train.targets_NK, self.batch_size, True, self.seed, self.plan(train))
        criterion = self.make_criterion(model, LabelCounts.of(train.targets_NK))
        trainer = Trainer(model, criterion, optimizer, self.schedule, loop, evaluate)
        state = trainer.fit(batches, "", progress)
        head.to("cpu")
        return state


def descend_head(
    head: nn.Module, train: Part, choose: Part, weight_decay: float | str, judge: Judge, how: HeadLoop, refit: bool,
    progress: Progress,
) -> Chosen:  # fmt: skip
    """Fit any head by the training loop on cached features.

    Args:
        head: its weights are set to those that ``choose`` chose.
        weight_decay: the strength, or ``auto`` for the best of DECAYS on ``choose``.
        judge: (logits_NK, targets_NK) -> val_mAP and val_loss.
        how: the loop's settings.
        refit: fit once more with the images that chose, for the number of epochs that they chose; the learning
            rate falls as far as it had fallen by then.
    """

    def evaluate(model: nn.Module) -> dict[str, float]:
        held_out = FeatureBatches(choose.features, choose.targets_NK, 1024)
        _, logits = score_batches(model, held_out, next(model.parameters()).device)
        return judge(logits, choose.targets_NK)

    start = copy.deepcopy(head.state_dict())
    history: History = []
    best: tuple[float, float, int, dict[str, torch.Tensor]] | None = None
    for decay in DECAYS if weight_decay == "auto" else (float(weight_decay),):
        head.load_state_dict(start)
        state = how.fit(head, train, decay, evaluate, how.loop, progress)
        history += [{"weight_decay": decay, **row} for row in state.history]
        if best is None or state.best_value > best[0]:
            best = (state.best_value, decay, state.best_epoch, copy.deepcopy(head.state_dict()))
    assert best is not None
    _, decay, epochs, weights = best
    head.load_state_dict(weights)
    held_out = FeatureBatches(choose.features, choose.targets_NK, 1024)
    chosen = Chosen(decay, history, *score_batches(CachedHead(head), held_out))
    if refit and epochs:
        head.load_state_dict(start)
        warmup = how.loop.warmup_epochs
        loop = LoopSettings(epochs, warmup, how.loop.clip_norm, choose_by="last", ema=how.loop.ema)
        share = max(0.0, epochs - warmup) / max(1e-9, how.loop.epochs - warmup)
        again = replace(how, schedule=lambda done: how.schedule(done * share))
        again.fit(head, joined(train, choose), decay, lambda model: {}, loop, Silent())
    return chosen


def joined(first: Part, second: Part) -> Part:
    """The images of both."""
    features = first.features.joined(second.features)
    return Part(features, np.concatenate([first.targets_NK, second.targets_NK]))


def _tensors(part: Part) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All views of the images, one after another, with their targets; the mean over them weighs images as before."""
    views = range(part.features.views)
    features = torch.cat([torch.from_numpy(np.asarray(part.features.view(view))) for view in views])
    targets = torch.from_numpy(part.targets_NK).repeat(len(views), 1)
    return features, targets == 1, targets >= 0
