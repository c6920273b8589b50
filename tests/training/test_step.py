from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from cotag.errors import NonFiniteLoss, SettingError
from cotag.models.scoring import score_batches
from cotag.registry import OPTIMIZERS
from cotag.training import running_loss, step
from cotag.training.checkpoint import Checkpoints
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.loop_settings import LoopSettings, StepSettings
from cotag.training.losses.bce import BCE
from cotag.training.losses.zlpr import ZLPR
from cotag.training.optim import parameter_groups
from cotag.training.precision import accelerator_of
from cotag.training.running_loss import RunningLoss
from cotag.training.schedules import constant, cosine
from cotag.training.trainer import Trainer
from cotag.types.batch import Batch, Output
from cotag.types.progress import Silent


class Pictures(nn.Module):
    """A convolution and a linear layer; remembers in which type they computed."""

    def __init__(self) -> None:
        super().__init__()
        self.filters, self.last = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6, 3)
        random = np.random.default_rng(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(random.normal(0, 0.5, tuple(parameter.shape))))
        self.seen: list[tuple[bool, torch.dtype]] = []

    def forward(self, images: Tensor) -> Output:
        logits = self.last(self.filters(images.float() / 255).relu().mean((2, 3)))
        self.seen.append((self.training, logits.dtype))
        return Output(logits)


def source(batch_size: int, count: int = 21, unknown: float = 0.5) -> FeatureBatches:
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8)
    targets = random.integers(0, 2, (count, 3)).astype(np.int8)
    targets[random.random(targets.shape) < unknown] = -1
    part = FeatureSet(images, np.arange(count), {}, 0)
    return FeatureBatches(part, targets, batch_size, shuffle=True, seed=3)


def trained(
    batch_size: int, loss: nn.Module | None = None, judge: Any = lambda model: {}, rate: float = 0.3, l1: float = 0.0,
    precision: str = "fp32", accumulate: int = 1, **settings: Any,
) -> tuple[Pictures, list[dict[str, float]], Trainer]:  # fmt: skip
    model = Pictures()
    criterion = Criterion(loss or BCE(), l1, model.parameters())
    optimizer = OPTIMIZERS.build("sgd", parameter_groups(model, rate, 1.0, 0.01), momentum=0.9)
    loop = LoopSettings(3, choose_by="last", step=StepSettings(precision, accumulate), **settings)
    fit = Trainer(model, criterion, optimizer, cosine(), loop, judge)
    return model, fit.fit(source(batch_size), "", Silent()).history, fit


def apart(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


# Several batches to a step


@pytest.mark.parametrize("loss", [BCE(), ZLPR()])
def test_a_step_of_several_batches_is_that_of_one_large_batch(loss: nn.Module) -> None:
    """The batches have 1 to 9 known entries of 12, so that the mean of their means is something else."""
    settings: dict[str, Any] = {"warmup_epochs": 1.0, "clip_norm": 0.5, "ema": 0.9, "l1": 1e-3}
    large, wanted, _ = trained(12, loss, **settings)
    for batch_size, accumulate in ((4, 3), (3, 4)):
        model, found, _ = trained(batch_size, loss, accumulate=accumulate, **settings)
        assert apart(model, large) < 1e-6
        assert [row.get("learning_rate") for row in found] == [row.get("learning_rate") for row in wanted]
    assert apart(trained(12, loss)[0], Pictures()) > 0.01


def test_the_last_step_of_an_epoch_may_have_fewer_batches() -> None:
    """21 pictures in batches of 7: a step of two and one of one."""
    model, _, _ = trained(7, accumulate=2)
    assert apart(model, trained(14)[0]) < 1e-6


def test_a_step_without_anything_known_moves_nothing() -> None:
    model = Pictures()
    optimizer = OPTIMIZERS.build("sgd", parameter_groups(model, 0.3, 1.0, 0.0))
    steps = step.Steps(model, Criterion(BCE()), optimizer, constant(), LoopSettings(1, step=StepSettings(accumulate=2)))
    batches = list(source(4, unknown=1.0).epoch(1))[:2]
    steps.take([(batches[0], False), (batches[1], True)], watch())
    assert apart(model, Pictures()) == 0


def test_batches_before_a_step_s_last_share_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet: list[object] = []
    original = accelerate.Accelerator.no_sync
    monkeypatch.setattr(
        accelerate.Accelerator, "no_sync", lambda self, model: quiet.append(model) or original(self, model)
    )
    trained(4, accumulate=4)
    # 6 batches: of 4 and of 2, in each of 3 epochs.
    assert len(quiet) == 3 * (3 + 1)


# Precision


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[accelerate.Accelerator]]:
    """fp16 with its scaled gradients on the CPU, which the loop itself refuses as too slow."""
    made: list[accelerate.Accelerator] = []

    def build(precision: str) -> accelerate.Accelerator:
        AcceleratorState._reset_state()
        found = accelerate.Accelerator(mixed_precision="fp16")
        found.native_amp, found.scaler = True, torch.amp.GradScaler("cpu", init_scale=2.0**8)
        made.append(found)
        return found

    monkeypatch.setattr(step, "accelerator_of", build)
    yield made
    AcceleratorState._reset_state()


