"""Hill loss: an absent label that looks present pulls little, since it may be a missing one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.errors import SettingError, suggestion
from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range

UNKNOWN = ("absent", "left_out")


class Hill(Loss):
    """Present: -(1 - q)^gamma log q with q = sigmoid(z - margin); absent: (height - p) p^2 with p = sigmoid(z).

    With height 1.5 the pull on an absent label grows up to about p = 0.5 and vanishes again towards p = 1.

    Args:
        height: lambda of the paper, 1.5 or more: below it a sure false positive would be pulled up.
        margin: by how much a present label's logit is shifted down.
        gamma: how little easy present labels weigh, 0 or more.
        unknown: ``absent``: an unknown label counts as absent, for which the loss is made; ``left_out``: it does not
            count.

    Raises:
        SettingError: a number out of its range, or another word.

    Source: Zhang et al., Simple and robust loss design for multi-label learning with missing labels, 2021: the Hill
        loss for absent and the focal margin loss for present labels, with the settings of the authors' program.
    """

    takes_unknown = True

    def __init__(self, height: float = 1.5, margin: float = 1.0, gamma: float = 2.0, unknown: str = "absent") -> None:
        super().__init__()
        self.height = in_range("height", height, 1.5)
        self.margin, self.gamma = in_range("margin", margin, 0), in_range("gamma", gamma, 0)
        if unknown not in UNKNOWN:
            raise SettingError(f"loss_args.unknown = {unknown!r} is not known{suggestion(unknown, UNKNOWN)}")
        self.takes_unknown = unknown == "absent"

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor | None = None) -> Tensor:
        """Unreduced losses; float (B, K), float32 where the logits are of half precision."""
        logits_BK = single(logits_BK)
        shifted_BK = logits_BK - self.margin
        present_BK = -F.logsigmoid(shifted_BK) * (self.gamma * F.logsigmoid(-shifted_BK)).exp()
        probability_BK = logits_BK.sigmoid()
        absent_BK = (self.height - probability_BK) * probability_BK.square()
        return torch.where(targets_BK > 0.5, present_BK, absent_BK)
