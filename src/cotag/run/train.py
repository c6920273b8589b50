"""One training run, top to bottom: read, split, build, fit, predict, judge, report."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate.utils import broadcast_object_list, set_seed

from cotag.data.read import read
from cotag.data.splits import Roles, assign_roles
from cotag.errors import CotagError, ResumeError, SettingError
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import Report, evaluate
from cotag.evaluation.report import write_report
from cotag.evaluation.uncertainty import Interval, bootstrap_intervals, takes_seconds
from cotag.models.backbone_parts import frozen_told
from cotag.models.bundle import save_tagger
from cotag.models.tagger import Tagger
from cotag.recipe import Recipe
from cotag.run.balance import balance_report
from cotag.run.checks import check_recipe
from cotag.run.environment import environment
from cotag.run.fitting import Fitted, fit
from cotag.run.folder import RunFolder, new_folder
from cotag.run.losses import require_loss
from cotag.run.model import label_knowledge, make_tagger
from cotag.run.roles import require_positives, told
from cotag.run.sections import run_sections
from cotag.run.training_counts import training_counts
from cotag.storage import clear_leftovers, write_json
from cotag.training.processes import this_process
from cotag.training.trainer import write_history
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

Data = str | os.PathLike[str] | Index
# Images x labels that a run finds intervals of: more than a few seconds are asked of ``cotag evaluate``.
MOST_SCORES = 400_000


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where everything lies; see ``cotag.run.folder.RunFolder``.
        test: how the images that judge were judged.
        intervals: of the numbers of ``test``, name -> (low, high); none where the images are too many to be quick.
        seconds: how long reading, fitting and judging took.
        sections: of the report.
    """

    folder: Path
    test: Report
    intervals: dict[str, Interval]
    seconds: dict[str, float]
    sections: list[Section]

    @property
    def report(self) -> Path:
        """The HTML report."""
        return RunFolder(self.folder).report


