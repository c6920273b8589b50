"""What every registered optimizer must do with the groups of parameters that it is given."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from cotag.registry import OPTIMIZERS
from cotag.training.optim import parameter_groups


@pytest.fixture(params=OPTIMIZERS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Model(nn.Module):
    """A matrix and a bias below ``backbone``, and the same below ``head``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.backbone(inputs))
        return outputs


def build(name: str, model: nn.Module, rate: float = 0.01, backbone: float = 0.1, decay: float = 0.0):  # type: ignore[no-untyped-def]
    return OPTIMIZERS.build(name, parameter_groups(model, rate, backbone, decay))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 1) -> float:
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
    loss = (model(inputs) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_steps_lower_the_loss(name: str) -> None:
    model = Model()
    optimizer = build(name, model)
    losses = [step(model, optimizer) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0]


def test_every_parameter_is_in_one_group_with_its_own_rate(name: str) -> None:
    model = Model()
    optimizer = build(name, model, rate=0.01, backbone=0.1, decay=0.5)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    found = {key: rates[id(parameter)] for key, parameter in model.named_parameters()}
    assert found == {
        "backbone.weight": (pytest.approx(0.001), 0.5),
        "backbone.bias": (pytest.approx(0.001), 0.0),
        "head.weight": (0.01, 0.5),
        "head.bias": (0.01, 0.0),
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_without_a_gradient_only_what_is_decayed_shrinks(name: str) -> None:
    model = Model()
    before = copy.deepcopy(model.state_dict())
    optimizer = build(name, model, decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, value in model.state_dict().items():
        if key.endswith("weight"):
            assert value.norm() < before[key].norm(), key
        else:
            assert torch.equal(value, before[key]), key


def test_a_frozen_backbone_does_not_move(name: str) -> None:
    model = Model()
    before = copy.deepcopy(model.state_dict())
    step(model, build(name, model, backbone=0.0, decay=0.5))
    assert torch.equal(model.backbone.weight, before["backbone.weight"])
    assert torch.equal(model.backbone.bias, before["backbone.bias"])
    assert not torch.equal(model.head.weight, before["head.weight"])


def test_its_state_makes_it_go_on_as_it_would_have(name: str) -> None:
    model = Model()
    optimizer = build(name, model)
    step(model, optimizer, seed=1)
    other = copy.deepcopy(model)
    again = build(name, other)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(model, optimizer, seed=2)
    step(other, again, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
