"""One sweep, top to bottom: plan, fit what is not fitted yet, compare, report."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cotag.data.read import read
from cotag.errors import ResumeError, SettingError, suggestion
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.resampled import headline_names
from cotag.recipe import Recipe
from cotag.run.checks import check_recipe
from cotag.run.sweep.compared import Measure, chosen_anew, compared, gathered
from cotag.run.sweep.deciding import decider
from cotag.run.sweep.fitting import Trials
from cotag.run.sweep.folder import SweepFolder, Trial
from cotag.run.sweep.plan import Setting, parse_grid, plan
from cotag.run.sweep.result import Sweep as Sweep
from cotag.run.sweep.result import keep_result, kept_on_failure
from cotag.run.sweep.search import finish_search
from cotag.run.sweep.sections import sweep_sections
from cotag.run.sweep.space import parse_space
from cotag.run.sweep.steps import Step, plan_steps
from cotag.run.sweep.study import Search, require_optuna
from cotag.run.sweep.waterfall import compared_steps, waterfall_sections
from cotag.storage import clear_leftovers, require_free
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent

SWEEPS = Path("sweeps")


def sweep(
    data: str | os.PathLike[str] | Index,
    recipe: str | os.PathLike[str] | Recipe,
    grid: Sequence[str],
    seeds: int = 5,
    one_at_a_time: bool = False,
    metric: str = "mAP",
    out: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
    folds: int | None = None,
    most: int | None = None,
    search: Search | None = None,
    steps: Sequence[Step] = (),
    protocol: str = "default",
) -> Sweep:
    """Try settings of a recipe, each with several seeds, and compare them with the recipe as it is.

    The images that judge are the same for all trials; those that choose are others for each seed, where they are
    split off those that train.

    Args:
        data: ``format:path``, a path, or an Index.
        recipe: a preset's name, a YAML file, or a Recipe.
        grid: ``key=value,value`` texts; for a search ``key=low..high`` as well.
        seeds: of each setting, from the recipe's on.
        one_at_a_time: change one key of the grid at a time, and not all together.
        metric: the number to compare.
        out: the sweep's folder; ``sweeps/RECIPE-N`` where not given.
        overrides: settings of the recipe as ``key=value``.
        force: whether what lies in ``out`` may be overwritten.
        progress: shows how far the work is; nothing by default.
        folds: for small data: all images take turns in judging, in so many folds, one training of each setting in
            each; ``seeds`` is not used then.
        most: so many settings of the grid, drawn at random; all where not given.
        search: in place of the whole grid, settings that follow from those tried before; the one that the images that
            choose like best, and the recipe as it is, are then trained with ``seeds`` other seeds and compared.
        steps: in place of a grid, techniques that are switched on one after another; each is compared with what
            stands before it, and with the recipe as it is.
        protocol: how the number is computed; see ``evaluate``.

    Raises:
        CotagError: whatever is wrong, in one line; trials that ended stay in the folder.
    """
    settings = Recipe.load(recipe, overrides)
    check_recipe(settings)
    asked = {
        "data": None if isinstance(data, Index) else str(data),
        "grid": list(grid), "seeds": folds or seeds, "one_at_a_time": one_at_a_time, "metric": metric,
        "folds": folds, "most": most, "search": asdict(search) if search else None,
        "steps": [asdict(step) for step in steps], "protocol": protocol,
    }  # fmt: skip
    _require_sound(settings, asked)
    folder = new_sweep_folder(out, "sweep" if isinstance(recipe, Recipe) else Path(recipe).stem, force)
    index = data if isinstance(data, Index) else read(data, **settings.data.read)
    if force:
        folder.clear()
    folder.begin(asked, settings, index.label_space, len(index))
    return _finished(folder, index, settings, asked, progress or Silent())


def _require_sound(recipe: Recipe, asked: Mapping[str, Any]) -> None:
    """Refuse what was asked for wrongly before any work is done."""
    seeds, folds, metric = asked["seeds"], asked["folds"], asked["metric"]
    if seeds < 1 or (folds is not None and folds < 2):
        raise SettingError(f"--seeds {seeds} or --folds {folds}: must be 1 or more, and 2 or more")
    names = headline_names(protocol_of(asked["protocol"]))
    if metric not in names:
        raise SettingError(f"metric {metric!r} is not known{suggestion(metric, names)}")
    alone = asked["one_at_a_time"] or asked["most"] is not None
    if asked["steps"]:
        if asked["grid"] or asked["search"] or alone:
            raise SettingError("a waterfall has its steps: leave --grid, --search, --one-at-a-time and --random out")
        plan_steps(recipe, _steps(asked))
        return
    if asked["search"] is None:
        plan(recipe, parse_grid(asked["grid"]), asked["one_at_a_time"], asked["most"])
        return
    if folds or alone:
        raise SettingError("a search draws its settings itself: leave --folds, --one-at-a-time and --random out")
    parse_space(asked["grid"])
    require_optuna(asked["search"]["sampler"])


def resume_sweep(
    folder: str | os.PathLike[str], data: str | os.PathLike[str] | Index | None = None, progress: Progress | None = None
) -> Sweep:
    """Go on with a sweep: trials that ended are not fitted again.

    Args:
        folder: of the sweep.
        data: where the data are now; as the sweep was begun where not given.

    Raises:
        ResumeError: there is no sweep, or its data are others now.
    """
    begun = SweepFolder(folder)
    asked = begun.load_asked()
    if "grid" not in asked:
        raise ResumeError(f"{begun.folder}: was begun by cotag reproduce; give that again with --runs {begun.folder}")
    settings = Recipe.load(begun.recipe)
    place = data if data is not None else asked["data"]
    if place is None:
        raise SettingError(f"{begun.folder}: was begun with an Index; give the same again")
    index = place if isinstance(place, Index) else read(place, **settings.data.read)
    begun.require_same_data(index.label_space, len(index))
    clear_leftovers(begun.folder)
    return _finished(begun, index, settings, asked, progress or Silent())


def _finished(folder: SweepFolder, index: Index, recipe: Recipe, asked: Mapping[str, Any], progress: Progress) -> Sweep:
    if asked.get("search"):
        space, how = parse_space(asked["grid"]), Search(**asked["search"])
        fitter = Trials(index, recipe, folder, progress)
        return finish_search(fitter, recipe, space, how, int(asked["seeds"]), _measure(fitter, recipe, asked))
    if asked.get("steps"):
        return finish(folder, index, recipe, plan_steps(recipe, _steps(asked)), asked, progress)
    planned = plan(recipe, parse_grid(asked["grid"]), asked["one_at_a_time"], asked["most"])
    return finish(folder, index, recipe, planned, asked, progress)


def finish(
    folder: SweepFolder, index: Index, recipe: Recipe, planned: Sequence[Setting],
    asked: Mapping[str, Any], progress: Progress,
) -> Sweep:  # fmt: skip
    """Fit what is not fitted yet, compare, and write the table and the report.

    Args:
        folder: of the sweep, begun.
        planned: the settings, the recipe as it is first.
        asked: ``seeds``, ``folds`` and ``metric``, as in ``sweep``; with ``steps``, each setting builds on the one
            before it.
    """
    started = time.monotonic()
    first, seeds, folds = recipe.train.seed, int(asked["seeds"]), asked["folds"]
    trials = [Trial(setting, seed) for seed in range(first, first + seeds) for setting in planned]
    todo = [trial for trial in trials if folder.ended(trial) is None]
    progress.say(f"{len(planned)} settings x {seeds} seeds: {len(trials)} trials, {len(trials) - len(todo)} at hand")
    fitter = Trials(index, recipe, folder, progress, folds)
    with kept_on_failure(folder, progress):
        fitter.fit(todo)
    fitted = time.monotonic()
    measure = _measure(fitter, recipe, asked)
    kept = gathered(trials, measure)
    comparison, rows = compared(kept, planned, measure)
    brought = compared_steps(kept, planned, measure) if asked.get("steps") else []
    seconds = {"fitting": fitted - started, "comparing": time.monotonic() - fitted}
    sections = (
        waterfall_sections(comparison, rows, brought, planned, kept.failed)
        if brought
        else sweep_sections(comparison, rows, kept.failed, chosen_anew(kept, rows, measure))
    )
    found = Sweep(folder.folder, rows, comparison, kept.failed, seconds, sections, brought=brought)
    keep_result(found, repr(index))
    return found


def _measure(fitter: Trials, recipe: Recipe, asked: Mapping[str, Any]) -> Measure:
    metric, protocol = str(asked["metric"]), str(asked.get("protocol", "default"))
    return Measure(fitter.folder, decider(fitter), metric, protocol, asked["folds"], recipe.train.seed)


def _steps(asked: Mapping[str, Any]) -> list[Step]:
    return [Step(step["name"], tuple(step["changes"])) for step in asked["steps"]]


def new_sweep_folder(out: str | os.PathLike[str] | None, name: str, force: bool) -> SweepFolder:
    """A folder for a new sweep: ``out``, or the next free ``sweeps/NAME-N``.

    Raises:
        OutputExists: ``out`` holds something and ``force`` was not given.
    """
    if out is not None:
        require_free(out, force)
        return SweepFolder(out)
    number = 1
    while (SWEEPS / f"{name}-{number}").exists():
        number += 1
    return SweepFolder(SWEEPS / f"{name}-{number}")
