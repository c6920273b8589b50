"""What every registered loss must do: a new one needs a line in SAMPLES."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.registry import LOSSES
from cotag.training.criterion import Criterion
from cotag.types.batch import Batch, Output


@dataclass(frozen=True)
class Sample:
    """A loss of one entry, written slowly, and the settings at which it is plain binary cross-entropy, if any."""

    slow: Callable[[float, int], float]
    neutral: dict[str, Any] | None = field(default_factory=dict)


def slow_bce(logit: float, target: int) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if target else 1 - probability)


def slow_asymmetric(logit: float, target: int, plus: float = 0.0, minus: float = 4.0, clip: float = 0.05) -> float:
    probability = 1 / (1 + math.exp(-logit))
    if target:
        return -((1 - probability) ** plus) * math.log(probability)
    shifted = max(probability - clip, 0)
    return -(shifted**minus) * math.log(1 - shifted)


SAMPLES = {
    "bce": Sample(slow_bce),
    "asymmetric": Sample(slow_asymmetric, {"gamma_pos": 0, "gamma_neg": 0, "clip": 0}),
}


@pytest.fixture(params=LOSSES.names())
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in SAMPLES, f"loss {request.param!r} has no sample here; add one"
    return str(request.param)


@pytest.fixture
def loss(name: str) -> nn.Module:
    found: nn.Module = LOSSES.build(name)
    return found


def entries(rows: int = 6, labels: int = 5) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(3)
    logits = torch.from_numpy(random.normal(0, 3, (rows, labels))).float()
    return logits, torch.from_numpy(random.integers(0, 2, (rows, labels))).float()


def test_losses_come_one_for_each_entry(loss: nn.Module) -> None:
    logits, targets = entries()
    assert loss(logits, targets).shape == logits.shape


def test_equals_a_slow_version(loss: nn.Module, name: str) -> None:
    logits, targets = (tensor.double() for tensor in entries())
    wanted = [
        [SAMPLES[name].slow(float(logit), int(target)) for logit, target in zip(*row, strict=True)]
        for row in zip(logits, targets, strict=True)
    ]
    np.testing.assert_allclose(loss(logits, targets).numpy(), wanted, rtol=1e-10)


def test_equals_cross_entropy_at_neutral_settings(name: str) -> None:
    if SAMPLES[name].neutral is None:
        pytest.skip("this loss has no neutral settings")
    logits, targets = entries()
    wanted = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(LOSSES.build(name, **(SAMPLES[name].neutral or {}))(logits, targets), wanted)


@pytest.mark.parametrize("size", [1.0, 30.0, 1000.0])
def test_values_and_gradients_are_finite_however_sure_the_logits(loss: nn.Module, size: float) -> None:
    logits = torch.tensor([[size, -size, size, -size, 0.0]], requires_grad=True)
    losses = loss(logits, torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]]))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_an_entry_depends_on_its_own_logit_and_pulls_it_to_the_target(loss: nn.Module) -> None:
    logits, targets = entries()
    logits.requires_grad_(True)
    loss(logits, targets).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[targets == 1] < 0).all()
    assert (logits.grad[targets == 0] >= 0).all()
    assert (logits.grad[targets == 0] > 0).any()


def test_unknown_entries_get_no_gradient_and_do_not_count(loss: nn.Module) -> None:
    logits, targets = entries()
    known = torch.from_numpy(np.random.default_rng(4).random(logits.shape) < 0.6)
    logits = torch.where(known, logits, torch.tensor(torch.inf)).requires_grad_(True)
    batch = Batch(torch.empty(0), targets, known, torch.arange(len(targets)))
    value = Criterion(loss)(Output(logits), batch)["labels"]
    value.backward()
    assert logits.grad is not None
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).any()
    torch.testing.assert_close(value, loss(logits, targets)[known].mean())


def test_the_order_of_the_batch_does_not_matter(loss: nn.Module) -> None:
    logits, targets = entries()
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert torch.equal(loss(logits[order], targets[order]), loss(logits, targets)[order])


def test_rows_without_a_label(loss: nn.Module) -> None:
    logits, targets = entries()
    targets[:2] = 0
    assert torch.equal(loss(logits, targets)[:2], loss(logits[:2], targets[:2]))
    assert loss(logits, torch.zeros_like(targets)).isfinite().all()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision(loss: nn.Module, kind: torch.dtype) -> None:
    logits, targets = entries()
    logits = logits.to(kind)
    found = loss(logits, targets)
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), loss(logits.float(), targets), rtol=2e-2, atol=2e-2)


# Settings of one loss alone

ASYMMETRIC = [(0.0, 4.0, 0.05), (1.0, 2.0, 0.0), (0.5, 0.5, 0.2), (2.0, 0.0, 0.3), (0.0, 0.0, 0.05)]


@pytest.mark.parametrize(("plus", "minus", "clip"), ASYMMETRIC)
def test_asymmetric_equals_a_slow_version_at_other_settings(plus: float, minus: float, clip: float) -> None:
    logits, targets = (tensor.double() for tensor in entries())
    wanted = [
        [slow_asymmetric(float(logit), int(target), plus, minus, clip) for logit, target in zip(*row, strict=True)]
        for row in zip(logits, targets, strict=True)
    ]
    loss = LOSSES.build("asymmetric", gamma_pos=plus, gamma_neg=minus, clip=clip)
    np.testing.assert_allclose(loss(logits, targets).numpy(), wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("plus", "minus", "clip"), ASYMMETRIC)
def test_asymmetric_gradient_is_that_of_the_slow_version(plus: float, minus: float, clip: float) -> None:
    logits, targets = (tensor.double() for tensor in entries())
    logits.requires_grad_(True)
    LOSSES.build("asymmetric", gamma_pos=plus, gamma_neg=minus, clip=clip)(logits, targets).sum().backward()
    assert logits.grad is not None
    flat = (tensor.detach().flatten().tolist() for tensor in (logits, targets, logits.grad))
    for logit, target, found in zip(*flat, strict=True):
        around = [slow_asymmetric(logit + by, int(target), plus, minus, clip) for by in (1e-6, -1e-6)]
        assert found == pytest.approx((around[0] - around[1]) / 2e-6, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize(("plus", "minus", "clip"), ASYMMETRIC)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_asymmetric_is_finite_at_every_setting(plus: float, minus: float, clip: float, kind: torch.dtype) -> None:
    logits = torch.tensor([[-1e4, -100, -3, 0, 3, 100, 1e4]], dtype=kind).expand(2, -1).clone().requires_grad_(True)
    targets = torch.tensor([[0.0], [1.0]]).expand(2, 7)
    losses = LOSSES.build("asymmetric", gamma_pos=plus, gamma_neg=minus, clip=clip)(logits, targets)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert (losses >= 0).all()
    # Powers of a rounded probability would be far off.
    exact = LOSSES.build("asymmetric", gamma_pos=plus, gamma_neg=minus, clip=clip)(logits.detach().double(), targets)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-4, atol=1e-6)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_negative_below_the_shift_costs_nothing() -> None:
    logits = torch.tensor([[0.04, 0.06]]).logit().requires_grad_(True)
    losses = LOSSES.build("asymmetric", gamma_neg=1.0, clip=0.05)(logits, torch.zeros(1, 2))
    losses.sum().backward()
    assert losses[0, 0] == 0 < losses[0, 1]
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0 < logits.grad[0, 1]


def test_without_the_gradient_of_the_weight_it_is_a_weighted_cross_entropy() -> None:
    logits, targets = entries()
    logits.requires_grad_(True)
    found = LOSSES.build("asymmetric", gamma_pos=1.0, gamma_neg=4.0, clip=0.0, weight_gradient=False)(logits, targets)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    present = logits.detach().sigmoid()
    wanted = torch.where(targets == 1, -((1 - present) ** 2), present**5)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gamma_neg": -1}, "loss_args.gamma_neg = -1: must be 0 or more"),
        ({"gamma_pos": float("nan")}, "loss_args.gamma_pos = nan: must be 0 or more"),
        ({"clip": 1.0}, "loss_args.clip = 1.0: must be from 0 up to and without 1"),
    ],
)
def test_asymmetric_refuses_settings_out_of_range(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        LOSSES.build("asymmetric", **given)
