"""Signals during a training: a checkpoint at the next step, and from there on as if nothing had come."""

from __future__ import annotations

import copy
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cotag.errors import Terminated
from cotag.registry import OPTIMIZERS
from cotag.training.checkpoint import Checkpoints, TrainingState
from cotag.training.criterion import Criterion
from cotag.training.interruption import Interruption
from cotag.training.loop_settings import LoopSettings, StepSettings
from cotag.training.losses.bce import BCE
from cotag.training.optim import parameter_groups
from cotag.training.processes import this_process as this_process
from cotag.training.safekeeping import Agreement
from cotag.training.schedules import cosine
from cotag.training.trainer import Trainer
from cotag.types.batch import Batch, Output
from cotag.types.progress import Silent

HASH = "0123456789abcdef"
STEPS, EPOCHS = 5, 3


class Small(nn.Module):
    """Dropout, a batch norm and a linear layer; in training it draws from all generators."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.norm, self.last = nn.Dropout(0.5), nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, features_BD: Tensor) -> Output:
        if self.training:
            features_BD = features_BD + 0.3 * np.random.random() + 0.3 * random.random()  # noqa: NPY002
        return Output(self.last(self.norm(self.dropout(features_BD)).exp()))


class Noise:
    """Batches of noise; one may be left out, and at one of them something happens."""

    def __init__(self, left_out: int = -1, at: tuple[int, int] = (0, 0), happens: Callable[[], Any] = int) -> None:
        self.left_out, self.at, self.happens = left_out, at, happens
        self.given: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return STEPS

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for place in range(start, STEPS):
            if place == self.left_out:
                continue
            if (number, place) == self.at:
                self.happens()
            self.given.append((number, place))
            own = np.random.default_rng((number, place))
            images, targets = own.normal(size=(6, 6)), torch.from_numpy(own.integers(0, 2, (6, 2))).float()
            known = torch.ones(6, 2, dtype=torch.bool)
            yield Batch(torch.from_numpy(images).float(), targets, known, torch.arange(6), place=place)


def seed(number: int) -> None:
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002
    random.seed(number)


def trainer(checkpoints: Checkpoints | None, judge: Callable[[], Any] = int, **loop: Any) -> Trainer:
    seed(1)
    model = Small()

    def evaluate(model: nn.Module) -> dict[str, float]:
        judge()
        return {"val_mAP": 0.5, "val_loss": float(next(model.parameters()).detach().sum()) ** 2}

    optimizer = OPTIMIZERS.build("adamw", parameter_groups(model, 0.1, 1.0, 0.01))
    settings = LoopSettings(EPOCHS, warmup_epochs=1.0, choose_by="loss", ema=0.9, **loop)
    return Trainer(model, Criterion(BCE()), optimizer, cosine(), settings, evaluate, checkpoints)


def ends(checkpoints: Checkpoints, left_out: int = -1) -> tuple[TrainingState, dict[str, bytes]]:
    """The state, without times, and the bytes of the tensors of a training that is done."""
    state = checkpoints.read_state(HASH)
    state.history = [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in state.history]
    names = ("last/model.safetensors", "last/average.safetensors", "best/model.safetensors")
    return state, {name: (checkpoints.folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[TrainingState, dict[str, bytes]]]:
    """The end of a training that was not interrupted, by the batch that is left out."""
    made: dict[int, tuple[TrainingState, dict[str, bytes]]] = {}

    def run(left_out: int) -> tuple[TrainingState, dict[str, bytes]]:
        if left_out not in made:
            kept = Checkpoints(tmp_path_factory.mktemp("whole") / "checkpoints")
            trainer(kept).fit(Noise(left_out), HASH, Silent())
            made[left_out] = ends(kept)
        return copy.deepcopy(made[left_out])

    return run


@pytest.mark.parametrize("left_out", [-1, 1])
@pytest.mark.parametrize("at", [(1, 0), (1, 2), (2, 3), (3, 4)])
@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_it_ends_at_the_next_step_and_goes_on_from_there_to_the_bit(
    number: int,
    error: type[BaseException],
    at: tuple[int, int],
    left_out: int,
    whole: Callable[[int], tuple[TrainingState, dict[str, bytes]]],
    tmp_path: Path,
) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    batches = Noise(left_out, at, lambda: signal.raise_signal(number))
    before = signal.getsignal(number)
    with pytest.raises(error):
        trainer(kept).fit(batches, HASH, Silent())
    assert signal.getsignal(number) is before
    assert batches.given[-1] == at
    state = kept.read_state(HASH)
    assert (state.epoch + 1, state.unfinished.place) == (at[0], at[1] + 1)
    assert state.unfinished.step == at[1] + 1 - (0 <= left_out < at[1])
    again = Noise(left_out)
    fit = trainer(kept)
    seed(77)
    fit.fit(again, HASH, Silent(), resume=True)
    # No batch is given twice, and none that was is asked for again.
    assert batches.given + again.given == [
        (epoch, place) for epoch in range(1, EPOCHS + 1) for place in range(STEPS) if place != left_out
    ]
    assert ends(kept) == whole(left_out)


@pytest.mark.parametrize("place", range(STEPS))
def test_it_does_not_end_within_a_step_of_several_batches(place: int, tmp_path: Path) -> None:
    how = StepSettings(accumulate=2)
    whole, kept = (Checkpoints(tmp_path / name / "checkpoints") for name in ("whole", "parts"))
    trainer(whole, step=how).fit(Noise(), HASH, Silent())
    batches = Noise(at=(2, place), happens=lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Terminated):
        trainer(kept, step=how).fit(batches, HASH, Silent())
    state = kept.read_state(HASH)
    # A batch is fetched before it is known that it begins another step.
    assert (state.unfinished.step, state.unfinished.place) == [(1, 2), (1, 2), (1, 2), (2, 4), (2, 4)][place]
    again = Noise()
    trainer(kept, step=how).fit(again, HASH, Silent(), resume=True)
    assert again.given[0] == (2, state.unfinished.place)
    assert ends(kept) == ends(whole)


@pytest.mark.parametrize("epoch", range(EPOCHS + 1))
def test_validation_is_left_at_once_and_begun_anew(
    epoch: int, whole: Callable[[int], tuple[TrainingState, dict[str, bytes]]], tmp_path: Path
) -> None:
    judged: list[str] = []

    def judge() -> None:
        judged.append("begun")
        if len(judged) == 2 * epoch + 1:
            signal.raise_signal(signal.SIGTERM)
        judged.append("done")

    kept = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(Terminated):
        trainer(kept, judge).fit(Noise(), HASH, Silent())
    assert judged == ["begun", "done"] * epoch + ["begun"]
    if epoch == 0:
        assert not kept.folder.exists()
        return
    state = kept.read_state(HASH)
    assert (state.epoch, state.unfinished.step, len(state.history)) == (epoch - 1, STEPS, epoch)
    again = Noise()
    trainer(kept).fit(again, HASH, Silent(), resume=True)
    assert len(again.given) == (EPOCHS - epoch) * STEPS
    assert ends(kept) == whole(-1)


def test_a_handler_that_lets_it_go_on_has_it_judge_again() -> None:
    judged: list[int] = []

    def judge() -> None:
        judged.append(len(judged))
        if len(judged) == 2:
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        state = trainer(None, judge).fit(Noise(), HASH, Silent())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (state.epoch, len(state.history), len(judged)) == (EPOCHS, EPOCHS + 1, EPOCHS + 2)


def test_checkpoints_within_an_epoch_are_written_by_the_clock(tmp_path: Path) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL."""

    def kill() -> None:
        raise Killed

    for minutes, epoch, step in ((1e-9, 1, 3), (None, 1, 0), (60.0, 1, 0)):
        kept = Checkpoints(tmp_path / str(minutes) / "checkpoints", minutes)
        with pytest.raises(Killed):
            trainer(kept).fit(Noise(at=(2, 3), happens=kill), HASH, Silent())
        state = kept.read_state(HASH)
        assert (state.epoch, state.unfinished.step) == (epoch, step)


