"""Optuna's study of a search, in a file of the sweep's folder."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cotag.errors import MissingExtra, SettingError, StorageError, suggestion
from cotag.run.sweep.space import Choice, Space

SAMPLERS = ("tpe", "random")
NAME = "sweep"
COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
# Trials before TPE follows those that came before, and before any is pruned.
MOST_BEGINNING, PRUNE_AFTER = 10, 5
# A trial that a killed process left.
LEFT = "left"


@dataclass(frozen=True)
class Search:
    """How a search goes.

    Attributes:
        sampler: ``tpe`` (follows what was good) or ``random``.
        trials: how many settings are tried.
        each: trainings of each of them, whose mean counts.
        prune: whether a setting is given up once its first training is worse than half of the others were by then.

    Raises:
        SettingError: an unknown sampler, or a number under 1.
    """

    sampler: str = "tpe"
    trials: int = 40
    each: int = 1
    prune: bool = True

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise SettingError(f"--search {self.sampler}: is not known{suggestion(self.sampler, SAMPLERS)}")
        if self.trials < 1 or self.each < 1:
            raise SettingError(f"--trials {self.trials} or --trial-seeds {self.each}: must be 1 or more")


@dataclass(frozen=True)
class Tried:
    """What became of a setting.

    Attributes:
        number: counts from 0.
        setting: its name.
        overrides: ``key=value`` texts.
        state: ``complete``, ``pruned`` or ``failed``.
        value: the number on the images that choose, the mean over its trainings; None unless complete.
        epoch: at which it was given up; None unless pruned.
        seconds: of fitting.
        message: why it failed.
    """

    number: int
    setting: str
    overrides: list[str]
    state: str
    value: float | None
    epoch: int | None
    seconds: float
    message: str


def require_optuna(sampler: str) -> ModuleType:
    """Optuna, quiet.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtra(
            f"--search {sampler} needs Optuna: pip install 'cotag[sweep]' (or pip install optuna)"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Asked:
    """A trial that Optuna asked for.

    Args:
        trial: Optuna's.
        changes: keys and their values, as texts.
    """

    def __init__(self, trial: Any, changes: tuple[tuple[str, str], ...], path: Path) -> None:
        self._trial, self.changes, self._path = trial, changes, path

    def goes_on(self, epoch: int, value: float) -> bool:
        """Note the number after an epoch; False where the trial is to be given up."""
        if not math.isfinite(value):
            return True
        with _kept(self._path):
            self._trial.report(value, epoch)
            return not self._trial.should_prune()


class Study:
    """The trials of a search, of this process and of those before it.

    What is asked for next depends on the trials that ended, the seed and their number, and so not on how often the
    search was killed.

    Args:
        path: of the study's file; one that is there already is gone on with.
        how: sampler and pruning.
        space: what to choose from.
        seed: of the sampler.
        patient_epochs: before which no trial is given up.

    Raises:
        MissingExtra: Optuna is not installed.
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, how: Search, space: Space, seed: int, patient_epochs: int) -> None:
        self._optuna = require_optuna(how.sampler)
        self._path, self._how, self._space, self._seed = path, how, space, seed
        _cut_half_written(path)
        journal = self._optuna.storages.journal
        pruner = self._optuna.pruners.MedianPruner(PRUNE_AFTER, patient_epochs)
        with _kept(path):
            self._study = self._optuna.create_study(
                storage=self._optuna.storages.JournalStorage(journal.JournalFileBackend(str(path), _NoLock())),
                study_name=NAME,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner if how.prune else self._optuna.pruners.NopPruner(),
            )
            for trial in self._study.get_trials(deepcopy=False):
                if not trial.state.is_finished():
                    self._study._storage.set_trial_user_attr(trial._trial_id, LEFT, True)
                    self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    @property
    def tried(self) -> list[Tried]:
        """The trials that ended."""
        ended = [trial for trial in self._study.get_trials(deepcopy=False) if self._counts(trial)]
        return [self._tried(number, trial) for number, trial in enumerate(ended)]

    def ask(self) -> Asked:
        """The next trial."""
        place = sum(self._counts(trial) for trial in self._study.get_trials(deepcopy=False))
        seed = int(np.random.SeedSequence((self._seed, place)).generate_state(1)[0])
        samplers = self._optuna.samplers
        beginning = max(1, min(MOST_BEGINNING, self._how.trials // 4))
        self._study.sampler = (
            samplers.RandomSampler(seed)
            if self._how.sampler == "random"
            else samplers.TPESampler(n_startup_trials=beginning, seed=seed)
        )
        with _kept(self._path):
            trial = self._study.ask({part.key: self._distribution(part) for part in self._space})
        changes = tuple((part.key, _text(part, trial.params[part.key])) for part in self._space)
        return Asked(trial, changes, self._path)

    def tell(self, asked: Asked, state: str, value: float | None, about: Mapping[str, Any]) -> None:
        """Note how a trial ended.

        Args:
            value: of a trial that is complete.
            about: the other attributes of ``Tried``.
        """
        states = self._optuna.trial.TrialState
        with _kept(self._path):
            for name, text in about.items():
                asked._trial.set_user_attr(name, text)
            to = {COMPLETE: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL}[state]
            self._study.tell(asked._trial, value, to)

    def importance(self) -> dict[str, float]:
        """What share of the trials' variation each setting brought; none where too little was tried.

        Source: F. Hutter, H. Hoos and K. Leyton-Brown, "An efficient approach for assessing hyperparameter
            importance", ICML 2014 (functional ANOVA on a random forest).
        """
        values = {trial.value for trial in self._study.trials if trial.state.name == "COMPLETE"}
        if len(values) < 2 or len(self._space) < 2:
            return {}
        importance = self._optuna.importance
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importance.get_param_importances(
                self._study, evaluator=importance.FanovaImportanceEvaluator(seed=self._seed % 2**32)
            )
        return {str(key): float(share) for key, share in found.items()}

    @staticmethod
    def _counts(trial: Any) -> bool:
        return trial.state.is_finished() and LEFT not in trial.user_attrs

    def _tried(self, number: int, trial: Any) -> Tried:
        state = {"COMPLETE": COMPLETE, "PRUNED": PRUNED}.get(trial.state.name, FAILED)
        about = trial.user_attrs
        return Tried(
            number, about["setting"], list(about["overrides"]), state, trial.value if state == COMPLETE else None,
            trial.last_step if state == PRUNED else None, about["seconds"], about["message"],
        )  # fmt: skip

    def _distribution(self, part: Any) -> Any:
        distributions = self._optuna.distributions
        if isinstance(part, Choice):
            return distributions.CategoricalDistribution(part.values)
        if part.whole:
            return distributions.IntDistribution(int(part.low), int(part.high), log=part.log)
        return distributions.FloatDistribution(part.low, part.high, log=part.log)


def _text(part: Any, value: Any) -> str:
    return str(value) if isinstance(part, Choice) else part.text(value)


class _NoLock:
    """A sweep's folder belongs to one process; the lock of one that was killed must not keep the next one waiting."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_half_written(path: Path) -> None:
    """Take away the last line of a journal that a killed process did not finish."""
    with _kept(path):
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            return
        whole = path.read_bytes().rfind(b"\n") + 1
        with path.open("r+b") as handle:
            handle.truncate(whole)


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: could not be written ({error.strerror}); free space, then give --resume"
        ) from error
