"""One sweep, top to bottom: plan, fit what is not fitted yet, compare, report."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cotag.data.read import read
from cotag.errors import ResumeError, SettingError, TrainingError, suggestion
from cotag.evaluation.comparison import Comparison
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import compare_repeated, value_of
from cotag.evaluation.report import write_report
from cotag.evaluation.resampled import headline_names
from cotag.recipe import Recipe
from cotag.run.checks import check_recipe
from cotag.run.sweep.fitting import Trials
from cotag.run.sweep.folder import Record, SweepFolder, Trial
from cotag.run.sweep.plan import BASELINE, Setting, parse_grid, plan
from cotag.run.sweep.sections import Row, pareto, sweep_sections
from cotag.storage import clear_leftovers, require_free, whole_file, write_json
from cotag.types.index import Index
from cotag.types.progress import Progress, Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

SWEEPS = Path("sweeps")
# The smallest p-value must pass Holm's correction over all settings.
LEAST_SWAPS, SWAPS_EACH = 1000, 40


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        folder: where everything lies; see ``SweepFolder``.
        rows: one for each setting, the recipe as it is first.
        comparison: each setting against it.
        failed: the trials that failed.
        seconds: how long fitting and comparing took.
        sections: of the report.
    """

    folder: Path
    rows: list[Row]
    comparison: Comparison
    failed: list[Record]
    seconds: dict[str, float]
    sections: list[Section]

    @property
    def report(self) -> Path:
        """The HTML report."""
        return SweepFolder(self.folder).report

    def to_json(self) -> dict[str, Any]:
        """A JSON object with these fields."""
        about = {"metric": self.comparison.metric, "protocol": self.comparison.protocol, "seconds": self.seconds}
        rows, failed = [row.to_json() for row in self.rows], [asdict(record) for record in self.failed]
        verdict = self.sections[0].text
        return {**about, "method": self.comparison.method, "verdict": verdict, "settings": rows, "failed": failed}


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
) -> Sweep:
    """Try settings of a recipe, each with several seeds, and compare them with the recipe as it is.

    The images that judge are the same for all trials; those that choose are others for each seed, where they are
    split off those that train.

    Args:
        data: ``format:path``, a path, or an Index.
        recipe: a preset's name, a YAML file, or a Recipe.
        grid: ``key=value,value`` texts.
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

    Raises:
        CotagError: whatever is wrong, in one line; trials that ended stay in the folder.
    """
    settings = Recipe.load(recipe, overrides)
    check_recipe(settings)
    if seeds < 1 or (folds is not None and folds < 2):
        raise SettingError(f"--seeds {seeds} or --folds {folds}: must be 1 or more, and 2 or more")
    seeds = folds or seeds
    names = headline_names(protocol_of("default"))
    if metric not in names:
        raise SettingError(f"metric {metric!r} is not known{suggestion(metric, names)}")
    planned = plan(settings, parse_grid(grid), one_at_a_time, most)
    folder = new_sweep_folder(out, "sweep" if isinstance(recipe, Recipe) else Path(recipe).stem, force)
    index = data if isinstance(data, Index) else read(data, **settings.data.read)
    asked = {
        "data": None if isinstance(data, Index) else str(data),
        "grid": list(grid), "seeds": seeds, "one_at_a_time": one_at_a_time, "metric": metric,
        "folds": folds, "most": most,
    }  # fmt: skip
    if force:
        folder.clear()
    folder.begin(asked, settings, index.label_space, len(index))
    return finish(folder, index, settings, planned, asked, progress or Silent())


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
    planned = plan(settings, parse_grid(asked["grid"]), asked["one_at_a_time"], asked["most"])
    return finish(begun, index, settings, planned, asked, progress or Silent())


