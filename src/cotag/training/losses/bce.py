"""Binary cross-entropy of each label."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BCE(nn.Module):
    """-(y log p + (1 - y) log(1 - p)) with p = sigmoid(logit), for each sample and label."""

    # The settings of a loss are read from its signature; that of nn.Module takes any.
    def __init__(self) -> None:
        super().__init__()

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Unreduced losses; float (B, K)."""
        return F.binary_cross_entropy_with_logits(logits_BK, targets_BK.to(logits_BK.dtype), reduction="none")