def test_a_second_ctrl_c_ends_at_once_a_launchers_copy_of_the_first_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause, step in ((0.1, 3), (10.0, 0)):
        now = [100.0]
        monkeypatch.setattr("cotag.training.interruption.time.monotonic", lambda now=now: now[0])

        def twice(now: list[float] = now, pause: float = pause) -> None:
            signal.raise_signal(signal.SIGINT)
            now[0] += pause
            signal.raise_signal(signal.SIGINT)

        kept = Checkpoints(tmp_path / str(pause) / "checkpoints")
        with pytest.raises(KeyboardInterrupt):
            trainer(kept).fit(Noise(at=(2, 2), happens=twice), HASH, Silent())
        assert kept.read_state(HASH).unfinished.step == step


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("moment", range(1, 11))
def test_a_second_ctrl_c_while_a_checkpoint_is_written_leaves_one_that_is_whole(
    moment: int, behind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes before, or behind, each of the moves and the writings in turn."""
    kept = Checkpoints(tmp_path / "checkpoints")
    trainer(kept).fit(Noise(), HASH, Silent())
    calls = [0]

    def watched(of: Any, name: str) -> None:
        real = getattr(of, name)

        def call(*given: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == moment and not behind:
                raise KeyboardInterrupt
            found = real(*given, **named)
            if calls[0] == moment:
                raise KeyboardInterrupt
            return found

        monkeypatch.setattr(of, name, call)

    fit = trainer(kept)
    with monkeypatch.context() as monkeypatch:
        watched(Path, "replace")
        watched(os, "fsync")
        with pytest.raises(KeyboardInterrupt):
            kept.save_last(fit.steps.plain, fit.steps.optimizer, TrainingState(HASH, 9))
    assert kept.read_state(HASH).epoch in (EPOCHS, 9)
    assert Checkpoints(kept.folder).read_state(HASH).epoch in (EPOCHS, 9)


def test_what_was_installed_before_decides_and_is_put_back(tmp_path: Path) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    mine = signal.getsignal(signal.SIGTERM)
    try:
        kept = Checkpoints(tmp_path / "checkpoints")
        happened: list[int] = []

        def happens() -> None:
            signal.raise_signal(signal.SIGTERM)
            happened.append(len(came))

        batches = Noise(at=(2, 2), happens=happens)
        state = trainer(kept).fit(batches, HASH, Silent())
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    # It is called after the step, and lets the training go on.
    assert (happened, came) == ([0], [signal.SIGTERM])
    assert state.epoch == EPOCHS


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        state = trainer(None).fit(Noise(at=(2, 2), happens=lambda: signal.raise_signal(signal.SIGTERM)), HASH, Silent())
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert state.epoch == EPOCHS


def test_without_checkpoints_a_signal_ends_the_training_too() -> None:
    batches = Noise(at=(2, 2), happens=lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Terminated):
        trainer(None).fit(batches, HASH, Silent())
    assert batches.given[-1] == (2, 2)


def test_outside_of_the_main_thread_nothing_is_installed() -> None:
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with Interruption():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


# Several processes

SHARED = """
import signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import pytest
from test_interruption import HASH, Checkpoints, Noise, Silent, Terminated, ends, seed, this_process, trainer

place, out = this_process(), Path(sys.argv[1])
assert place.num_processes == 2
whole, kept = (Checkpoints(out / name / "checkpoints") for name in ("whole", "cut"))
fit = trainer(whole)
# Other dropout in each process.
seed(place.process_index)
fit.fit(Noise(), HASH, Silent())
fit = trainer(kept)
seed(place.process_index)
batches = Noise(at=(2, 1), happens=lambda: signal.raise_signal(signal.SIGTERM) if place.process_index else None)
with pytest.raises(Terminated):
    fit.fit(batches, HASH, Silent())
again = Noise()
fit = trainer(kept)
seed(77)
fit.fit(again, HASH, Silent(), resume=True)
assert len(batches.given) < 15
assert len(batches.given) + len(again.given) == 15
assert ends(kept) == ends(whole)
(out / str(place.process_index)).write_text(str(len(batches.given)))
"""


def test_a_signal_to_one_process_ends_all_at_one_step_from_which_they_go_on_to_the_bit(
    together: Callable[[str], list[str]],
) -> None:
    given = together(SHARED)
    assert given[0] == given[1]


def test_processes_ask_one_another_about_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cotag.training.safekeeping.time.monotonic", lambda: now[0])
    asked: list[float] = []

    def summed(values: list[float]) -> list[float]:
        asked.append(now[0])
        # The other one is as fast and was told nothing.
        return [*values[:3], 2 * values[3]]

    for seconds, most in ((0.001, 64), (0.1, 10), (3.0, 1)):
        agreement = Agreement(summed, 2)
        asked.clear()
        heard = []
        for step in range(200):
            now[0] += seconds
            heard.append(agreement.reached(signal.SIGTERM if step >= 100 else 0, False)[0])
        first = heard.index(signal.SIGTERM)
        assert 100 <= first < 100 + most
        assert len(asked) <= 200 // most + 3
    assert agreement.reached(0, True, now=True) == (0, True)


def test_one_process_asks_nobody() -> None:
    def summed(values: list[float]) -> list[float]:
        raise AssertionError

    assert Agreement(summed, 1).reached(signal.SIGINT, True) == (signal.SIGINT, True)
