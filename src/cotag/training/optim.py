"""Optimizers by name, and the groups of parameters that they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Groups = list[dict[str, Any]]


def parameter_groups(model: nn.Module, learning_rate: float, backbone_rate: float, weight_decay: float) -> Groups:
    """Groups of trainable parameters: backbone or head, decayed or not.

    Args:
        backbone_rate: factor of the learning rate for parameters under ``backbone``; 0 freezes them.
        weight_decay: for matrices and filters; norms, biases and other vectors have none.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_backbone = name.startswith("backbone.")
        if in_backbone and backbone_rate == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((in_backbone, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * (backbone_rate if in_backbone else 1.0),
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (in_backbone, decayed), parameters in groups.items()
    ]


def sgd(groups: Groups, momentum: float = 0.9, nesterov: bool = False) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(groups, lr=groups[0]["lr"], momentum=momentum, nesterov=nesterov)


def adam(groups: Groups, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> torch.optim.Optimizer:
    """Adam; weight decay is an L2 penalty."""
    return torch.optim.Adam(groups, lr=groups[0]["lr"], betas=(betas[0], betas[1]), eps=eps)


def adamw(groups: Groups, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay."""
    return torch.optim.AdamW(groups, lr=groups[0]["lr"], betas=(betas[0], betas[1]), eps=eps)
