"""The linear head: pool, then one weight vector for each label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cotag.errors import SettingError, suggestion
from cotag.models.features import Features, generalized_mean

POOLINGS = ("avg", "max", "gem")


class LinearHead(nn.Module):
    """logits = W pool(features) + b.

    Args:
        num_features: D, the backbone's width.
        num_labels: K.
        pooling: ``avg``, ``max`` or ``gem`` (generalized mean with a learned power that starts at 3).
        dropout: share of the pooled features that is dropped in training, in [0, 1).

    Attributes:
        reads: what must be kept of an image's features for this head: ``avg``, ``max`` or ``map``.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, num_features: int, num_labels: int, pooling: str = "avg", dropout: float = 0.0) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise SettingError(f"head_args.pooling {pooling!r} is not known{suggestion(pooling, POOLINGS)}")
        if not 0 <= dropout < 1:
            raise SettingError(f"head_args.dropout = {dropout}: must be at least 0 and under 1")
        self.pooling = pooling
        self.power = nn.Parameter(torch.tensor(3.0)) if pooling == "gem" else None
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(num_features, num_labels)

    @property
    def reads(self) -> str:
        return "map" if self.pooling == "gem" else self.pooling

    def forward(self, features: Features) -> Tensor:
        """Logits, float (B, K)."""
        if self.power is not None:
            pooled = generalized_mean(features.full_map(), self.power)
        else:
            pooled = features.pool(self.pooling)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    @torch.no_grad()
    def start_from(self, shares_K: Tensor) -> None:
        """Set the bias to the logit of each label's share of positives, so that training begins at the base rate."""
        self.classifier.bias.copy_(torch.logit(shares_K.clamp(1e-4, 1 - 1e-4)))
