"""Several heads of one shape as one: their weights lie in one tensor, of which each head keeps its part."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cotag.models.heads.gcn import GraphHead
from cotag.models.heads.linear import LinearHead

# Up to here a graph of this many labels is kept as a full matrix, which a batched product needs.
MOST_LABELS = 512


def stack_key(head: nn.Module) -> Hashable | None:
    """What heads must have in common to be stacked; None for a head that cannot be.

    Linear heads with ``avg`` or ``max`` pooling, no dropout and no norm can, and graph heads of at most 512 labels.
    """
    shapes = tuple((name, tuple(parameter.shape)) for name, parameter in head.named_parameters())
    if type(head) is LinearHead and head.reads != "map" and head.dropout.p == 0 and head.norm is None:
        return ("linear", head.pooling, shapes)
    if type(head) is GraphHead and len(head.vectors_KE) <= MOST_LABELS:
        return ("gcn", head.pooling, head.slope, tuple(head.vectors_KE.shape), shapes)
    return None


class StackedHeads:
    """The classifiers of R heads with the same ``stack_key``.

    Args:
        heads: from now on their parameters are views of the stacked ones: what changes one changes the other.
    """

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        self._heads = list(heads)
        self._names = [name for name, _ in heads[0].named_parameters()]
        self._stacked: dict[str, Tensor] = {}
        for name in self._names:
            own = [head.get_parameter(name) for head in heads]
            whole = torch.stack([parameter.detach() for parameter in own])
            for parameter, view in zip(own, whole.unbind(), strict=True):
                parameter.data = view
            self._stacked[name] = whole.requires_grad_()
        self._graph = isinstance(heads[0], GraphHead)
        if self._graph:
            self._adjacency_RKK = torch.stack([_adjacency(head) for head in heads])

    def logits(self, features: Tensor) -> Tensor:
        """Logits float (R, B, K) of pooled features (1, B, D), the same for all heads, or (R, B, D)."""
        classifiers_RKD, bias_RK = self.classifiers()
        if len(features) == 1:
            heads, labels, _ = classifiers_RKD.shape
            together = functional.linear(features[0], classifiers_RKD.flatten(0, 1))
            logits = together.view(-1, heads, labels).transpose(0, 1)
        else:
            logits = features @ classifiers_RKD.transpose(1, 2)
        return logits if bias_RK is None else logits + bias_RK[:, None]

    def classifiers(self) -> tuple[Tensor, Tensor | None]:
        """The weight vectors of each head's labels, float (R, K, D), and the biases (R, K) where they have some."""
        if not self._graph:
            return self._stacked["classifier.weight"], self._stacked["classifier.bias"]
        first = self._heads[0]
        assert isinstance(first, GraphHead)
        if "vectors_KE" in self._stacked:
            hidden = self._stacked["vectors_KE"]
        else:
            hidden = torch.stack([head.get_buffer("vectors_KE") for head in self._heads])
        for number in range(len(first.weights)):
            weight = self._stacked[f"weights.{number}"]
            # In the order of the head itself, which is the cheaper one.
            if weight.shape[1] <= weight.shape[2]:
                hidden = (self._adjacency_RKK @ hidden) @ weight
            else:
                hidden = self._adjacency_RKK @ (hidden @ weight)
            if number + 1 < len(first.weights):
                hidden = functional.leaky_relu(hidden, first.slope)
        return hidden, None

    def absolute_sums(self) -> Tensor:
        """``absolute_sum`` of each head's parameters, float (R,)."""
        parts = [whole.abs().flatten(1).sum(1) for whole in self._stacked.values() if whole.ndim > 2]
        return torch.stack(parts).sum(0)

    def take_gradients(self) -> dict[str, Tensor]:
        """The gradients of the stacked parameters by name, (R, ...); they are gone from here."""
        found = {}
        for name, whole in self._stacked.items():
            if whole.grad is not None:
                found[name], whole.grad = whole.grad, None
        return found


def _adjacency(head: nn.Module) -> Tensor:
    assert isinstance(head, GraphHead)
    return head.supplies_of(head.state_dict())["graph"].to_dense()
