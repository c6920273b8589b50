"""The PSG report's learning curves on any data: rate, batch, optimizer, momentum, schedule, L1 and weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cotag.errors import SettingError
from cotag.evaluation.sections.learning import learning_curves
from cotag.recipe import Recipe
from cotag.run.reproduce.experiment import Experiment
from cotag.run.reproduce.study import Study, numbered, settings_of, study_of
from cotag.run.reproduce.trials import fit_trials, read_data, read_options
from cotag.run.sweep.folder import SweepFolder, Trial
from cotag.run.sweep.plan import parse_grid
from cotag.run.sweep.sections import Row
from cotag.run.sweep.sweep import Sweep
from cotag.types.progress import Progress
from cotag.types.section import Section

SEEDS = 3
FROZEN = (
    "quick",
    (
        *("train.optimizer=adamw", "train.learning_rate=1e-3", "train.weight_decay=0.01", "train.batch_size=32"),
        # Without a second fit, so that the curves are of the head that judges.
        *("train.epochs=20", "train.refit=false"),
    ),
)
WHOLE: tuple[str, tuple[str, ...]] = ("finetune", ())
RATES = (0.03, 0.1, 0.3, 1, 3, 10)
BATCHES = ("16", "32", "64", "128")
L1, DECAYS = ("0", "1e-6", "1e-5", "1e-4"), ("0", "0.001", "0.01", "0.1", "1")
# How many times the rate of Adam stochastic gradient descent goes at.
SGD_RATE = 100.0
OPTIMIZERS = {
    "sgd": ("sgd", "{momentum: 0.9}"),
    "adam": ("adam", "{}"),
    "adamw": ("adamw", "{}"),
    "adamw with amsgrad": ("adamw", "{amsgrad: true}"),
}
MOMENTA = {
    "sgd 0": "{momentum: 0.0}",
    "sgd 0.5": "{momentum: 0.5}",
    "sgd 0.9": "{momentum: 0.9}",
    "sgd 0.9 Nesterov": "{momentum: 0.9, nesterov: true}",
}
SCHEDULES = {
    "constant": ("constant", "{}", 0.0),
    "step": ("step", "{}", 0.0),
    "cosine": ("cosine", "{}", 0.0),
    "cosine to 0.1": ("cosine", "{floor: 0.1}", 0.0),
    "cosine after warm-up": ("cosine", "{}", 0.1),
    "cosine with restarts": ("cosine_restarts", "{}", 0.0),
    "cyclic": ("cyclic", "{}", 0.0),
}
TITLES = {"train.optimizer_args.momentum": "Momentum", "train.l1": "L1 penalty"}
COLUMNS = (
    "chosen mAP", "spread", "val loss", "train loss", "test mAP", "difference", "low", "high", "verdict",
)  # fmt: skip


def psg_tuning(
    data: str,
    options: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    grid: Sequence[str] = (),
    seeds: int = SEEDS,
    end_to_end: bool = False,
    runs: str | None = None,
    force: bool = False,
    *,
    progress: Progress,
) -> Experiment:
    """Learning curves over rate, batch, optimizer, momentum, schedule, L1 and weight decay, one at a time.

    Args:
        data: as ``cotag.read`` takes it.
        options: of the reader.
        settings: ``key=value``, changes of the recipe that is varied.
        grid: ``key=value,value``, values in place of the usual ones, or another key to vary.
        seeds: trainings of each setting.
        end_to_end: the whole network by the recipe ``finetune``, in place of a linear head on frozen features.
        runs: the folder of the trainings, in which it goes on; the next free sweeps/psg-tuning-N where not given.

    Raises:
        CotagError: whatever is wrong, in one line; trainings that ended stay in the folder.
    """
    preset, own = WHOLE if end_to_end else FROZEN
    recipe = Recipe.load(preset, [*own, *settings, *read_options(options)])
    studies = tuning_plan(recipe, grid)
    index = read_data(data, recipe)
    found = fit_trials("psg-tuning", data, index, recipe, settings_of(studies), seeds, runs, force, progress)
    return Experiment("Tuning as for PSG", f"{data}; trainings in {found.folder}", tuning_sections(studies, found))


def tuning_plan(base: Recipe, grid: Sequence[str] = ()) -> list[Study]:
    """The studies of a recipe; values of ``grid`` take the place of the usual ones of their key.

    Raises:
        SettingError: an unknown key, or a recipe whose head is solved and has no epochs.
    """
    given = base.train
    if given.optimizer == "lbfgs":
        raise SettingError("train.optimizer = lbfgs: solves a head without epochs; choose adamw or sgd for curves")
    rates = [f"{factor * given.learning_rate:g}" for factor in RATES]
    values: dict[str, Sequence[str]] = {
        "train.learning_rate": rates,
        "train.batch_size": BATCHES,
        "train.optimizer": tuple(OPTIMIZERS),
        "train.optimizer_args.momentum": tuple(MOMENTA),
        "train.schedule": tuple(SCHEDULES),
        "train.l1": L1,
        "train.weight_decay": DECAYS,
    }
    values |= parse_grid(grid)
    return [
        study_of(
            base,
            key,
            TITLES.get(key, key.rpartition(".")[2].replace("_", " ").capitalize()),
            {name: _changes(base, key, value) for name, value in numbered(own).items()},
            _own(base, key),
        )
        for key, own in values.items()
    ]


def _changes(base: Recipe, key: str, value: str) -> list[str]:
    """The ``key=value`` texts of a value, with what has to change beside it."""
    given = base.train
    adam_rate = given.learning_rate / (SGD_RATE if given.optimizer == "sgd" else 1)
    fast, slow = (f"train.learning_rate={rate:g}" for rate in (SGD_RATE * adam_rate, adam_rate))
    if key == "train.optimizer":
        name, args = OPTIMIZERS.get(value, (value, "{}"))
        return [f"{key}={name}", f"train.optimizer_args={args}", fast if name == "sgd" else slow]
    if key == "train.optimizer_args.momentum":
        args = MOMENTA.get(value, f"{{momentum: {value}}}")
        return ["train.optimizer=sgd", f"train.optimizer_args={args}", fast]
    if key == "train.schedule":
        name, args, warmup = SCHEDULES.get(value, (value, "{}", 0.0))
        return [f"{key}={name}", f"train.schedule_args={args}", f"train.warmup_epochs={warmup * given.epochs:g}"]
    return [f"{key}={value}"]


def _own(base: Recipe, key: str) -> str:
    """What the recipe's own value of a key is called."""
    if key == "train.optimizer_args.momentum" and base.train.optimizer != "sgd":
        return base.train.optimizer
    place: Any = base.model_dump()
    for part in key.split("."):
        place = place.get(part, {}) if isinstance(place, dict) else {}
    known = isinstance(place, int | float) and not isinstance(place, bool)
    return f"{place:g}" if known else str(place) if place not in ({}, None) else "as it is"


