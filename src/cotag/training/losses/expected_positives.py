"""Expected positive regularization: what is known, and how many labels an image has on average."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range


class ExpectedPositives(Loss):
    """Cross-entropy over the known labels + strength ((labels given per image - labels per image) / K)^2.

    Labels given per image: the sum of the probabilities of all K labels, unknown ones too, on average over the batch.

    Args:
        labels_per_image: how many labels an image has on average, above 0, all in all and not just known ones: a
            guess, or a count on some images that were annotated in full.
        strength: of the second part, 0 or more; 0 for cross-entropy over the known labels alone.

    Raises:
        SettingError: a number out of its range.

    Source: Cole et al., Multi-label learning from single positive labels, CVPR 2021, section 4: L_EPR.
    Differs: known absent labels, of which the paper has none, are in the first part.
    """

    reduction = "batch"
    takes_unknown = True

    def __init__(self, labels_per_image: float, strength: float = 1.0) -> None:
        super().__init__()
        self.labels_per_image = in_range("labels_per_image", labels_per_image, 0, open_low=True)
        self.strength = in_range("strength", strength, 0)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        """The loss of the batch, one number."""
        logits_BK = single(logits_BK)
        losses_BK = F.binary_cross_entropy_with_logits(logits_BK, targets_BK.to(logits_BK.dtype), reduction="none")
        known = losses_BK.masked_fill(~known_BK, 0.0).sum() / known_BK.sum().clamp(min=1)
        given = logits_BK.sigmoid().sum(1).mean()
        return known + self.strength * ((given - self.labels_per_image) / logits_BK.shape[1]).square()
