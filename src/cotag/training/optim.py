"""Optimizers by name, and the groups of parameters that they are given."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from cotag.models.backbone import Backbone
from cotag.models.backbone_parts import layer_depths

Groups = list[dict[str, Any]]
# One pass over weights, gradients and moments in the place of one for each operation.
# Measured by benchmarks/train.py --only updates.
FUSED = True


def parameter_groups(
    model: nn.Module, learning_rate: float, backbone_rate: float, weight_decay: float, layer_decay: float = 1.0
) -> Groups:
    """Groups of trainable parameters: backbone or head, by layer, decayed or not.

    Args:
        backbone_rate: factor of the learning rate for parameters under ``backbone``; 0 freezes them.
        weight_decay: for matrices and filters; norms, biases and other vectors have none.
        layer_decay: factor of the learning rate of each layer of the backbone to the one above it; 1 for none.

    Source: Bao et al., BEiT, ICLR 2022, appendix: layer-wise learning rate decay; layers as timm counts them.

    Raises:
        SettingError: there is a layer decay, and timm does not know the backbone's layers.
    """
    factors: dict[str, float] = {}
    if layer_decay != 1.0:
        depths = layer_depths(cast(Backbone, model.backbone))
        factors = {f"backbone.body.{name}": layer_decay**depth for name, depth in depths.items()}
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_backbone = name.startswith("backbone.")
        if in_backbone and backbone_rate == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            key = (in_backbone, factors.get(name, 1.0), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * factor * (backbone_rate if in_backbone else 1.0),
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (in_backbone, factor, decayed), parameters in groups.items()
    ]


def sgd(groups: Groups, momentum: float = 0.9, nesterov: bool = False) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(groups, lr=groups[0]["lr"], momentum=momentum, nesterov=nesterov, fused=FUSED)


def adam(
    groups: Groups, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, amsgrad: bool = False
) -> torch.optim.Optimizer:
    """Adam; weight decay is an L2 penalty; ``amsgrad`` divides by the largest second moment so far.

    Source: Kingma, Ba, Adam, ICLR 2015, algorithm 1; Reddi et al., On the convergence of Adam and beyond, ICLR 2018,
        algorithm 2.
    """
    return torch.optim.Adam(
        groups, lr=groups[0]["lr"], betas=(betas[0], betas[1]), eps=eps, amsgrad=amsgrad, fused=FUSED
    )


def adamw(
    groups: Groups, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, amsgrad: bool = False
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay; ``amsgrad`` as in ``adam``.

    Source: Loshchilov, Hutter, Decoupled weight decay regularization, ICLR 2019, algorithm 2.
    """
    return torch.optim.AdamW(
        groups, lr=groups[0]["lr"], betas=(betas[0], betas[1]), eps=eps, amsgrad=amsgrad, fused=FUSED
    )


def unfuse(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer step in several passes, as under scaled gradients.

    Where their first step is skipped, torch's fused SGD (2.15) goes on with a momentum that was never written.
    """
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = None
    # Without this torch leaves it to the fused step to skip, and Accelerate cannot tell that it did.
    if hasattr(optimizer, "_step_supports_amp_scaling"):
        optimizer._step_supports_amp_scaling = False
