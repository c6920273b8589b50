"""Focal loss: entries that are easy weigh little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range


class Focal(Loss):
    """-a (1 - p_t)^gamma log p_t, with p_t the probability of what is so: p where present, 1 - p where absent.

    Args:
        gamma: how little easy entries weigh, 0 or more; 0 for as much as hard ones.
        alpha: a is alpha where present and 1 - alpha where absent, above 0 and under 1; None: 1 for both.

    Gamma 0 without alpha gives binary cross-entropy.

    Raises:
        SettingError: a number out of its range.

    Source: Lin et al., Focal loss for dense object detection, ICCV 2017, eq. 4 and, with alpha, eq. 5.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        self.gamma = in_range("gamma", gamma, 0)
        self.alpha = None if alpha is None else in_range("alpha", alpha, 0, 1, open_low=True)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Unreduced losses; float (B, K), float32 where the logits are of half precision."""
        losses_BK = focal(single(logits_BK), targets_BK, self.gamma)
        if self.alpha is None:
            return losses_BK
        return torch.where(targets_BK > 0.5, self.alpha * losses_BK, (1 - self.alpha) * losses_BK)


def focal(logits_BK: Tensor, targets_BK: Tensor, gamma: float) -> Tensor:
    """-(1 - p_t)^gamma log p_t; gradients run through the weight too."""
    toward_BK = torch.where(targets_BK > 0.5, logits_BK, -logits_BK)
    losses_BK = -F.logsigmoid(toward_BK)
    # By its logarithm the weight keeps its precision where p_t rounds to 1.
    return losses_BK * (gamma * F.logsigmoid(-toward_BK)).exp() if gamma else losses_BK
