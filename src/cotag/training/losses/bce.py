"""Binary cross-entropy of each label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotag.errors import SettingError
from cotag.training.losses.loss import Loss, single
from cotag.training.losses.weights import in_range, label_weights

BALANCED = "balanced"


class BCE(Loss):
    """-w (v y log p + (1 - y) log(1 - p)) with p = sigmoid(logit), for each sample and label.

    Args:
        weights: w, one number of 0 or more for each label, or one for all.
        infrequent_weight: factor of w for labels that are infrequent among the images that train, as
            ``balance.infrequent`` says; 1.2 in the program of the PSG report.
        positive_weight: v, a number for all labels or one for each, or ``balanced``: absent over present among the
            known entries of the images that train, so that both sides of a label weigh the same.
        smoothing: the share e of the targets that is spread over both sides: y (1 - e) + e / 2; from 0 up to and
            without 1.
        counts_K, known_K, infrequent_K: see ``Loss.needs``.

    At the defaults it is plain binary cross-entropy.

    Raises:
        SettingError: weights of another length or below 0, smoothing out of its range, a weight for infrequent labels
            where there is none, or counts that are needed and were not given.

    Source: weights: S. Zhang, Salient relation classification of PSG, NTU CE7454 report, 2022, eq. 1; smoothing:
        Szegedy et al., Rethinking the Inception architecture, CVPR 2016, section 7, for the two sides of one label.
    """

    needs = ("counts_K", "known_K", "infrequent_K")
    takes_shares = True

    def __init__(
        self,
        weights: float | Sequence[float] = 1.0,
        infrequent_weight: float = 1.0,
        positive_weight: float | Sequence[float] | str = 1.0,
        smoothing: float = 0.0,
        counts_K: np.ndarray | None = None,
        known_K: np.ndarray | None = None,
        infrequent_K: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        labels = None if counts_K is None else len(counts_K)
        self.smoothing = in_range("smoothing", smoothing, 0, 1)
        factor = in_range("infrequent_weight", infrequent_weight, 0)
        weights_K = label_weights("weights", weights, labels)
        if factor != 1:
            if infrequent_K is None:
                raise SettingError("loss_args.infrequent_weight: which labels are infrequent was not given")
            if not infrequent_K.any():
                raise SettingError(
                    f"loss_args.infrequent_weight = {infrequent_weight:g}: none of the {len(infrequent_K)} labels is "
                    "infrequent; leave it out, or set another balance.infrequent"
                )
            weights_K = weights_K * np.where(infrequent_K, factor, 1.0)
        if isinstance(positive_weight, str):
            positive_K = _balance(positive_weight, counts_K, known_K)
        else:
            positive_K = label_weights("positive_weight", positive_weight, labels)
        for name, values_K in (("weights_K", weights_K), ("positive_weights_K", positive_K)):
            kept = None if (values_K == 1).all() else torch.from_numpy(values_K).float()
            self.register_buffer(name, kept, persistent=False)

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Unreduced losses; float (B, K), float32 where the logits are of half precision."""
        logits_BK = single(logits_BK)
        targets_BK = targets_BK.to(logits_BK.dtype)
        if self.smoothing:
            targets_BK = targets_BK * (1 - self.smoothing) + self.smoothing / 2
        weights_K, positive_K = (
            self._fitting(name, logits_BK.shape[1]) for name in ("weights_K", "positive_weights_K")
        )
        losses_BK = F.binary_cross_entropy_with_logits(logits_BK, targets_BK, pos_weight=positive_K, reduction="none")
        return losses_BK if weights_K is None else losses_BK * weights_K

    def _fitting(self, name: str, labels: int) -> Tensor | None:
        """Weights for so many labels; where the constructor was not told of the labels, this is where it shows."""
        values: Tensor | None = getattr(self, name)
        if values is not None and len(values) not in (1, labels):
            setting = {"weights_K": "weights", "positive_weights_K": "positive_weight"}[name]
            raise SettingError(
                f"loss_args.{setting}: {len(values)} weights are given for {labels} labels; give one for each"
            )
        return values


def _balance(given: str, counts_K: np.ndarray | None, known_K: np.ndarray | None) -> np.ndarray:
    if given != BALANCED:
        raise SettingError(
            f"loss_args.positive_weight = {given!r}: must be a number, one for each label, or {BALANCED}"
        )
    if counts_K is None or known_K is None:
        raise SettingError(f"loss_args.positive_weight = {BALANCED}: the counts of the labels were not given")
    # A label that is known on one side alone would weigh nothing, or without bound.
    weights_K: np.ndarray = np.maximum(known_K - counts_K, 1) / np.maximum(counts_K, 1)
    return weights_K
