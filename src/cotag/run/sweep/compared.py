"""Settings that were fitted, against the recipe as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cotag.errors import TrainingError
from cotag.evaluation.comparison import Comparison
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import compare_repeated, value_of
from cotag.run.sweep.folder import Record, SweepFolder, Trial
from cotag.run.sweep.plan import BASELINE, Setting
from cotag.run.sweep.sections import Row, pareto
from cotag.types.scores import Scores

# The smallest p-value must pass Holm's correction over all settings.
LEAST_SWAPS, SWAPS_EACH = 1000, 40


def compared(
    folder: SweepFolder, planned: Sequence[Setting], trials: Sequence[Trial], metric: str, folds: int | None, seed: int
) -> tuple[Comparison, list[Row]]:
    """Each setting against the baseline, and the rows of the table, the failed ones last.

    Args:
        planned: the settings, the recipe as it is among them.
        trials: of these, all of which have ended.
        folds: in how many all images took turns in judging, one for each seed.
        seed: of the swaps.

    Raises:
        TrainingError: nothing is left that could be compared.
    """
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
        Row(
            name,
            values.get(name, ()),
            against.get(name),
            tuple(own) if name in values else (),
            tuple(chosen_value(folder, trial, metric) for trial in good[name].values()) if name in values else (),
        )
        for name, own in records.items()
    ]
    rows.sort(key=lambda row: not row.values)
    kept = [row for row in rows if row.values]
    on_front = pareto([(row.test or 0.0, row.seconds or 0.0) for row in kept])
    return comparison, [replace(row, front=is_on) for row, is_on in zip(kept, on_front, strict=True)] + rows[
        len(kept) :
    ]


def chosen_value(folder: SweepFolder, trial: Trial, metric: str) -> float:
    """The number of a trial that ended well, on the images that choose.

    mAP is that of the epoch or strength that was chosen; where folds chose, the mean over them, as their scores come
    from different heads. Another number is found from the scores of the images that choose.
    """
    record = folder.ended(trial)
    assert record is not None
    if metric == "mAP" and record.chosen is not None:
        return record.chosen
    return value_of(Scores.load(folder.scores(trial, "choose")), metric, protocol_of("default"))


def _values(by_seed: Mapping[int, Scores], metric: str) -> list[float]:
    """The number of each seed's scores."""
    return [value_of(scores, metric, protocol_of("default")) for scores in by_seed.values()]
