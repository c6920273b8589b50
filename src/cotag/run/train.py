"""One training run, top to bottom: read, split, build, fit, predict, judge, report."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import set_seed

from cotag.data.read import read
from cotag.data.splits import Roles, assign_roles
from cotag.errors import DataError, SettingError
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import Report, evaluate
from cotag.evaluation.report import write_report
from cotag.models.bundle import save_tagger
from cotag.models.tagger import Tagger, build_tagger
from cotag.recipe import Recipe
from cotag.registry import AUGMENTATIONS, HEADS, LOSSES, OPTIMIZERS, SCHEDULES
from cotag.run.environment import environment
from cotag.run.fitting import Fitted, fit
from cotag.run.folder import RunFolder, new_folder
from cotag.run.sections import run_sections
from cotag.storage import write_json
from cotag.training.trainer import write_history
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

Data = str | os.PathLike[str] | Index


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where everything lies; see ``cotag.run.folder.RunFolder``.
        test: how the images that judge were judged.
        seconds: how long reading, fitting and judging took.
        sections: of the report.
    """

    folder: Path
    test: Report
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
    set_seed(settings.train.seed)
    tagger = _tagger(settings, index)
    if resume is None:
        settings.save(folder.recipe)
        folder.save_data(index, roles, "an Index" if isinstance(data, Index) else str(data))
    write_json(folder.environment, environment(settings.train.seed))
    seconds = {"reading": time.monotonic() - started}
    fitted = fit(tagger, index, roles, settings, folder, progress, resume is not None)
    report, sections = _finish(tagger, begun, fitted)
    seconds.update(fitted.seconds, total=time.monotonic() - started)
    write_json(
        folder.result,
        {"test": report.to_json(), "seconds": seconds, "skipped": fitted.skipped, "weight_decay": fitted.weight_decay},
    )
    return Run(folder.folder, report, seconds, sections)


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
    check_names(settings)
    index = _index(data, settings)
    given = settings.data
    roles = assign_roles(index, given.train, given.choose, given.test, settings.train.seed)
    _require_positives(index, roles)
    return _Begun(settings, index, roles, new_folder(out, _name(recipe), force))


def _resumed(data: Data, resume: str | os.PathLike[str], overrides: Sequence[str]) -> _Begun:
    if overrides:
        raise SettingError("--resume takes the settings that the run began with; leave --set out, or train anew")
    folder = RunFolder(resume)
    settings = Recipe.load(folder.recipe) if folder.recipe.is_file() else Recipe()
    index = _index(data, settings)
    folder.require_same_labels(index.label_space)
    return _Begun(settings, index, folder.load_roles(index), folder)


def _index(data: Data, recipe: Recipe) -> Index:
    return data if isinstance(data, Index) else read(data, **recipe.data.read)


def check_names(recipe: Recipe) -> None:
    """Refuse unknown names and settings of components before any work is done.

    Raises:
        SettingError: names the setting, and the nearest that there is.
    """
    fit_by = recipe.train
    HEADS.check(recipe.model.head, recipe.model.head_args)
    LOSSES.check(fit_by.loss, fit_by.loss_args)
    SCHEDULES.check(fit_by.schedule, fit_by.schedule_args)
    for name in recipe.data.augment:
        AUGMENTATIONS.get(name)
    if fit_by.optimizer != "lbfgs":
        OPTIMIZERS.check(fit_by.optimizer, fit_by.optimizer_args)
    if fit_by.mode == "features" and recipe.data.augment:
        raise SettingError("data.augment: features are computed once; set train.mode=end_to_end to augment")
    if fit_by.mode == "end_to_end" and fit_by.optimizer == "lbfgs":
        raise SettingError("train.optimizer = lbfgs: solves a head on features; choose adamw or sgd for end_to_end")
    if fit_by.mode == "end_to_end" and fit_by.weight_decay == "auto":
        raise SettingError("train.weight_decay = auto: is chosen on features only; give a number for end_to_end")
    if fit_by.optimizer != "lbfgs" and fit_by.folds is not None:
        raise SettingError("train.folds: is for train.optimizer = lbfgs; leave it out, or choose lbfgs")
    if fit_by.optimizer == "lbfgs" and (fit_by.loss != "bce" or fit_by.loss_args):
        raise SettingError(f"train.optimizer = lbfgs: solves loss bce only, given {fit_by.loss}; choose adamw or sgd")


def _name(recipe: str | os.PathLike[str] | Recipe) -> str:
    return "run" if isinstance(recipe, Recipe) else Path(recipe).stem


def _tagger(recipe: Recipe, index: Index) -> Tagger:
    preprocessing: dict[str, Any] = {
        "image_size": recipe.data.image_size,
        "resize": recipe.data.resize,
        "interpolation": None if recipe.data.interpolation == "model" else recipe.data.interpolation,
        "mean": recipe.data.mean,
        "std": recipe.data.std,
    }
    model = recipe.model
    return build_tagger(
        index.label_space,
        model.backbone,
        model.head,
        model.backbone_args,
        model.weights,
        model.head_args,
        preprocessing,
    )


def _require_positives(index: Index, roles: Roles) -> None:
    """Each role needs some label that is present and some image where it is not."""
    for role in ("train", "choose", "test"):
        rows = getattr(roles, role)
        if not any((index.targets(rows[start : start + 4096]) == 1).any() for start in range(0, len(rows), 4096)):
            what = {"train": "train", "choose": "choose", "test": "judge"}[role]
            raise DataError(
                f"none of the {len(rows)} images that {what} has a label; look at the label file or the splits"
            )


def _finish(tagger: Tagger, begun: _Begun, fitted: Fitted) -> tuple[Report, list[Section]]:
    """Save the model, the scores and the report."""
    recipe, index, folder = begun.recipe, begun.index, begun.folder
    decision = Decision(**recipe.decide.model_dump())
    reports: dict[str, Report] = {}
    for role in ("choose", "test"):
        rows, logits_NK = fitted.scores[role]
        origin = {"model": str(folder.model), "split": role, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        ids = [index.ids[int(row)] for row in rows]
        scores = Scores(ids, logits_NK.astype(np.float32), index.targets(rows), "logit", index.label_space, origin)
        scores.save(folder.scores(role))
        reports[role] = evaluate(scores, decision)
    write_history(folder.history, fitted.history)
    about = {"data": list(begun.roles.told), "mode": recipe.train.mode, "weights": recipe.model.weights}
    tagger.to("cpu")
    if PartialState().is_main_process:
        save_tagger(tagger, folder.model, decision.to_json(), about)
    sections = run_sections(reports["test"], begun.roles, index, fitted, recipe)
    write_report(sections, folder.report, f"Run {folder.folder.name}", repr(index), force=True)
    return reports["test"], sections
