"""The trainings of an experiment: a sweep over settings that the experiment plans, which goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cotag.data.read import read
from cotag.errors import ResumeError, SettingError
from cotag.recipe import Recipe
from cotag.run.sweep.folder import SweepFolder
from cotag.run.sweep.plan import Setting
from cotag.run.sweep.sweep import Sweep, finish, new_sweep_folder
from cotag.storage import clear_leftovers
from cotag.types.index import Index
from cotag.types.progress import Progress


def read_options(options: Mapping[str, Any] | None) -> list[str]:
    """Options of the reader as changes of a recipe."""
    # Quoted: a separator such as | has a meaning of its own in YAML.
    return [f"data.read.{key}={json.dumps(value)}" for key, value in (options or {}).items()]


def fit_trials(
    name: str, data: str, index: Index, recipe: Recipe, planned: Sequence[Setting], seeds: int, runs: str | None,
    force: bool, progress: Progress,
) -> Sweep:  # fmt: skip
    """Fit an experiment's settings with several seeds, as a sweep does, and compare each with the recipe as it is.

    Args:
        name: of the experiment.
        runs: the folder of the trainings; those of the same recipe and data that are there already are not fitted
            again, also where seeds or settings have been added. The next free ``sweeps/NAME-N`` where not given.
        force: whether what else lies in ``runs`` may be overwritten.

    Raises:
        SettingError: less than one seed.
        ResumeError: ``runs`` holds another experiment, or the same of another recipe or other data.
    """
    if seeds < 1:
        raise SettingError(f"--seeds {seeds}: must be 1 or more")
    asked = {"experiment": name, "data": data, "seeds": seeds, "folds": None, "metric": "mAP"}
    if runs and SweepFolder(runs).asked.is_file() and not force:
        folder = SweepFolder(runs)
        _require_same(folder, name, recipe, index)
        clear_leftovers(folder.folder)
    else:
        folder = new_sweep_folder(runs, name, force)
        folder.clear()
    folder.begin(asked, recipe, index.label_space, len(index))
    try:
        return finish(folder, index, recipe, planned, asked, progress)
    except BaseException:
        progress.say(f"to go on give the same command with --runs {folder.folder}")
        raise


def read_data(data: str, recipe: Recipe) -> Index:
    """The data as the recipe reads them."""
    return read(data, **recipe.data.read)


def _require_same(folder: SweepFolder, name: str, recipe: Recipe, index: Index) -> None:
    begun = folder.load_asked().get("experiment", "a sweep")
    if begun != name or Recipe.load(folder.recipe).to_yaml() != recipe.to_yaml():
        what = begun if begun != name else f"{name} with other settings"
        raise ResumeError(f"{folder.folder}: holds {what}; give another --runs, or --force to begin anew")
    folder.require_same_data(index.label_space, len(index))
