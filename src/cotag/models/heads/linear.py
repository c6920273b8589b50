"""The linear head: pool, then one weight vector for each label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotag.errors import SettingError, suggestion
from cotag.models.features import Features, generalized_mean

POOLINGS = ("avg", "max", "gem")
NORMS = ("none", "batch")


class LinearHead(nn.Module):
    """logits = W norm(pool(features)) + b.

    Args:
        num_features: D, the backbone's width.
        num_labels: K.
        pooling: ``avg``, ``max`` or ``gem`` (generalized mean with a learned power that starts at 3).
        dropout: share of the pooled features that is dropped in training, in [0, 1), after the norm.
        norm: ``batch``, of the pooled features over the images of a batch (a single image is normalized by the running
            statistics), or ``none``.

    Attributes:
        reads: what must be kept of an image's features for this head: ``avg``, ``max`` or ``map``.
    """

    needs: tuple[str, ...] = ()

    def __init__(
        self, num_features: int, num_labels: int, pooling: str = "avg", dropout: float = 0.0, norm: str = "none"
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise SettingError(f"head_args.pooling {pooling!r} is not known{suggestion(pooling, POOLINGS)}")
        if not 0 <= dropout < 1:
            raise SettingError(f"head_args.dropout = {dropout}: must be at least 0 and under 1")
        if norm not in NORMS:
            raise SettingError(f"head_args.norm {norm!r} is not known{suggestion(norm, NORMS)}")
        self.pooling = pooling
        self.power = nn.Parameter(torch.tensor(3.0)) if pooling == "gem" else None
        self.norm = nn.BatchNorm1d(num_features) if norm == "batch" else None
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
        if self.norm is not None:
            pooled = self._normalized(pooled)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    def _normalized(self, pooled_BD: Tensor) -> Tensor:
        assert self.norm is not None
        if self.norm.training and len(pooled_BD) == 1:
            # One image has no statistics.
            running = (self.norm.running_mean, self.norm.running_var)
            return F.batch_norm(pooled_BD, *running, self.norm.weight, self.norm.bias, eps=self.norm.eps)
        found: Tensor = self.norm(pooled_BD)
        return found

    @torch.no_grad()
    def start_from(self, shares_K: Tensor) -> None:
        """Set the bias to the logit of each label's share of positives, so that training begins at the base rate."""
        self.classifier.bias.copy_(torch.logit(shares_K.clamp(1e-4, 1 - 1e-4)))
