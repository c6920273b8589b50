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
from cotag.errors import CotagError, ResumeError, SettingError, Terminated
from cotag.evaluation.metrics import Report, evaluate
from cotag.evaluation.report import write_report
from cotag.evaluation.uncertainty import Interval, bootstrap_intervals, takes_seconds
from cotag.models.backbone_parts import frozen_told
from cotag.models.bundle import save_tagger
from cotag.models.settings import write_calibration
from cotag.models.tagger import Tagger
from cotag.recipe import Recipe
from cotag.run.balance import balance_report
from cotag.run.checks import check_recipe
from cotag.run.deciding import decide, require_decision
from cotag.run.environment import environment
from cotag.run.final import Final, begin_final, finished_run, source_of
from cotag.run.fitting import Fitted, fit
from cotag.run.folder import RunFolder, new_folder
from cotag.run.losses import require_loss
from cotag.run.model import label_knowledge, make_tagger
from cotag.run.normalization import with_numbers
from cotag.run.roles import require_positives, told
from cotag.run.sections import run_sections
from cotag.run.training_counts import training_counts
from cotag.storage import clear_leftovers, write_json
from cotag.training.processes import this_process
from cotag.training.safekeeping import write_history
from cotag.training.watch import watched
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


@watched()
def train(
    data: Data | None = None,
    recipe: str | os.PathLike[str] | Recipe = "quick",
    out: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    resume: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    final: str | os.PathLike[str] | None = None,
) -> Run:
    """Train a tagger and judge it.

    Args:
        data: ``format:path``, a path, or an Index; with ``final`` that of the run where not given.
        recipe: a preset's name, a YAML file, or a Recipe.
        out: the run's folder; ``runs/RECIPE-N`` where not given.
        overrides: settings as ``key=value``.
        resume: a run's folder to go on in, with its own recipe; ``out`` and ``recipe`` are not used then.
        force: whether what lies in ``out`` may be overwritten.
        progress: shows how far the work is; nothing by default.
        final: a finished run's folder, whose settings are taken: its training and validation images train together
            for the epoch that its validation chose; ``recipe`` is not used then.

    Raises:
        CotagError: whatever is wrong, in one line; what was finished before stays in the folder.
    """
    progress, started = progress or Silent(), time.monotonic()
    begun = _begin(data, recipe, out, overrides, resume, force, final)
    for line in (*begun.index.notes, *begun.roles.told):
        progress.say(line)
    begun = replace(begun, recipe=with_numbers(begun.recipe, begun.index, begun.roles, progress))
    settings, index, roles, folder = begun.recipe, begun.index, begun.roles, begun.folder
    if resume is not None and settings.train.mode == "end_to_end" and not folder.has_checkpoint:
        progress.say(f"{folder.folder}: holds no checkpoint yet; begins at the first epoch")
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
            begun.save()
        write_json(folder.environment, environment(settings.train.seed))
    process.wait_for_everyone()
    seconds = {"reading": time.monotonic() - started}
    try:
        fitted = fit(tagger, index, roles, settings, folder, progress, folder.has_checkpoint, begun.stop_after)
        report, intervals, sections = _finish(tagger, begun, fitted, [*about_balance, *knowledge.sections], progress)
    except (CotagError, KeyboardInterrupt, Terminated) as error:
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
    source: str
    final: Final | None = None

    @property
    def stop_after(self) -> int | None:
        """The epoch that a final run ends with."""
        return None if self.final is None else self.final.epoch

    def save(self) -> None:
        """Put all that does not change any more into the folder, in the place of an earlier run."""
        self.folder.clear()
        self.recipe.save(self.folder.recipe)
        self.folder.save_data(self.index, self.roles, self.source)
        if self.final is not None:
            write_json(self.folder.final, self.final.to_json())


def _begin(
    data: Data | None,
    recipe: str | os.PathLike[str] | Recipe,
    out: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    resume: str | os.PathLike[str] | None,
    force: bool,
    final: str | os.PathLike[str] | None,
) -> _Begun:
    """The beginning of a new run, of one that goes on, or of one on the union of a finished one."""
    if final is not None:
        return _final(data, final, out, force, used=bool(overrides) or resume is not None)
    if resume is not None:
        return _resumed(data, resume, overrides)
    return _new(data, recipe, out, overrides, force)