def finish(
    folder: SweepFolder, index: Index, recipe: Recipe, planned: Sequence[Setting],
    asked: Mapping[str, Any], progress: Progress,
) -> Sweep:  # fmt: skip
    """Fit what is not fitted yet, compare, and write the table and the report.

    Args:
        folder: of the sweep, begun.
        planned: the settings, the recipe as it is first.
        asked: ``seeds``, ``folds`` and ``metric``, as in ``sweep``.
    """
    started = time.monotonic()
    first, seeds, folds = recipe.train.seed, int(asked["seeds"]), asked["folds"]
    trials = [Trial(setting, seed) for seed in range(first, first + seeds) for setting in planned]
    todo = [trial for trial in trials if folder.ended(trial) is None]
    progress.say(f"{len(planned)} settings x {seeds} seeds: {len(trials)} trials, {len(trials) - len(todo)} at hand")
    try:
        Trials(index, recipe, folder, progress, folds).fit(todo)
    except BaseException:
        progress.say(f"what was finished is kept; to go on give --resume {folder.folder}")
        raise
    fitted = time.monotonic()
    failed = [record for trial in trials if (record := folder.ended(trial)) and record.message]
    comparison, rows = _compared(folder, planned, trials, asked, recipe.train.seed)
    seconds = {"fitting": fitted - started, "comparing": time.monotonic() - fitted}
    sections = sweep_sections(comparison, rows, failed)
    with whole_file(folder.table) as temporary:
        pq.write_table(pa.Table.from_pylist([row.to_json() for row in rows]), temporary)
    write_report(sections, folder.report, f"Sweep {folder.folder.name}", repr(index), force=True)
    found = Sweep(folder.folder, rows, comparison, failed, seconds, sections)
    write_json(folder.result, found.to_json())
    return found


def _compared(
    folder: SweepFolder, planned: Sequence[Setting], trials: Sequence[Trial], asked: Mapping[str, Any], seed: int
) -> tuple[Comparison, list[Row]]:
    """Each setting against the baseline, and the rows of the table, the failed ones last."""
    metric, folds = str(asked["metric"]), asked["folds"]
    good: dict[str, dict[int, Trial]] = {setting.name: {} for setting in planned}
    records: dict[str, list[Record]] = {setting.name: [] for setting in planned}
    for trial in trials:
        record = folder.ended(trial)
        if record is not None and not record.message:
            good[trial.setting.name][trial.seed] = trial
            records[trial.setting.name].append(record)
    if not good[BASELINE]:
        ended = next(record for trial in trials if (record := folder.ended(trial)) and record.setting == BASELINE)
        raise TrainingError(f"the recipe itself failed with every seed: {ended.message}")
    shared = {name: own for name, own in good.items() if set(own) & set(good[BASELINE])}
    if len(shared) < 2:
        raise TrainingError(f"no setting but the recipe itself could be fitted; see {folder.trials}")
    named = {name: {s: Scores.load(folder.scores(trial)) for s, trial in own.items()} for name, own in shared.items()}
    resamples = max(LEAST_SWAPS, SWAPS_EACH * (len(named) - 1))
    comparison = compare_repeated(
        named, BASELINE, metric, resamples=resamples, seed=seed, overlap=1 / (folds - 1) if folds else 0.0
    )
    values = {name: tuple(_values(own, metric)) for name, own in named.items()}
    against = {one.name: one for one in comparison.differences}
    rows = [
        Row(name, values.get(name, ()), against.get(name), tuple(own) if name in values else ())
        for name, own in records.items()
    ]
    rows.sort(key=lambda row: not row.values)
    kept = [row for row in rows if row.values]
    on_front = pareto([(row.test or 0.0, row.seconds or 0.0) for row in kept])
    return comparison, [replace(row, front=is_on) for row, is_on in zip(kept, on_front, strict=True)] + rows[
        len(kept) :
    ]


def _values(by_seed: Mapping[int, Scores], metric: str) -> list[float]:
    """The number of each seed's scores."""
    return [value_of(scores, metric, protocol_of("default")) for scores in by_seed.values()]


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
