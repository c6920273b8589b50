"""Assume negative: an unknown label is taken to be absent, at a weight."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.errors import SettingError
from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range

WEAK = "weak"


class AssumeNegative(Loss):
    """Cross-entropy of each sample and label; an unknown one counts as absent, at a weight.

    Args:
        weight: of an unknown label, 0 or more; ``weak`` for 1 / (K - 1), at which the unknown labels of an image
            weigh as much together as one that is known to be present.
        smoothing: the share e of a target that is spread over both sides: y (1 - e) + e / 2; from 0 up to and
            without 1.

    Raises:
        SettingError: a number out of its range, or another word.

    Source: Cole et al., Multi-label learning from single positive labels, CVPR 2021, section 4: L_AN, L_WAN (``weak``)
        and L_AN-LS (smoothing).
    Differs: the paper knows no absent labels; here those that are known have the weight 1.
    """

    takes_unknown = True
    takes_shares = True

    def __init__(self, weight: float | str = 1.0, smoothing: float = 0.0) -> None:
        super().__init__()
        if isinstance(weight, str):
            if weight != WEAK:
                raise SettingError(f"loss_args.weight = {weight!r}: must be a number of 0 or more, or {WEAK}")
            self.weight = None
        else:
            self.weight = in_range("weight", weight, 0)
        self.smoothing = in_range("smoothing", smoothing, 0, 1)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        """Unreduced losses; float (B, K), float32 where the logits are of half precision."""
        logits_BK = single(logits_BK)
        targets_BK = targets_BK.to(logits_BK.dtype) * (1 - self.smoothing) + self.smoothing / 2
        losses_BK = F.binary_cross_entropy_with_logits(logits_BK, targets_BK, reduction="none")
        weight = 1 / max(1, logits_BK.shape[1] - 1) if self.weight is None else self.weight
        return torch.where(known_BK, losses_BK, weight * losses_BK)
