"""Features: what a backbone hands to a head; pooling belongs to the head."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cotag.errors import SettingError, suggestion

POOLINGS = ("avg", "max")


@dataclass
class Features:
    """Plain features of B images.

    Attributes:
        map_BDHW: float; the deepest feature map of a CNN, or the tokens of a transformer laid out as its grid;
            None where only pooled features are at hand.
        pooled: what is already pooled, by name (``avg``, ``max``): float (B, D).
    """

    map_BDHW: Tensor | None = None
    pooled: dict[str, Tensor] = field(default_factory=dict)

    @property
    def tokens(self) -> Tensor:
        """The map as a row of tokens, float (B, T, D) with T = H * W."""
        return self.full_map().flatten(2).transpose(1, 2)

    def full_map(self) -> Tensor:
        """The map.

        Raises:
            SettingError: only pooled features are at hand.
        """
        if self.map_BDHW is None:
            raise SettingError(f"features are pooled already ({', '.join(self.pooled)}); a map is needed here")
        return self.map_BDHW

    def pool(self, name: str) -> Tensor:
        """The features pooled over all places by ``avg`` or ``max``; float (B, D)."""
        if name in self.pooled:
            return self.pooled[name]
        if name == "avg":
            return self.full_map().mean((2, 3))
        if name == "max":
            return self.full_map().amax((2, 3))
        raise SettingError(f"pooling {name!r} is not known{suggestion(name, POOLINGS)}")


def generalized_mean(map_BDHW: Tensor, power: Tensor, floor: float = 1e-6) -> Tensor:
    """Generalized-mean pooling; float (B, D).

    Source: Radenovic, Tolias, Chum, Fine-tuning CNN image retrieval with no human annotation, TPAMI 2018,
    equation 3. ``power`` 1 is the average, infinity the maximum.
    """
    return torch.clamp(map_BDHW, min=floor).pow(power).mean((2, 3)).pow(1 / power)
