"""Settings that were fitted, against the recipe as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cotag.errors import CotagError, TrainingError
from cotag.evaluation.comparison import Comparison, Difference
from cotag.evaluation.decision import Decision
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import compare_repeated, value_of
from cotag.run.sweep.folder import Record, SweepFolder, Trial
from cotag.run.sweep.plan import BASELINE, Setting
from cotag.run.sweep.sections import Row, best_by_seed, pareto
from cotag.types.scores import Scores

# The smallest p-value must pass Holm's correction over all settings.
LEAST_SWAPS, SWAPS_EACH = 1000, 40
ANEW = "chosen anew"
Decide = Callable[[Trial], Decision]


@dataclass(frozen=True)
class Measure:
    """What is compared of the trials in a folder, and how.

    Attributes:
        folder: of the sweep.
        decide: how a trial's scores become labels.
        metric: the number.
        protocol: the name of how it is computed.
        folds: in how many all images took turns in judging, one for each seed; None where they did not.
        seed: of the swaps.
    """

    folder: SweepFolder
    decide: Decide
    metric: str = "mAP"
    protocol: str = "default"
    folds: int | None = None
    seed: int = 0

    @property
    def overlap(self) -> float:
        """As ``compare_repeated`` takes it."""
        return 1 / (self.folds - 1) if self.folds else 0.0

    def value(self, scores: Scores, decision: Decision | None) -> float:
        """The number of scores."""
        return value_of(scores, self.metric, protocol_of(self.protocol), decision)

    def decision(self, trial: Trial) -> Decision | None:
        """The trial's own, which its images that choose fitted; None where the number needs none."""
        return None if self.metric == "mAP" else self.decide(trial)

    def chosen(self, trial: Trial) -> float:
        """The number of a trial that ended well, on the images that choose.

        mAP is that of the epoch or strength that was chosen; where folds chose, the mean over them, as their scores
        come from different heads. Another number is found from the scores of the images that choose.
        """
        record = self.folder.ended(trial)
        assert record is not None
        if self.metric == "mAP" and record.chosen is not None:
            return record.chosen
        return self.value(Scores.load(self.folder.scores(trial, "choose")), self.decision(trial))


@dataclass
class Gathered:
    """The trials that ended well, by setting and seed; all settings are keys of each.

    Attributes:
        scores: of the images that judge.
        decisions: each trial's own, where the number needs one.
        records: of these trials.
        values: their numbers on the images that judge.
        chosen: the same on the images that choose.
        failed: records of the other trials.
    """

    scores: dict[str, dict[int, Scores]] = field(default_factory=dict)
    decisions: dict[str, dict[int, Decision]] = field(default_factory=dict)
    records: dict[str, list[Record]] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    chosen: dict[str, list[float]] = field(default_factory=dict)
    failed: list[Record] = field(default_factory=list)


def gathered(trials: Sequence[Trial], measure: Measure) -> Gathered:
    """What trials left, all of which have ended; one whose decision cannot be fitted counts as failed."""
    found = Gathered()
    for trial in trials:
        name = trial.setting.name
        for by_seed in (found.scores, found.decisions):
            by_seed.setdefault(name, {})
        for listed in (found.records, found.values, found.chosen):
            listed.setdefault(name, [])
        ended = measure.folder.ended(trial)
        assert ended is not None
        # Settings that train the same share a record, which has the name of the first.
        record = replace(ended, setting=name)
        try:
            decision = None if record.message else measure.decision(trial)
            chosen = 0.0 if record.message else measure.chosen(trial)
        except CotagError as error:
            record = replace(record, message=str(error).splitlines()[0])
        if record.message:
            found.failed.append(record)
            continue
        scores = Scores.load(measure.folder.scores(trial))
        found.scores[name][trial.seed] = scores
        if decision is not None:
            found.decisions[name][trial.seed] = decision
        found.records[name].append(record)
        found.values[name].append(measure.value(scores, decision))
        found.chosen[name].append(chosen)
    return found


def compared(found: Gathered, planned: Sequence[Setting], measure: Measure) -> tuple[Comparison, list[Row]]:
    """Each setting against the baseline, and the rows of the table, the failed ones last.

    Args:
        planned: the settings, the recipe as it is among them.

    Raises:
        TrainingError: nothing is left that could be compared.
    """
    names, base = [setting.name for setting in planned], found.scores[BASELINE]
    if not base:
        message = next(record.message for record in found.failed if record.setting == BASELINE)
        raise TrainingError(f"the recipe itself failed with every seed: {message}")
    shared = {name: found.scores[name] for name in names if set(found.scores[name]) & set(base)}
    if len(shared) < 2:
        raise TrainingError(f"no setting but the recipe itself could be fitted; see {measure.folder.trials}")
    comparison = compare_repeated(
        shared, BASELINE, measure.metric, measure.protocol, swaps_for(len(shared) - 1), measure.seed,
        overlap=measure.overlap, decisions=found.decisions,
    )  # fmt: skip
    against = {one.name: one for one in comparison.differences}
    rows = [
        Row(name, tuple(found.values[name]), against.get(name), tuple(found.records[name]), tuple(found.chosen[name]))
        if name in shared
        else Row(name, (), None, ())
        for name in names
    ]
    rows.sort(key=lambda row: not row.values)
    kept = [row for row in rows if row.values]
    on_front = pareto([(row.test or 0.0, row.seconds or 0.0) for row in kept])
    marked = [replace(row, front=is_on) for row, is_on in zip(kept, on_front, strict=True)]
    return comparison, marked + rows[len(kept) :]


def chosen_anew(found: Gathered, rows: Sequence[Row], measure: Measure) -> Difference | None:
    """What the setting that each seed's own images choose has on the images that judge, against the recipe as it is.

    With folds this is nested cross-validation: of each fold, the other images choose, and the fold judges once what
    they chose. None where there is one seed alone.
    """
    best = {seed: row.setting for seed, (row, _) in best_by_seed(rows).items() if seed in found.scores[BASELINE]}
    if len(best) < 2:
        return None
    named = {BASELINE: found.scores[BASELINE], ANEW: {seed: found.scores[name][seed] for seed, name in best.items()}}
    decisions = {
        BASELINE: found.decisions[BASELINE],
        ANEW: {seed: found.decisions[name][seed] for seed, name in best.items() if seed in found.decisions[name]},
    }
    return compare_repeated(
        named, BASELINE, measure.metric, measure.protocol, LEAST_SWAPS, measure.seed, overlap=measure.overlap,
        decisions=decisions,
    ).differences[0]  # fmt: skip


def swaps_for(comparisons: int) -> int:
    """How many swaps so many comparisons need."""
    return max(LEAST_SWAPS, SWAPS_EACH * comparisons)