def tuning_sections(studies: Sequence[Study], found: Sweep) -> list[Section]:
    """The verdicts in words, then a picture and a table of each study."""
    rows = {row.setting: row for row in found.rows}
    told = [f"{found.comparison.method}", *(_chosen_in_words(study, rows) for study in studies)]
    sections = [Section("Verdict", "\n\n".join(told))]
    for study in studies:
        curves = {study.shown(name): _mean_history(study, name, found, rows) for name in study.names}
        cells = [
            [study.shown(name), *_cells(rows[study.settings[name].name], study, name, found)] for name in study.names
        ]
        text = _chosen_in_words(study, rows)
        drawn = learning_curves({name: history for name, history in curves.items() if history})
        one = Section(study.title, text, (study.title, *COLUMNS), cells)
        sections.append(replace(one, text=f"{text}\n\n{_FIGURE}", figure=drawn[0].figure) if drawn else one)
    if found.failed:
        failed = [[record.setting, record.seed, record.message] for record in found.failed]
        sections.append(Section("Failed", f"{len(failed)} trials failed.", ("setting", "seed", "message"), failed))
    return sections


_FIGURE = (
    "Curves: the mean over seeds of each epoch, epoch 0 before training. Chosen mAP: of the images that choose, at the "
    "epoch that they chose, which flatters it; the images of test mAP choose nothing. Losses: the lowest of the images "
    "that choose, and the last of training, penalties included."
)


def _chosen_in_words(study: Study, rows: Mapping[str, Row]) -> str:
    """The verdicts, and which value the images that choose would take."""
    known = {name: row for name in study.names if (row := rows[study.settings[name].name]).chosen is not None}
    if not known:
        return study.in_words(rows)
    best = max(known, key=lambda name: known[name].chosen or 0.0)
    return f"{study.in_words(rows)} By the images that choose: {best} ({known[best].chosen:.4f} mAP)."


def _trials(study: Study, name: str, rows: Mapping[str, Row]) -> list[Trial]:
    setting = study.settings[name]
    return [Trial(setting, record.seed) for record in rows[setting.name].records]


def _mean_history(study: Study, name: str, found: Sweep, rows: Mapping[str, Row]) -> list[dict[str, float]]:
    """The mean over seeds of each epoch, of those that came to it."""
    folder = SweepFolder(found.folder)
    by_epoch: dict[int, list[Mapping[str, float]]] = {}
    for trial in _trials(study, name, rows):
        for row in folder.history(trial):
            by_epoch.setdefault(int(row["epoch"]), []).append(row)
    return [
        {"epoch": epoch, **{key: float(np.mean([row[key] for row in own])) for key in own[0] if key != "epoch"}}
        for epoch, own in sorted(by_epoch.items())
    ]


def _cells(row: Row, study: Study, name: str, found: Sweep) -> list[Any]:
    """What the table says of a value: see ``COLUMNS``."""
    folder = SweepFolder(found.folder)
    histories = [folder.history(trial) for trial in _trials(study, name, {row.setting: row})]
    chosen = [record.chosen for record in row.records if record.chosen is not None]
    spread = float(np.std(chosen, ddof=1)) if len(chosen) > 1 else None
    lowest = [min(one["val_loss"] for one in history) for history in histories]
    trained = [history[-1].get("train_loss") for history in histories]
    means = [_mean(values) for values in (lowest, trained)]
    tested = row.to_json()
    return [row.chosen, spread, *means, row.test, *(tested[key] for key in COLUMNS[5:])]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