def train(
    data: Data,
    recipe: str | os.PathLike[str] | Recipe = "quick",
    out: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    resume: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train a tagger and judge it.

    Args:
        data: ``format:path``, a path, or an Index.
        recipe: a preset's name, a YAML file, or a Recipe.
        out: the run's folder; ``runs/RECIPE-N`` where not given.
        overrides: settings as ``key=value``.
        resume: a run's folder to go on in, with its own recipe; ``out`` and ``recipe`` are not used then.
        force: whether what lies in ``out`` may be overwritten.
        progress: shows how far the work is; nothing by default.

    Raises:
        CotagError: whatever is wrong, in one line; what was finished before stays in the folder.
    """
    progress = progress or Silent()
    started = time.monotonic()
    begun = _resumed(data, resume, overrides) if resume is not None else _new(data, recipe, out, overrides, force)
    for line in (*begun.index.notes, *begun.roles.told):
        progress.say(line)
    settings, index, roles, folder = begun.recipe, begun.index, begun.roles, begun.folder
    if resume is not None and settings.train.mode == "end_to_end" and not folder.has_checkpoint:
        progress.say(f"{folder.folder}: no epoch was finished; begins at the first")
    about_balance = balance_report(settings, index, roles, progress)
    set_seed(settings.train.seed)
    knowledge = label_knowledge(settings, index, roles.train, progress)
    tagger = make_tagger(settings, index.label_space, knowledge)
    if settings.train.freeze:
        progress.say(frozen_told(tagger.backbone))
    process = this_process()
    if process.is_main_process:
        if resume is None:
            # Only now: until here a wrong setting costs nothing of what the folder held.
            folder.clear()
            settings.save(folder.recipe)
            folder.save_data(index, roles, "an Index" if isinstance(data, Index) else str(data))
        write_json(folder.environment, environment(settings.train.seed))
    process.wait_for_everyone()
    seconds = {"reading": time.monotonic() - started}
    try:
        fitted = fit(tagger, index, roles, settings, folder, progress, folder.has_checkpoint)
        report, intervals, sections = _finish(tagger, begun, fitted, [*about_balance, *knowledge.sections])
    except (CotagError, KeyboardInterrupt) as error:
        if not isinstance(error, SettingError):
            progress.say(f"what was finished is kept; to go on give --resume {folder.folder}")
        raise
    seconds.update(fitted.seconds, total=time.monotonic() - started)
    result = {"seconds": seconds, "skipped": fitted.skipped, "weight_decay": fitted.weight_decay}
    if process.is_main_process:
        write_json(folder.result, {"test": report.to_json(), "intervals": intervals, **result})
    return Run(folder.folder, report, intervals, seconds, sections)


@dataclass(frozen=True)
class _Begun:
    recipe: Recipe
    index: Index
    roles: Roles
    folder: RunFolder


def _new(
    data: Data,
    recipe: str | os.PathLike[str] | Recipe,
    out: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    force: bool,
) -> _Begun:
    settings = Recipe.load(recipe, overrides)
    check_recipe(settings)
    folder = _agreed_folder(out, _name(recipe), force)
    index = _index(data, settings)
    given = settings.data
    roles = assign_roles(index, given.train, given.choose, given.test, settings.train.seed)
    for role in ("train", "choose", "test"):
        require_positives(role, index, getattr(roles, role))
    require_loss(settings, index, roles)
    return _Begun(settings, index, replace(roles, told=told(roles, settings)), folder)


def _agreed_folder(out: str | os.PathLike[str] | None, name: str, force: bool) -> RunFolder:
    """The new folder that the first of the processes finds free; the others take the same."""
    process = this_process()
    found = [str(new_folder(out, name, force).folder) if process.is_main_process else ""]
    if process.num_processes > 1:
        broadcast_object_list(found)
    return RunFolder(found[0])


def _resumed(data: Data, resume: str | os.PathLike[str], overrides: Sequence[str]) -> _Begun:
    if overrides:
        raise SettingError("--resume takes the settings that the run began with; leave --set out, or train anew")
    folder = RunFolder(resume)
    if not folder.recipe.is_file():
        raise ResumeError(f"{folder.folder}: holds no run that can be resumed; train without --resume")
    settings = Recipe.load(folder.recipe)
    index = _index(data, settings)
    folder.require_same_labels(index.label_space)
    roles = folder.load_roles(index)
    if this_process().is_main_process:
        clear_leftovers(folder.folder)
    return _Begun(settings, index, roles, folder)


def _index(data: Data, recipe: Recipe) -> Index:
    return data if isinstance(data, Index) else read(data, **recipe.data.read)


def _name(recipe: str | os.PathLike[str] | Recipe) -> str:
    return "run" if isinstance(recipe, Recipe) else Path(recipe).stem


def _finish(
    tagger: Tagger, begun: _Begun, fitted: Fitted, about_labels: Sequence[Section]
) -> tuple[Report, dict[str, Interval], list[Section]]:
    """Save the model, the scores and the report, with sections on the graph and vectors of the labels."""
    recipe, index, folder, is_main = begun.recipe, begun.index, begun.folder, this_process().is_main_process
    decision = Decision(**recipe.decide.model_dump())
    counts_K = training_counts(index, begun.roles, recipe)
    reports: dict[str, Report] = {}
    for role in ("choose", "test"):
        rows, logits_NK = fitted.scores[role]
        origin = {"model": str(folder.model), "split": role, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        ids = [index.ids[int(row)] for row in rows]
        scores = Scores(ids, logits_NK.astype(np.float32), index.targets(rows), "logit", index.label_space, origin)
        reports[role] = evaluate(scores, decision, train_counts=counts_K)
        if is_main:
            scores.save(folder.scores(role))
    # The scores of the last role, those that judge.
    intervals = bootstrap_intervals(scores, decision) if takes_seconds(scores, MOST_SCORES) else {}
    sections = run_sections(reports["test"], intervals, scores, decision, begun.roles, index, fitted, recipe)
    sections[-2:-2] = about_labels
    about = {"data": list(begun.roles.told), "mode": recipe.train.mode, "weights": recipe.model.weights}
    tagger.to("cpu")
    if is_main:
        write_history(folder.history, fitted.history)
        save_tagger(tagger, folder.model, decision.to_json(), about)
        write_report(sections, folder.report, f"Run {folder.folder.name}", repr(index), force=True)
    return reports["test"], intervals, sections
