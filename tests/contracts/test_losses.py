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


SAMPLES = {"bce": Sample(slow_bce)}


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
