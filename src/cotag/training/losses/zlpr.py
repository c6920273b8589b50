"""ZLPR: every present label above 0, every absent one below, those of an image together."""

from __future__ import annotations

import torch
from torch import Tensor

from cotag.training.losses.loss import Loss, single


class ZLPR(Loss):
    """log(1 + sum over present of e^-z) + log(1 + sum over absent of e^z), for each image.

    With one label it is binary cross-entropy. Unknown labels are in neither sum.

    Source: Su et al., ZLPR: a novel loss for multi-label classification, 2022 (the zero-bounded log-sum-exp and
        pairwise rank-based loss of its title).
    """

    reduction = "row"

    def __init__(self) -> None:
        super().__init__()

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        """Losses of images; float (B,)."""
        logits_BK = single(logits_BK)
        present_BK = targets_BK > 0.5
        zero_B1 = logits_BK.new_zeros(len(logits_BK), 1)
        total_B = logits_BK.new_zeros(len(logits_BK))
        for side_BK, exponents_BK in ((present_BK, -logits_BK), (~present_BK, logits_BK)):
            kept_BK = exponents_BK.masked_fill(~(side_BK & known_BK), -torch.inf)
            total_B = total_B + torch.cat([zero_B1, kept_BK], 1).logsumexp(1)
        return total_B
