"""Asymmetric loss: easy negatives, of which there are most, weigh little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.errors import SettingError
from cotag.training.losses.loss import Loss, single


class Asymmetric(Loss):
    """-(y (1 - p)^gamma_pos log p + (1 - y) q^gamma_neg log(1 - q)) with q = max(p - clip, 0), p = sigmoid(logit).

    Args:
        gamma_pos: how little easy positives weigh, 0 or more; 0 for as much as hard ones.
        gamma_neg: the same of negatives.
        clip: by how much a negative's probability is shifted down, from 0 up to and without 1; those below it have
            no loss at all.
        weight_gradient: whether the gradient runs through the weights (1 - p)^gamma_pos and q^gamma_neg too, as in
            the paper's analysis; the authors' program for COCO leaves it out.

    All three numbers 0 give binary cross-entropy.

    Raises:
        SettingError: a number out of its range.

    Source: Ridnik et al., Asymmetric loss for multi-label classification, ICCV 2021, eq. 4 to 6.
    """

    def __init__(
        self, gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05, weight_gradient: bool = True
    ) -> None:
        super().__init__()
        for name, gamma in (("gamma_pos", gamma_pos), ("gamma_neg", gamma_neg)):
            if not 0 <= gamma < float("inf"):
                raise SettingError(f"loss_args.{name} = {gamma}: must be 0 or more")
        if not 0 <= clip < 1:
            raise SettingError(f"loss_args.clip = {clip}: must be from 0 up to and without 1")
        self.gamma_pos, self.gamma_neg, self.clip = gamma_pos, gamma_neg, clip
        self.weight_gradient = weight_gradient

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Unreduced losses; float (B, K), float32 where the logits are of half precision."""
        logits_BK = single(logits_BK)
        log_present_BK, log_absent_BK = F.logsigmoid(logits_BK), F.logsigmoid(-logits_BK)
        present_BK = logits_BK.sigmoid()
        if self.clip:
            # At least ``clip`` where it counts, so the logarithm is finite; 1 where the shift goes below 0.
            log_absent_BK = (torch.sigmoid(-logits_BK) + self.clip).clamp(max=1.0).log()
            present_BK = (present_BK - self.clip).clamp(min=0.0)
        positive_BK = self._weight(torch.sigmoid(-logits_BK), self.gamma_pos) * log_present_BK
        negative_BK = self._weight(present_BK, self.gamma_neg) * log_absent_BK
        return -torch.where(targets_BK > 0.5, positive_BK, negative_BK)

    def _weight(self, base_BK: Tensor, gamma: float) -> Tensor:
        # The slope of a power under 1 is infinite at 0.
        weight_BK = base_BK.clamp(min=torch.finfo(base_BK.dtype).tiny) ** gamma
        return weight_BK if self.weight_gradient else weight_BK.detach()
