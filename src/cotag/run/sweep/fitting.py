"""Fitting the trials of a sweep: together where their shapes allow, else one after another."""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import nn

from cotag.data.sampling import Balance
from cotag.data.splits import Roles
from cotag.errors import CotagError, DataError, StorageError, TrainingError
from cotag.models.backbone import Backbone, parameter_count
from cotag.models.scoring import score_batches
from cotag.models.tagger import head_needs
from cotag.recipe import Recipe
from cotag.registry import HEADS, LOSSES, OPTIMIZERS
from cotag.run.balance import balance_of
from cotag.run.checks import check_recipe
from cotag.run.fitting import fit_end_to_end, fit_head, folds_of, head_loop, judge, parts_of, start_at_base_rate
from cotag.run.folder import RunFolder
from cotag.run.losses import as_taught, require_loss
from cotag.run.model import label_knowledge, make_tagger
from cotag.run.normalization import with_numbers
from cotag.run.sweep.crew import Crew
from cotag.run.sweep.folder import Record, SweepFolder, Trial
from cotag.run.sweep.roles import trial_roles
from cotag.run.views import features_of, views_of
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.head_fit import CachedHead, Chosen, Judge, Part, require_solvable
from cotag.training.label_counts import LabelCounts
from cotag.training.loop_settings import choosing_value
from cotag.training.processes import this_process
from cotag.training.together import Fit, fit_together, together_key
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent, Task
from cotag.types.scores import Scores

# Weights of heads that are fitted together: more do not stay in a processor's cache, and take longer than one by one.
MOST_BYTES = 16 * 2**20
MOST_PARTS = 16


@dataclass(frozen=True)
class _Ready:
    """A trial with its untrained head and its images."""

    trial: Trial
    recipe: Recipe
    head: nn.Module
    parts: dict[str, Part]
    balance: Balance | None


