from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cotag.errors import ResumeError, SettingError
from cotag.training.checkpoint import Checkpoints
from cotag.training.criterion import Criterion
from cotag.training.ema import ExponentialAverage
from cotag.training.loop_settings import LoopSettings
from cotag.training.losses.bce import BCE
from cotag.training.schedules import constant
from cotag.training.trainer import Trainer
from cotag.types.batch import Batch, Output
from cotag.types.progress import Silent

HASH = "0123456789abcdef"


class Small(nn.Module):
    """A convolution, a batch norm and a linear layer, whose weights depend on the seed alone."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.filters, self.norm, self.last = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Output:
        return Output(self.last(self.norm(self.filters(images)).relu().mean((2, 3))))


class Noise:
    """Four batches of noise, other ones in each epoch; it may stop in the middle of one."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop

    def __len__(self) -> int:
        return 4

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        random = np.random.default_rng(number)
        for place in range(4):
            if number == self.stop and place == 2:
                raise KeyboardInterrupt
            images = torch.from_numpy(random.normal(size=(6, 3, 5, 5))).float()
            targets = torch.from_numpy(random.integers(0, 2, (6, 2))).float()
            yield Batch(images, targets, torch.ones(6, 2, dtype=torch.bool), torch.arange(6))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def moved(model: nn.Module, seed: int) -> None:
    """Change every entry of the state."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.from_numpy(random.integers(0, 100, tuple(value.shape))))


# The average


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.9997])
def test_equals_a_slow_version(decay: float) -> None:
    model = Small().double()
    average = ExponentialAverage(model, decay)
    wanted = {key: value.numpy().copy() for key, value in state_of(model).items()}
    for number in range(1, 31):
        moved(model, number)
        average.update(model)
        kept = min(decay, (1 + number) / (10 + number))
        for key, value in model.state_dict().items():
            whole = key.endswith("num_batches_tracked")
            wanted[key] = value.numpy().copy() if whole else kept * wanted[key] + (1 - kept) * value.numpy()
    with average.applied(model):
        for key, value in model.state_dict().items():
            np.testing.assert_allclose(value.numpy(), wanted[key], rtol=1e-12, err_msg=key)


def test_late_steps_equal_the_average_of_torch() -> None:
    model = Small()
    average = ExponentialAverage(model, 0.5)
    average.updates = 1000
    theirs = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=False
    )
    theirs.update_parameters(model)
    for number in range(5):
        moved(model, number)
        average.update(model)
        theirs.update_parameters(model)
    with average.applied(model):
        for key, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, theirs.module.get_parameter(key))


def test_the_weights_come_back_to_the_bit_even_after_an_error() -> None:
    model = Small()
    average = ExponentialAverage(model, 0.9)
    first = state_of(model)
    moved(model, 1)
    own = state_of(model)
    with average.applied(model):
        assert equal(state_of(model), first)
    assert equal(state_of(model), own)

    def fail() -> None:
        with average.applied(model):
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        fail()
    assert equal(state_of(model), own)


def test_what_does_not_move_stays_as_it_is() -> None:
    model = Small()
    average, first = ExponentialAverage(model, 0.9997), state_of(model)
    for _ in range(50):
        average.update(model)
    with average.applied(model):
        assert equal(state_of(model), first)


def test_a_loaded_state_goes_on_as_the_first_would_have() -> None:
    model, other = Small(), Small(seed=3)
    average = ExponentialAverage(model, 0.9)
    moved(model, 1)
    average.update(model)
    again = ExponentialAverage(other, 0.9)
    again.load({key: value.clone() for key, value in average.state().items()})
    moved(model, 2)
    for one in (average, again):
        one.update(model)
    assert equal(average.state(), again.state())


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_cannot_be_is_refused(decay: float) -> None:
    with pytest.raises(SettingError, match=f"train.ema = {decay}: must be from 0 up to and without 1"):
        ExponentialAverage(Small(), decay)


# In the loop


def fit(
    model: nn.Module,
    checkpoints: Checkpoints | None = None,
    ema: float | None = 0.8,
    batches: Noise | None = None,
    resume: bool = False,
    seen: list[dict[str, Tensor]] | None = None,
) -> list[float]:
    """Four epochs; the evaluation keeps the states that it saw."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        states = [] if seen is None else seen
        states.append(state_of(model))
        return {"val_mAP": 0.5, "val_loss": 0.5}

    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    loop = LoopSettings(4, choose_by="last", ema=ema)
    trainer = Trainer(model, Criterion(BCE()), optimizer, constant(), loop, evaluate, checkpoints)
    history = trainer.fit(batches or Noise(), HASH, Silent(), resume).history
    return [row["train_loss"] for row in history[1:]]


@pytest.mark.parametrize("kept", [False, True])
def test_the_average_is_judged_and_kept_and_the_weights_go_on(tmp_path: Path, kept: bool) -> None:
    seen: list[dict[str, Tensor]] = []
    plain: list[dict[str, Tensor]] = []
    model, other = Small(), Small()
    checkpoints = Checkpoints(tmp_path / "checkpoints") if kept else None
    assert fit(model, checkpoints, seen=seen) == fit(other, None, None, seen=plain)
    average = ExponentialAverage(Small(), 0.8)
    again = Small()
    optimizer = torch.optim.SGD(again.parameters(), 0.5, momentum=0.9)
    wanted = [state_of(again)]
    for epoch in range(1, 5):
        for batch in Noise().epoch(epoch):
            again.train()
            optimizer.zero_grad()
            Criterion(BCE())(again(batch.images_BCHW), batch)["labels"].backward()
            optimizer.step()
            average.update(again)
        assert equal(state_of(again), plain[epoch])
        with average.applied(again):
            wanted.append(state_of(again))
    assert [equal(one, two) for one, two in zip(seen, wanted, strict=True)] == [True] * 5
    assert equal(state_of(model), wanted[-1])
    assert not equal(wanted[-1], plain[-1])


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    whole, parts = (Checkpoints(tmp_path / name / "checkpoints") for name in ("whole", "parts"))
    model, again = Small(), Small(seed=5)
    wanted: list[dict[str, Tensor]] = []
    fit(model, whole, seen=wanted)
    with pytest.raises(KeyboardInterrupt):
        fit(Small(), parts, batches=Noise(stop))
    found: list[dict[str, Tensor]] = []
    fit(again, parts, resume=True, seen=found)
    assert [equal(one, two) for one, two in zip(found, wanted[stop:], strict=True)] == [True] * (5 - stop)
    assert equal(state_of(again), state_of(model))
    for name in ("last/model.safetensors", "last/average.safetensors", "best/model.safetensors"):
        assert (parts.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_without_an_average_none_is_saved_and_none_can_be_resumed(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    fit(Small(), kept, ema=None)
    assert not (kept.folder / "last" / "average.safetensors").exists()
    with pytest.raises(ResumeError, match=r"last/average.safetensors: does not fit or cannot be read \("):
        fit(Small(), kept, resume=True)


def test_an_average_of_another_model_is_refused() -> None:
    average = ExponentialAverage(nn.Linear(2, 3), 0.9)
    for other in (nn.Linear(2, 4), nn.Linear(2, 3, bias=False)):
        with pytest.raises(ValueError, match="is of another model"):
            average.load(ExponentialAverage(other, 0.9).state())
