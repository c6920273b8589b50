"""The residual attention head: the average over the places, and more of the places where a label is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cotag.errors import SettingError
from cotag.models.features import Features

TEMPERATURES: dict[int, tuple[float, ...]] = {
    1: (1,),
    2: (1, math.inf),
    4: (1, 2, 4, math.inf),
    6: (1, 2, 3, 4, 5, math.inf),
    8: (1, 2, 3, 4, 5, 6, 7, math.inf),
}


class ResidualAttentionHead(nn.Module):
    """Class-specific residual attention: each label's average score plus its score where it attends.

    With s_j the score of a label at place j, its features x_j times its classifier m of length 1:
    logit = mean_j s_j + lam sum_j softmax_j(T s_j) s_j; with T infinite, mean_j s_j + lam max_j s_j. Several heads,
    each with classifiers and a temperature T of its own, are summed. No bias.

    Args:
        num_features: D, the backbone's width.
        num_labels: K.
        heads: 1, 2, 4, 6 or 8; their temperatures are 1, 2, ... (4 heads: 1, 2, 4) and for the last infinity, for a
            single one 1.
        lam: the weight of the attention beside the average, at least 0.

    Raises:
        SettingError: another number of heads, or ``lam`` is negative.

    Source: Zhu, Wu, Residual Attention: A Simple but Effective Method for Multi-Label Recognition, ICCV 2021,
        sections 3.1 to 3.4. There, for ResNet-101: heads 1 and lam 0.1 for VOC 2007.
    """

    needs: tuple[str, ...] = ()
    reads = "map"

    def __init__(self, num_features: int, num_labels: int, heads: int = 1, lam: float = 0.1) -> None:
        super().__init__()
        if heads not in TEMPERATURES:
            raise SettingError(f"head_args.heads = {heads}: must be one of {', '.join(map(str, TEMPERATURES))}")
        if not 0 <= lam < math.inf:
            raise SettingError(f"head_args.lam = {lam}: must be a number of at least 0")
        self.lam = lam
        self.temperatures = TEMPERATURES[heads]
        self.weight_HKD = nn.Parameter(torch.empty(heads, num_labels, num_features))
        nn.init.uniform_(self.weight_HKD, -(num_features**-0.5), num_features**-0.5)

    def forward(self, features: Features) -> Tensor:
        """Logits, float (B, K)."""
        classifiers_HKD = functional.normalize(self.weight_HKD, dim=2)
        scores_BCT = classifiers_HKD.flatten(0, 1) @ features.full_map().flatten(2)
        scores_BHKT = scores_BCT.unflatten(1, self.weight_HKD.shape[:2])
        logits_BK = scores_BHKT.mean(3).sum(1)
        for scores_BKT, temperature in zip(scores_BHKT.unbind(1), self.temperatures, strict=True):
            if math.isinf(temperature):
                attended_BK = scores_BKT.amax(2)
            else:
                attended_BK = (functional.softmax(temperature * scores_BKT, 2) * scores_BKT).sum(2)
            logits_BK = logits_BK + self.lam * attended_BK
        return logits_BK
