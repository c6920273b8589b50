from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.models.backbone import Backbone
from cotag.models.recompute import recomputing

KINDS: dict[str, dict[str, Any]] = {
    "test_resnet": {"drop_path_rate": 0.3},
    "test_efficientnet": {"drop_path_rate": 0.3},
    "test_vit": {"img_size": 32, "drop_path_rate": 0.3, "proj_drop_rate": 0.2},
}


class Step:
    """Two batches through a backbone in training: their gradients, the state after them, and what was kept of them."""

    def __init__(self, name: str, recompute: bool, frozen: str = "", compiled: bool = False) -> None:
        torch.manual_seed(0)
        self.backbone = Backbone(name, KINDS[name]).train()
        for key, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(not frozen or frozen not in key)
        self.kept = 0
        compute: nn.Module | Any = self.backbone
        if compiled:
            torch.compiler.reset()
            compute = torch.compile(self.backbone, backend="aot_eager")
        with recomputing(self.backbone) if recompute else nullcontext():
            for images in torch.rand(2, 4, 3, 32, 32):
                with torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor):
                    found = compute(images).map_BDHW.square().mean()
                found.backward()
        self.gradients = {key: parameter.grad for key, parameter in self.backbone.named_parameters()}
        self.state = self.backbone.state_dict()

    def _count(self, tensor: Tensor) -> Tensor:
        self.kept += tensor.numel()
        return tensor


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    assert first.keys() == second.keys()
    return [
        key
        for key, value in first.items()
        if not (value is second[key] is None or torch.allclose(value, second[key], rtol=1e-5, atol=1e-7))
    ]


@pytest.mark.parametrize("name", KINDS)
def test_gradients_and_statistics_are_the_same_and_less_is_kept(name: str) -> None:
    plain, twice = Step(name, False), Step(name, True)
    assert differing(plain.gradients, twice.gradients) == []
    assert differing(plain.state, twice.state) == []
    # The parameters themselves are counted in both.
    assert twice.kept < 0.7 * plain.kept


def test_blocks_learn_above_a_frozen_stem() -> None:
    plain, twice = (Step("test_resnet", recompute, "conv1") for recompute in (False, True))
    assert differing(plain.gradients, twice.gradients) == []
    learned = [key for key, gradient in twice.gradients.items() if gradient is not None]
    assert learned
    assert not any("conv1" in key for key in learned)


def test_compiled_it_takes_each_batch_into_its_statistics_once() -> None:
    plain, twice = Step("test_resnet", False), Step("test_resnet", True, compiled=True)
    assert differing(plain.state, twice.state) == []
    torch.compiler.reset()


def test_the_backbone_is_afterwards_as_before() -> None:
    backbone = Step("test_resnet", True).backbone
    assert not backbone.body.grad_checkpointing
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in backbone.modules())


def test_a_backbone_that_cannot_be_computed_twice() -> None:
    with (
        pytest.raises(SettingError, match=r"train.recompute = true: timm cannot .* of backbone vgg11 twice; leave it"),
        recomputing(Backbone("vgg11")),
    ):
        pass
