"""Multi-label soft margin: cross-entropy in which each image, and not each known label, counts the same."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cotag.training.losses.loss import Loss, single


class SoftMargin(Loss):
    """The mean over an image's known labels of -(y log p + (1 - y) log(1 - p)), for each image.

    Where nothing is unknown the mean over images equals that of ``bce``. Where something is, an image of which little
    is known weighs as much as one of which all is.

    Source: torch.nn.MultiLabelSoftMarginLoss, with which the program of Chen et al., ML-GCN, CVPR 2019, trains.
    """

    reduction = "row"
    takes_shares = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        """Losses of images; float (B,)."""
        logits_BK = single(logits_BK)
        losses_BK = F.binary_cross_entropy_with_logits(logits_BK, targets_BK.to(logits_BK.dtype), reduction="none")
        return losses_BK.masked_fill(~known_BK, 0.0).sum(1) / known_BK.sum(1).clamp(min=1)
