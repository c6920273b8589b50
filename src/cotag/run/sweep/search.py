"""A search: settings that follow from those tried before, chosen by the images that choose, judged afterwards."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from cotag.errors import CotagError, TrainingError
from cotag.recipe import Recipe
from cotag.run.fitting import judge
from cotag.run.folder import RunFolder
from cotag.run.sweep.compared import Measure, compared, gathered
from cotag.run.sweep.fitting import Trials
from cotag.run.sweep.folder import Trial
from cotag.run.sweep.plan import BASELINE, Setting, changed_setting, setting_of, short_keys
from cotag.run.sweep.result import Sweep, keep_result, kept_on_failure
from cotag.run.sweep.search_sections import Searched, search_sections
from cotag.run.sweep.space import Space
from cotag.run.sweep.study import COMPLETE, FAILED, PRUNED, Asked, Search, Study
from cotag.training.head_fit import Judge
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def finish_search(fitter: Trials, recipe: Recipe, space: Space, how: Search, seeds: int, measure: Measure) -> Sweep:
    """Search, train the best setting and the recipe as it is with other seeds, compare them, write the report.

    Args:
        fitter: of the sweep, begun.
        seeds: of the two that are compared; none of those that the search had, whose luck is not counted again.
        measure: the number to raise.
    """
    started, folder, progress = time.monotonic(), fitter.folder, fitter.progress
    with kept_on_failure(folder, progress):
        searched = run_search(fitter, recipe, space, how, measure)
        planned, first = [Setting(BASELINE, (), recipe), searched.best], recipe.train.seed + how.each
        trials = [Trial(setting, seed) for seed in range(first, first + seeds) for setting in planned]
        fitter.fit([trial for trial in trials if folder.ended(trial) is None])
    fitted = time.monotonic()
    kept = gathered(trials, measure)
    comparison, rows = compared(kept, planned, measure)
    seconds = {"fitting": fitted - started, "comparing": time.monotonic() - fitted}
    sections, tried = search_sections(searched, comparison, rows, kept.failed), [asdict(one) for one in searched.tried]
    found = Sweep(folder.folder, rows, comparison, kept.failed, seconds, sections, tried)
    keep_result(found, repr(fitter.index))
    return found


class Given(Exception):
    """A trial was given up."""


def run_search(fitter: Trials, recipe: Recipe, space: Space, how: Search, measure: Measure) -> Searched:
    """Try settings until as many ended as were asked for; those that ended before are not tried again.

    Raises:
        TrainingError: the recipe as it is, or every trial, failed.
        StorageError: the disk is full; the trials that ended are kept.
    """
    folder, progress, seeds = measure.folder, fitter.progress, range(recipe.train.seed, recipe.train.seed + how.each)
    own = [Trial(Setting(BASELINE, (), recipe), seed) for seed in seeds]
    fitter.fit([trial for trial in own if folder.ended(trial) is None])
    messages = [record.message for trial in own if (record := folder.ended(trial)) and record.message]
    if messages:
        raise TrainingError(f"the recipe itself failed: {messages[0]}")
    study = Study(folder.study, how, space, recipe.train.seed, max(1, recipe.train.epochs // 4))
    tried = study.tried
    progress.say(f"search of {how.trials} settings, {how.each} training(s) each: {len(tried)} at hand")
    short = short_keys([part.key for part in space])
    with progress.task("settings tried", how.trials) as task:
        task.advance(min(len(tried), how.trials))
        while len(tried) < how.trials:
            asked = study.ask()
            setting = changed_setting(recipe, asked.changes, short)
            state, value, seconds, message = _try(fitter, setting, seeds, asked, measure)
            about = {"setting": setting.name, "overrides": list(setting.overrides), "seconds": seconds}
            study.tell(asked, state, value, {**about, "message": message})
            tried = study.tried
            best = max((one.value for one in tried if one.value is not None), default=float("nan"))
            task.advance(1, best=f"{best:.4f}")
    complete = [one for one in tried if one.value is not None]
    if not complete:
        raise TrainingError(f"none of {len(tried)} settings could be fitted; the first: {tried[0].message}")
    taken = max(complete, key=lambda one: one.value or 0.0)
    best_setting = setting_of(recipe, taken.setting, tuple(taken.overrides))
    number = float(np.mean([measure.chosen(trial) for trial in own]))
    return Searched(tried, best_setting, number, study.importance())


def _try(
    fitter: Trials, setting: Setting, seeds: Sequence[int], asked: Asked, measure: Measure
) -> tuple[str, float | None, float, str]:
    """How a setting ended, its number, seconds and message."""
    started, folder = time.monotonic(), measure.folder
    first, *others = trials = [Trial(setting, seed) for seed in seeds]
    if folder.ended(first) is None:
        try:
            watched = _watched(first, fitter.index.label_space, asked, measure)
            fitter.fit([first], watched if _has_epochs(setting.recipe) else judge)
        except Given:
            shutil.rmtree(folder.trials / first.key, ignore_errors=True)
            return PRUNED, None, time.monotonic() - started, ""
    fitter.fit([trial for trial in others if folder.ended(trial) is None])
    records = [folder.ended(trial) for trial in trials]
    messages = [record.message for record in records if record and record.message]
    seconds = sum(record.seconds for record in records if record)
    if messages:
        return FAILED, None, seconds, messages[0]
    try:
        return COMPLETE, float(np.mean([measure.chosen(trial) for trial in trials])), seconds, ""
    except CotagError as error:
        return FAILED, None, seconds, str(error).splitlines()[0]


def _has_epochs(recipe: Recipe | None) -> bool:
    """Whether one head goes through epochs, each of which is judged."""
    return recipe is not None and recipe.train.optimizer != "lbfgs" and recipe.train.weight_decay != "auto"


def _watched(trial: Trial, labels: LabelSpace, asked: Asked, measure: Measure) -> Judge:
    """Judges the images that choose after each epoch, and gives the trial up where it falls behind."""
    run = RunFolder(measure.folder.trials / trial.key)
    # A training end to end that was killed goes on behind its last epoch.
    before = run.history.read_text("utf-8").splitlines() if run.has_checkpoint else []
    if measure.metric == "mAP":
        for epoch, line in enumerate(before):
            asked.goes_on(epoch, json.loads(line)["val_mAP"])
    epochs = itertools.count(len(before))

    def judged(logits_NK: np.ndarray, targets_NK: np.ndarray) -> dict[str, float]:
        found = judge(logits_NK, targets_NK)
        value = found["val_mAP"]
        if measure.metric != "mAP":
            # The decision is fitted at the end; until then labels are given at 0.5, or by rank.
            ids = [str(row) for row in range(len(logits_NK))]
            value = measure.value(Scores(ids, logits_NK, targets_NK, "logit", labels), None)
        if not asked.goes_on(next(epochs), value):
            raise Given
        return found

    return judged
