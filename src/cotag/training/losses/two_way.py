"""Two-way loss: present above absent, among the labels of an image and among the images of a label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range


class TwoWay(Loss):
    """softplus(Tn log sum over absent of e^(z / Tn) + Tp log sum over present of e^(-z / Tp)), over rows and columns.

    The sums run once over the labels of an image and once over the images of a label in the batch; the loss is the
    mean over the images that have a label, plus the mean over the labels that an image has. Where nothing is absent
    there is nothing to be above, and no loss. Unknown entries are in no sum. It compares, and knows no 0: a threshold
    of probability has no meaning for what it trains, so thresholds must be fitted (``cotag decide``).

    Args:
        positive_temperature: Tp, above 0; high ones heed all that is present, low ones the lowest of it.
        negative_temperature: Tn, above 0; the same of what is absent.

    Raises:
        SettingError: a temperature that is not above 0.

    Source: T. Kobayashi, Two-way multi-label loss, CVPR 2023, with its temperature 4 on the present ones.
    """

    reduction = "batch"

    def __init__(self, positive_temperature: float = 4.0, negative_temperature: float = 1.0) -> None:
        super().__init__()
        self.positive = in_range("positive_temperature", positive_temperature, 0, open_low=True)
        self.negative = in_range("negative_temperature", negative_temperature, 0, open_low=True)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        """The loss of the batch, one number."""
        logits_BK = single(logits_BK)
        present_BK, absent_BK = (targets_BK > 0.5) & known_BK, (targets_BK <= 0.5) & known_BK
        by_image = self._over_rows(logits_BK, present_BK, absent_BK)
        return by_image + self._over_rows(logits_BK.T, present_BK.T, absent_BK.T)

    def _over_rows(self, logits: Tensor, present: Tensor, absent: Tensor) -> Tensor:
        has_present = present.any(1)
        # Where one side is empty its logarithm is infinite, and so would be a gradient that is then multiplied by 0.
        both = has_present & absent.any(1)
        logits, present, absent = logits[both], present[both], absent[both]
        low = (-logits / self.positive).masked_fill(~present, -torch.inf).logsumexp(1) * self.positive
        high = (logits / self.negative).masked_fill(~absent, -torch.inf).logsumexp(1) * self.negative
        return F.softplus(low + high).sum() / has_present.sum().clamp(min=1)
