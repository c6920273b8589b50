"""Distribution-balanced loss: weights that know of labels that come together, and patience with negatives."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range


class DistributionBalanced(Loss):
    """r (y log(1 + e^-(z - v)) + (1 - y) log(1 + e^(s (z - v))) / s), with a weight r for each image and label.

    Were images drawn so that each label is drawn equally often, an image would be drawn by way of each of its labels:
    more often than one label alone would have it, by the share (1 / n_k) / sum_j y_j / n_j, which r follows:
    r = alpha + sigmoid(beta (share - mu)). Each label has a margin v_k = kappa log(1 / p_k - 1), p_k its share of
    positives, so that absent entries of a rare label are let go early; s lets them go faster still.

    Args:
        alpha: added to every weight, 0 or more.
        beta: how steeply the weight follows the share, 0 or more.
        mu: the share in the middle of the slope.
        kappa: size of the margin, 0 or more.
        negative_scale: s, above 0.
        counts_K, known_K: the images that have each label, and those of which it is known.

    Alpha 0.5, beta 0, kappa 0 and negative_scale 1 give binary cross-entropy. The other defaults are those of the
    authors' program for COCO.

    Raises:
        SettingError: a number out of its range.

    Source: Wu et al., Distribution-balanced loss for multi-label classification in long-tailed datasets, ECCV 2020:
        r of section 3.1 (re-balanced weighting), v and s of section 3.2 (negative-tolerant regularization).
    Differs: counts are of what is known. An image without a label has the weight to which r tends, alpha + 1, as in the
        authors' program. v is the paper's; the program divides it by s. A label has at least one image in n, and
        p is held off 0 and 1 by one image.
    """

    needs = ("counts_K", "known_K")

    def __init__(
        self,
        counts_K: np.ndarray,
        known_K: np.ndarray,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.2,
        kappa: float = 0.05,
        negative_scale: float = 2.0,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.mu = in_range("alpha", alpha, 0), in_range("beta", beta, 0), in_range("mu", mu, 0)
        self.negative_scale = in_range("negative_scale", negative_scale, 0, open_low=True)
        kappa = in_range("kappa", kappa, 0)
        counts_K, known_K = np.asarray(counts_K, dtype=np.float64), np.asarray(known_K, dtype=np.float64)
        known_K = np.maximum(known_K, 1)
        shares_K = np.clip(counts_K / known_K, 1 / (known_K + 1), known_K / (known_K + 1))
        margins_K = kappa * np.log(1 / shares_K - 1)
        self.inverse_K: Tensor
        self.margins_K: Tensor
        self.register_buffer("inverse_K", torch.from_numpy(1 / np.maximum(counts_K, 1)).float(), persistent=False)
        self.register_buffer("margins_K", torch.from_numpy(margins_K).float(), persistent=False)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Unreduced losses; float (B, K), float32 where the logits are of half precision."""
        shifted_BK = single(logits_BK) - self.margins_K
        negative_BK = F.softplus(self.negative_scale * shifted_BK) / self.negative_scale
        losses_BK = torch.where(targets_BK > 0.5, F.softplus(-shifted_BK), negative_BK)
        return losses_BK * self._weights(targets_BK.to(losses_BK.dtype))

    def _weights(self, targets_BK: Tensor) -> Tensor:
        """r of each image and label; an unknown label counts as absent."""
        drawn_B1 = (targets_BK @ self.inverse_K.to(targets_BK.dtype))[:, None]
        share_BK = self.inverse_K / drawn_B1.clamp(min=torch.finfo(drawn_B1.dtype).tiny)
        # Where no label is present the share is without bound, and beta 0 times that would be no number.
        share_BK = share_BK.clamp(max=1e9)
        return self.alpha + torch.sigmoid(self.beta * (share_BK - self.mu))