def _new(
    data: Data | None,
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
    require_decision(settings, index, roles)
    return _Begun(settings, index, replace(roles, told=told(roles, settings)), folder, _source(data))


def _final(
    data: Data | None, run: str | os.PathLike[str], out: str | os.PathLike[str] | None, force: bool, used: bool
) -> _Begun:
    if used:
        raise SettingError("--final takes the settings of the run as they are; leave --set and --resume out")
    first = finished_run(run, out)
    data = source_of(first) if data is None else data
    folder = _agreed_folder(out, f"{first.folder.resolve().name}-final", force)
    index = _index(data, Recipe.load(first.recipe))
    begun = begin_final(first, index)
    require_positives("test", index, begun.roles.test)
    require_loss(begun.recipe, index, begun.roles)
    return _Begun(begun.recipe, index, begun.roles, folder, _source(data), begun.final)


def _agreed_folder(out: str | os.PathLike[str] | None, name: str, force: bool) -> RunFolder:
    """The new folder that the first of the processes finds free; the others take the same."""
    process = this_process()
    found = [str(new_folder(out, name, force).folder) if process.is_main_process else ""]
    if process.num_processes > 1:
        broadcast_object_list(found)
    return RunFolder(found[0])


def _resumed(data: Data | None, resume: str | os.PathLike[str], overrides: Sequence[str]) -> _Begun:
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
    return _Begun(settings, index, roles, folder, _source(data), Final.load(folder))


def _source(data: Data | None) -> str:
    return "an Index" if isinstance(data, Index) else str(data)


def _index(data: Data | None, recipe: Recipe) -> Index:
    if data is None:
        raise SettingError("there are no data to train on; give format:path, or final=RUN for those of a finished run")
    return data if isinstance(data, Index) else read(data, **recipe.data.read)


def _name(recipe: str | os.PathLike[str] | Recipe) -> str:
    return "run" if isinstance(recipe, Recipe) else Path(recipe).stem


def _scores(begun: _Begun, role: str, rows: np.ndarray, logits_NK: np.ndarray) -> Scores:
    index, logits_NK = begun.index, logits_NK.astype(np.float32)
    origin = {"model": str(begun.folder.model), "split": role, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    return Scores(index.ids_of(rows), logits_NK, index.targets(rows), "logit", index.label_space, origin)


def _finish(
    tagger: Tagger, begun: _Begun, fitted: Fitted, about_labels: Sequence[Section], progress: Progress
) -> tuple[Report, dict[str, Interval], list[Section]]:
    """Save the model, the scores and the report, with sections on the graph and vectors of the labels."""
    recipe, index, folder, is_main = begun.recipe, begun.index, begun.folder, this_process().is_main_process
    calibration, about_choice = None, list(about_labels)
    if begun.final is not None:
        decision, calibration = begun.final.judged_by(index.label_space)
        fitted = begun.final.without_choice(fitted)
        about_choice.insert(0, begun.final.section())
    found = {role: _scores(begun, role, *rows_and_logits) for role, rows_and_logits in fitted.scores.items()}
    if begun.final is None:
        decided = decide(recipe, index, begun.roles, found["choose"], progress)
        decision, about_choice[:0] = decided.decision, decided.sections
    counts_K = training_counts(index, begun.roles, recipe)
    reports: dict[str, Report] = {}
    for role, scores in found.items():
        scores = calibration.apply(scores) if calibration is not None else scores
        reports[role] = evaluate(scores, decision, train_counts=counts_K)
        if is_main:
            scores.save(folder.scores(role))
    # The scores of the last role, those that judge.
    intervals = bootstrap_intervals(scores, decision) if takes_seconds(scores, MOST_SCORES) else {}
    sections = run_sections(reports["test"], intervals, scores, decision, begun.roles, index, fitted, recipe)
    sections[-2:-2] = about_choice
    about = {"data": list(begun.roles.told), "mode": recipe.train.mode, "weights": recipe.model.weights}
    tagger.to("cpu")
    if is_main:
        write_history(folder.history, fitted.history)
        save_tagger(tagger, folder.model, decision.to_json(), about)
        if calibration is not None:
            write_calibration(folder.model, calibration, decision.to_json())
        write_report(sections, folder.report, f"Run {folder.folder.name}", repr(index), force=True)
    return reports["test"], intervals, sections