class Trials:
    """Fits trials and keeps what they give.

    Args:
        index: the images.
        recipe: of the sweep; its seed splits off the images that judge, which are the same for all trials.
        folder: where records and scores go.
        progress: shows how far the work is.
        folds: in how many all images take turns in judging, one for each seed; None for images that always judge.
    """

    def __init__(
        self, index: Index, recipe: Recipe, folder: SweepFolder, progress: Progress, folds: int | None = None
    ) -> None:
        self.index, self.seed, self.folder, self.progress = index, recipe.train.seed, folder, progress
        self.folds = folds
        self._roles: dict[Hashable, Roles] = {}
        self._features: dict[Hashable, FeatureSet] = {}
        self._parts: dict[Hashable, dict[str, Part]] = {}
        self._balances: dict[Hashable, Balance | None] = {}
        self._begun: dict[Hashable, tuple[torch.Tensor, int]] = {}
        self._judge: Judge = judge

    def fit(self, trials: Sequence[Trial], judge: Judge = judge) -> None:
        """Fit trials; one that fails is recorded with its message, and the rest goes on.

        Args:
            trials: of those that train the same, the first is fitted.
            judge: of the images that choose, after each epoch; may raise to give up.

        Raises:
            StorageError: the disk is full; the trials that ended are kept.
        """
        self._judge = judge
        distinct: dict[str, Trial] = {}
        for trial in trials:
            distinct.setdefault(trial.key, trial)
        waiting: dict[Hashable, list[_Ready]] = {}
        with self.progress.task("trials", len(distinct)) as task, Crew() as crew:
            most = -(-len(distinct) // crew.size)
            # By seed, so that those that wait for each other have the same images.
            for trial in sorted(distinct.values(), key=lambda trial: trial.seed):
                try:
                    ready = self._prepared(trial)
                    key = self._key(ready) if ready else None
                    if ready is None or key is None:
                        self._alone(trial, ready)
                        task.advance(1)
                        continue
                except StorageError:
                    raise
                except (CotagError, RuntimeError) as error:
                    self._failed(trial, error)
                    task.advance(1)
                    continue
                group = waiting.setdefault(key, [])
                group.append(ready)
                if len(group) >= most or (len(group) + 1) * _bytes(ready.head) > MOST_BYTES:
                    self._together(waiting.pop(key), crew, task)
            for group in waiting.values():
                self._together(group, crew, task)

    def roles(self, recipe: Recipe) -> Roles:
        """Which images train, choose and judge; those that judge are the same for all seeds, or take turns in folds."""
        data = recipe.data
        key: Hashable = (data.train, data.choose, data.test, recipe.train.seed)
        if key not in self._roles:
            self._roles[key] = trial_roles(self.index, recipe, self.seed, self.folds)
        return self._roles[key]

    def _prepared(self, trial: Trial) -> _Ready | None:
        """The trial's untrained head and images; None where the whole model is trained."""
        if trial.setting.recipe is None:
            raise DataError(trial.setting.message)
        recipe = self._with_numbers(trial.recipe)
        check_recipe(recipe)
        if recipe.train.mode != "features":
            return None
        require_loss(recipe, self.index, self.roles(recipe))
        head = self._head(recipe)
        if recipe.train.optimizer == "lbfgs":
            require_solvable(head)
        parts = self._parts_of(recipe, str(head.reads))
        return _Ready(trial, recipe, head, parts, self._balance(recipe))

    def _balance(self, recipe: Recipe) -> Balance | None:
        """The trial's sampler; the same one for trials with the same images, which then have them in the same order."""
        about = (recipe.balance, recipe.data, recipe.train.seed, recipe.train.mode, recipe.train.refit)
        key = json.dumps([one if isinstance(one, int | str) else one.model_dump(mode="json") for one in about])
        if key not in self._balances:
            self._balances[key] = balance_of(recipe, self.index, self.roles(recipe))
        return self._balances[key]

    def _with_numbers(self, recipe: Recipe) -> Recipe:
        """The recipe with the numbers that pixels are normalized by."""
        return with_numbers(recipe, self.index, self.roles(recipe), Silent())

    def _head(self, recipe: Recipe) -> nn.Module:
        """The untrained head that ``make_tagger`` would give after ``set_seed``, without the backbone each time."""
        model, seed = recipe.model, recipe.train.seed
        knowledge = label_knowledge(recipe, self.index, self.roles(recipe).train, Silent(), pictured=False)
        key = (model.backbone, json.dumps(model.backbone_args, sort_keys=True), model.weights, seed)
        if key not in self._begun:
            set_seed(seed)
            body = Backbone(model.backbone, model.backbone_args, model.weights)
            self._begun[key] = (torch.get_rng_state(), body.num_features)
        state, width = self._begun[key]
        torch.set_rng_state(state)
        needed = {name: knowledge.supplies[name] for name in head_needs(model.head)}
        args = {**model.head_args, **knowledge.head_args}
        labels = len(self.index.label_space)
        head: nn.Module = HEADS.build(model.head, num_features=width, num_labels=labels, **needed, **args)
        return head

    def _parts_of(self, recipe: Recipe, reads: str) -> dict[str, Part]:
        """The trial's images by role, with what its head reads."""
        data, model = recipe.data, recipe.model
        # Random weights are others for each seed, and so are augmented views and the images that have them.
        seed = recipe.train.seed if model.weights == "none" or data.augment else None
        views = hash(views_of(recipe, self.roles(recipe)).rows)
        about = {"data": data.model_dump(mode="json"), "backbone": model.backbone, "args": model.backbone_args}
        source = (json.dumps({**about, "weights": model.weights, "reads": reads, "seed": seed}, sort_keys=True), views)
        key = (source, recipe.train.seed)
        if key not in self._parts:
            roles = self.roles(recipe)
            if source not in self._features:
                set_seed(recipe.train.seed)
                knowledge = label_knowledge(recipe, self.index, roles.train, Silent(), pictured=False)
                tagger = make_tagger(recipe, self.index.label_space, knowledge)
                device = this_process().device
                found = features_of(tagger, self.index, roles, recipe, self.progress, device)
                _drop_first(self._features)
                self._features[source] = found
            _drop_first(self._parts)
            self._parts[key] = parts_of(self._features[source], self.index, roles, recipe)
        return self._parts[key]

    def _key(self, ready: _Ready) -> Hashable | None:
        """What trials must have in common to be fitted together; None for one that is fitted alone."""
        given = ready.recipe.train
        # Losses and optimizers of other packages may look at a batch as a whole.
        if given.loss not in LOSSES.table or given.optimizer not in OPTIMIZERS.table:
            return None
        key = together_key(_fit_of(ready))
        if key is None:
            return None
        parts = (given.optimizer, given.optimizer_args, given.loss, given.loss_args)
        return (key, json.dumps(parts, sort_keys=True))

    def _together(self, group: Sequence[_Ready], crew: Crew, task: Task) -> None:
        judge = self._judge

        def work() -> tuple[list[Chosen | TrainingError], float]:
            started = time.monotonic()
            found = fit_together([_fit_of(ready) for ready in group], judge, Silent())
            return found, (time.monotonic() - started) / len(group)

        def keep(done: tuple[list[Chosen | TrainingError], float]) -> None:
            found, seconds = done
            for ready, chosen in zip(group, found, strict=True):
                if isinstance(chosen, Chosen):
                    self._keep(ready, chosen, seconds, len(group))
                else:
                    self._failed(ready.trial, chosen)
            task.advance(len(group), seconds=f"{seconds:.2f}")

        for ready in group:
            targets_NK = ready.parts["train"].targets_NK
            start_at_base_rate(ready.head, as_taught(ready.recipe, LabelCounts.of(targets_NK), len(targets_NK)))
        crew.give(work, keep)

    def _alone(self, trial: Trial, ready: _Ready | None) -> None:
        started = time.monotonic()
        if ready is None:
            self._end_to_end(trial)
            return
        folds_N = folds_of(ready.parts, self.index, self.roles(ready.recipe), ready.recipe)
        set_seed(ready.recipe.train.seed)
        chosen = fit_head(ready.head, ready.parts, ready.recipe, folds_N, Silent(), ready.balance, self._judge)
        self._keep(ready, chosen, time.monotonic() - started, 1)

    def _end_to_end(self, trial: Trial) -> None:
        started, recipe = time.monotonic(), self._with_numbers(trial.recipe)
        roles = self.roles(recipe)
        set_seed(recipe.train.seed)
        tagger = make_tagger(
            recipe, self.index.label_space, label_knowledge(recipe, self.index, roles.train, Silent(), pictured=False)
        )
        run = RunFolder(self.folder.trials / trial.key)
        fitted = fit_end_to_end(tagger, self.index, roles, recipe, run, self.progress, run.has_checkpoint, self._judge)
        best = max(fitted.history, key=lambda row: choosing_value(row, recipe.train.choose_by))
        about = Record(
            trial.setting.name, trial.seed, "", best["val_mAP"], time.monotonic() - started, parameter_count(tagger), 1
        )
        scores = {role: self._scores(trial, role, *fitted.scores[role]) for role in fitted.scores}
        self.folder.keep(trial, about, scores, fitted.history)

    def _keep(self, ready: _Ready, chosen: Chosen, seconds: float, together: int) -> None:
        test = ready.parts["test"]
        found = {
            "choose": (chosen.rows, chosen.logits_MK),
            "test": score_batches(CachedHead(ready.head), FeatureBatches(test.features, test.targets_NK, 1024)),
        }
        own = [row for row in chosen.history if row["weight_decay"] == chosen.weight_decay]
        best = max(own, key=lambda row: choosing_value(row, ready.recipe.train.choose_by))
        trial, count = ready.trial, parameter_count(ready.head)
        about = (seconds, count, together, chosen.weight_decay)
        record = Record(trial.setting.name, trial.seed, "", best["val_mAP"], *about)
        scores = {role: self._scores(trial, role, *logits) for role, logits in found.items()}
        self.folder.keep(trial, record, scores, own)

    def _scores(self, trial: Trial, role: str, rows: np.ndarray, logits_NK: np.ndarray) -> Scores:
        ids = self.index.ids_of(rows)
        origin = {"setting": trial.setting.name, "seed": trial.seed, "split": role}
        targets_NK = self.index.targets(rows)
        return Scores(ids, logits_NK.astype(np.float32), targets_NK, "logit", self.index.label_space, origin)

    def _failed(self, trial: Trial, error: Exception) -> None:
        message = str(error).splitlines()[0]
        self.progress.say(f"{trial.setting.name}, seed {trial.seed}: failed: {message}")
        self.folder.keep(trial, Record(trial.setting.name, trial.seed, message))


def _fit_of(ready: _Ready) -> Fit:
    given, parts = ready.recipe.train, ready.parts
    how = head_loop(ready.recipe, parts, ready.balance)
    return Fit(ready.head, parts["train"], parts["choose"], given.weight_decay, how, given.refit)


def _bytes(head: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in head.parameters())


def _drop_first(kept: dict[Hashable, Any]) -> None:
    if len(kept) >= MOST_PARTS:
        del kept[next(iter(kept))]