def test_bf16_computes_in_it_and_validates_in_it_and_leaves_the_model_as_it_was() -> None:
    def judge(model: nn.Module) -> dict[str, float]:
        _, logits = score_batches(model, source(21))
        assert logits.dtype == np.float32
        return {"val_loss": float(np.abs(logits).mean())}

    model, history, _ = trained(7, judge=judge, precision="bf16")
    assert set(model.seen) == {(True, torch.bfloat16), (False, torch.bfloat16)}
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert "forward" not in vars(model)
    assert model(torch.zeros(1, 3, 16, 16)).logits_BK.dtype == torch.float32
    other, wanted, _ = trained(7, judge=judge)
    assert set(other.seen) == {(True, torch.float32), (False, torch.float32)}
    assert 0 < apart(model, other) < 0.05
    assert history[-1]["train_loss"] == pytest.approx(wanted[-1]["train_loss"], rel=0.02)


def test_fp16_scales_its_gradients_and_clips_them_as_they_are(half: list[accelerate.Accelerator]) -> None:
    model, history, _ = trained(7, precision="fp16", clip_norm=0.2, accumulate=2, ema=0.9)
    assert (True, torch.float16) in model.seen
    wanted, rows, _ = trained(7, clip_norm=0.2, accumulate=2, ema=0.9)
    assert [row["skipped_steps"] for row in history[1:]] == [0, 0, 0]
    assert "skipped_steps" not in rows[1] or rows[1]["skipped_steps"] == 0
    assert apart(model, wanted) < 0.01
    assert apart(model, Pictures()) > 0.02


def test_a_step_whose_scaled_gradient_overflows_is_left_out(half: list[accelerate.Accelerator]) -> None:
    model = Pictures()
    optimizer = OPTIMIZERS.build("sgd", parameter_groups(model, 0.3, 1.0, 0.0))
    steps = step.Steps(
        model, Criterion(BCE()), optimizer, constant(), LoopSettings(1, ema=0.5, step=StepSettings("fp16"))
    )
    scaler = half[0].scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**40})
    batch = next(source(7).epoch(1))
    steps.take([(batch, True)], watch())
    assert (steps.skipped, apart(model, Pictures())) == (1, 0.0)
    assert steps.average is not None
    assert steps.average.updates == 0
    assert scaler.get_scale() == 2.0**39
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**4})
    steps.take([(batch, True)], watch())
    assert (steps.skipped, steps.average.updates) == (1, 1)
    assert 0 < apart(model, Pictures()) < 0.2


def test_the_scale_of_gradients_survives_resuming(half: list[accelerate.Accelerator], tmp_path: Path) -> None:
    def fit(resume: bool, stop_after: int | None = None) -> dict[str, Any]:
        model = Pictures()
        optimizer = OPTIMIZERS.build("sgd", parameter_groups(model, 0.3, 1.0, 0.01), momentum=0.9)
        loop = LoopSettings(3, choose_by="last", stop_after=stop_after, step=StepSettings("fp16"))
        kept = Checkpoints(tmp_path / "checkpoints")
        trainer = Trainer(model, Criterion(BCE()), optimizer, cosine(), loop, lambda model: {}, kept)
        scaler = half[-1].scaler
        if not resume:
            scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**20})
        trainer.fit(source(7), "", Silent(), resume)
        found: dict[str, Any] = scaler.state_dict()
        return found

    wanted = fit(False)
    assert wanted["scale"] < 2.0**20
    between = fit(False, stop_after=1)
    assert between != wanted
    assert fit(True) == wanted


def test_precisions_that_there_are_not() -> None:
    with pytest.raises(SettingError, match=r"train.precision = 'bf61' is not known; did you mean bf16\?"):
        accelerator_of("bf61")
    with pytest.raises(SettingError, match=r"train.precision = fp16: needs a GPU; choose bf16 or fp32 on a CPU"):
        accelerator_of("fp16")


# Looking at the loss


def watch() -> RunningLoss:
    def refuse(value: float, rows_B: Tensor) -> None:
        raise NonFiniteLoss(f"{value} {rows_B.tolist()}")

    return RunningLoss(refuse)


def test_on_a_cpu_a_loss_is_looked_at_at_once() -> None:
    losses = watch()
    assert math.isnan(losses.mean)
    losses.add(torch.tensor(1.0), torch.tensor([5, 6]))
    losses.add(torch.tensor(4.0), torch.tensor([7]))
    assert losses.mean == 2.0
    with pytest.raises(NonFiniteLoss, match=r"nan \[8\]"):
        losses.add(torch.tensor(torch.nan), torch.tensor([8]))


def test_elsewhere_it_is_looked_at_once_the_next_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_loss, "coming", lambda value: lambda: float(value))
    losses = watch()
    losses.add(torch.tensor(1.0), torch.tensor([5, 6]))
    assert losses.samples == 0
    losses.add(torch.tensor(torch.inf), torch.tensor([7]))
    assert (losses.total, losses.samples) == (2.0, 2.0)
    with pytest.raises(NonFiniteLoss, match=r"inf \[7\]"):
        losses.settle()
    losses.settle()
    losses.add(torch.tensor(torch.nan), torch.tensor([8]))
    with pytest.raises(NonFiniteLoss, match=r"nan \[8\]"):
        losses.add(torch.tensor(1.0), torch.tensor([9]))


class Spoiled(nn.Module):
    """A loss that becomes infinite at one batch."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        self.left -= 1
        losses: Tensor = BCE()(logits_BK, targets_BK)
        return losses / 0 if self.left == 0 else losses


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_loss_that_is_looked_at_late_stops_before_anything_is_judged(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(running_loss, "coming", lambda value: lambda: float(value))
    judged: list[int] = []
    batches: list[Batch] = list(source(7).epoch(1))
    rows = ", ".join(str(row) for row in batches[at - 1].rows_B.tolist())
    with pytest.raises(NonFiniteLoss, match=f"epoch 1: the loss became inf on the images {rows};"):
        trained(7, Spoiled(at), judge=lambda model: judged.append(1) or {})
    assert judged == [1]
