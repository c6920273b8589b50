from __future__ import annotations

import pytest
import torch
from torch import nn

from cotag.registry import OPTIMIZERS
from cotag.training.optim import parameter_groups


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)
        self.power = nn.Parameter(torch.tensor(3.0))


def names_of(model: nn.Module, group: dict[str, list[nn.Parameter]]) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)] for parameter in group["params"]}


def test_filters_and_matrices_are_decayed_and_nothing_else() -> None:
    model = Model()
    groups = parameter_groups(model, 1.0, 1.0, 0.5)
    decayed = {name for group in groups if group["weight_decay"] for name in names_of(model, group)}
    assert decayed == {"backbone.0.weight", "head.weight"}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}


def test_the_backbone_has_a_share_of_the_rate() -> None:
    model = Model()
    groups = parameter_groups(model, 2.0, 0.1, 0.0)
    slow = {name for group in groups if group["lr"] == 0.2 for name in names_of(model, group)}
    assert slow == {name for name, _ in model.named_parameters() if name.startswith("backbone.")}


def test_a_rate_of_zero_freezes_the_backbone() -> None:
    model = Model()
    groups = parameter_groups(model, 1.0, 0.0, 0.1)
    assert {name for group in groups for name in names_of(model, group)} == {"head.weight", "head.bias", "power"}
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert model.head.weight.requires_grad


def test_what_is_frozen_already_stays_out() -> None:
    model = Model()
    model.head.bias.requires_grad_(False)
    assert not any("head.bias" in names_of(model, group) for group in parameter_groups(model, 1.0, 1.0, 0.1))


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("sgd", {"momentum": 0.5, "nesterov": True}, {"momentum": 0.5, "nesterov": True}),
        ("adam", {"betas": [0.5, 0.6], "eps": 1e-3}, {"betas": (0.5, 0.6), "eps": 1e-3}),
        ("adamw", {"betas": [0.5, 0.6]}, {"betas": (0.5, 0.6), "eps": 1e-8}),
    ],
)
def test_settings_reach_the_optimizer(name: str, given: dict[str, object], wanted: dict[str, object]) -> None:
    optimizer = OPTIMIZERS.build(name, parameter_groups(Model(), 1.0, 1.0, 0.1), **given)
    assert {key: optimizer.param_groups[0][key] for key in wanted} == wanted


def test_weight_decay_of_adam_is_a_penalty_and_of_adamw_a_shrinking() -> None:
    found = {}
    for name in ("adam", "adamw"):
        model = nn.Linear(2, 1)
        nn.init.constant_(model.weight, 2.0)
        optimizer = OPTIMIZERS.build(name, parameter_groups(model, 0.01, 1.0, 0.2))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        found[name] = model.weight[0, 0].item()
    assert found["adam"] == pytest.approx(2 - 0.01, abs=1e-6)
    assert found["adamw"] == pytest.approx(2 * (1 - 0.01 * 0.2), abs=1e-6)
