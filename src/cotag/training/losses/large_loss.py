"""Large-loss rejection and correction: unknown labels that look most present are not taught to be absent."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.errors import SettingError, suggestion
from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range

KINDS = ("reject", "correct")


class LargeLoss(Loss):
    """Cross-entropy in which unknown labels count as absent, but for those of the largest loss in a batch.

    In epoch t these are the share (t - 1) rate of the batch's unknown labels. A network learns first what is right and
    then by heart what is wrong, so a large loss tells of a label that is present and was not annotated.

    Args:
        rate: by how much the share grows from epoch to epoch, in [0, 1); the paper's is 0.002.
        kind: ``reject`` leaves these entries out; ``correct`` takes them to be present, in this step alone.

    Rate 0 takes every unknown label to be absent.

    Raises:
        SettingError: a rate out of its range, or another kind.

    Source: Kim et al., Large loss matters in weakly supervised multi-label classification, CVPR 2022, section 4: LL-R
        (``reject``) and LL-Ct (``correct``).
    Differs: the share is one of the unknown labels, as in the paper; the authors' program takes it of all entries.
    """

    reduction = "batch"
    takes_unknown = True

    def __init__(self, rate: float = 0.002, kind: str = "reject") -> None:
        super().__init__()
        self.rate = in_range("rate", rate, 0, 1)
        if kind not in KINDS:
            raise SettingError(f"loss_args.kind = {kind!r} is not known{suggestion(kind, KINDS)}")
        self.kind = kind
        self.share = 0.0

    def begin_epoch(self, number: int) -> None:
        """Let the share grow; ``number`` counts from 1."""
        self.share = min(1.0, (number - 1) * self.rate)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        """The loss of the batch, one number: the mean over all entries, 0 for those that are left out."""
        logits_BK = single(logits_BK)
        targets_BK = targets_BK.to(logits_BK.dtype)
        losses_BK = F.binary_cross_entropy_with_logits(logits_BK, targets_BK, reduction="none")
        unknown = losses_BK.detach()[~known_BK]
        # Of one entry more or less by rounding: 0.002 times 500 is not 1.
        count = math.ceil(self.share * len(unknown) - 1e-9)
        if not count:
            return losses_BK.mean()
        large_BK = ~known_BK & (losses_BK.detach() >= unknown.topk(count).values[-1])
        other_BK = F.softplus(-logits_BK) if self.kind == "correct" else torch.zeros_like(losses_BK)
        return torch.where(large_BK, other_BK, losses_BK).mean()
