"""Class-balanced loss: a label weighs the less, the more images it effectively has."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cotag.training.losses.focal import focal
from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range


class ClassBalanced(Loss):
    """w_k times the focal loss, with w_k proportional to (1 - beta) / (1 - beta^n_k) and of mean 1 over the labels.

    Args:
        beta: from 0 up to and without 1; 0 weighs all labels alike, towards 1 it weighs by 1 / n_k.
        gamma: of the focal loss, 0 or more; 0 for cross-entropy.
        counts_K: n, the images that train each label.

    Both 0 give binary cross-entropy. A label without an image weighs as one with a single image.

    Raises:
        SettingError: a number out of its range.

    Source: Cui et al., Class-balanced loss based on effective number of samples, CVPR 2019, eq. 10 with the sigmoid
        (eq. 12) or the focal loss (eq. 13).
    Differs: an image of the paper has one class, whose weight it has as a whole; here each label has its own weight,
        where it is present and where it is absent.
    """

    needs = ("counts_K",)

    def __init__(self, counts_K: np.ndarray, beta: float = 0.999, gamma: float = 0.0) -> None:
        super().__init__()
        beta = in_range("beta", beta, 0, 1)
        self.gamma = in_range("gamma", gamma, 0)
        inverse_K = (1 - beta) / (1 - beta ** np.maximum(np.asarray(counts_K, dtype=np.float64), 1))
        self.weights_K: Tensor
        self.register_buffer("weights_K", torch.from_numpy(inverse_K / inverse_K.mean()).float(), persistent=False)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Unreduced losses; float (B, K), float32 where the logits are of half precision."""
        return focal(single(logits_BK), targets_BK, self.gamma) * self.weights_K
