from __future__ import annotations

import pytest
import torch
from torch import nn

from cotag.models.tagger import build_tagger
from cotag.registry import OPTIMIZERS
from cotag.training.optim import parameter_groups
from cotag.types.labels import LabelSpace


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


def test_layers_have_their_rates_by_their_depth() -> None:
    tagger = build_tagger(LabelSpace(("a", "b")), "test_vit", "linear")
    groups = parameter_groups(tagger, 1.0, 0.5, 0.1, layer_decay=0.8)
    rates = {name: group["lr"] for group in groups for name in names_of(tagger, group)}
    assert rates.keys() == {name for name, _ in tagger.named_parameters()}
    blocks = len(tagger.backbone.body.blocks)
    for block in range(blocks):
        assert rates[f"backbone.body.blocks.{block}.attn.qkv.weight"] == pytest.approx(0.5 * 0.8 ** (blocks - block))
    assert rates["backbone.body.patch_embed.proj.bias"] == pytest.approx(0.5 * 0.8 ** (blocks + 1))
    assert rates["head.classifier.weight"] == rates["head.classifier.bias"] == 1.0
    decayed = {name for group in groups if group["weight_decay"] for name in names_of(tagger, group)}
    assert decayed == {name for name, parameter in tagger.named_parameters() if parameter.ndim > 1}
    assert groups[-1]["lr"] == 1.0
    assert len(parameter_groups(tagger, 1.0, 0.5, 0.1)) == 4


def test_what_is_frozen_already_stays_out() -> None:
    model = Model()
    model.head.bias.requires_grad_(False)
    assert not any("head.bias" in names_of(model, group) for group in parameter_groups(model, 1.0, 1.0, 0.1))


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("sgd", {"momentum": 0.5, "nesterov": True}, {"momentum": 0.5, "nesterov": True}),
        ("adam", {"betas": [0.5, 0.6], "eps": 1e-3}, {"betas": (0.5, 0.6), "eps": 1e-3}),
        ("adamw", {"betas": [0.5, 0.6]}, {"betas": (0.5, 0.6), "eps": 1e-8, "amsgrad": False}),
        ("adam", {"amsgrad": True}, {"amsgrad": True}),
        ("adamw", {"amsgrad": True}, {"amsgrad": True}),
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


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_the_steps_are_those_of_the_paper(name: str, amsgrad: bool) -> None:
    """One weight and gradients that become small: AMSGrad keeps dividing by the largest second moment."""
    gradients = [3.0, -1.0, 0.01, 0.02, -0.03, 0.01]
    rate, decay, b1, b2, eps = 0.1, 0.2, 0.5, 0.6, 1e-8
    weight, m, v, largest = 2.0, 0.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        if name == "adamw":
            weight -= rate * decay * weight
        else:
            gradient += decay * weight
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        largest = max(largest, v)
        second = (largest if amsgrad else v) / (1 - b2**step)
        weight -= rate * m / (1 - b1**step) / (second**0.5 + eps)
    parameter = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    groups = [{"params": [parameter], "lr": rate, "weight_decay": decay}]
    optimizer = OPTIMIZERS.build(name, groups, betas=[b1, b2], eps=eps, amsgrad=amsgrad)
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    assert parameter.item() == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_steps_of_momentum(nesterov: bool) -> None:
    gradients = [3.0, -1.0, 0.5, 2.0]
    weight, velocity = 2.0, 0.0
    for gradient in gradients:
        gradient += 0.2 * weight
        velocity = 0.9 * velocity + gradient
        weight -= 0.1 * (gradient + 0.9 * velocity if nesterov else velocity)
    parameter = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    groups = [{"params": [parameter], "lr": 0.1, "weight_decay": 0.2}]
    optimizer = OPTIMIZERS.build("sgd", groups, momentum=0.9, nesterov=nesterov)
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    assert parameter.item() == pytest.approx(weight, rel=1e-12)
