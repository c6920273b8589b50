"""Batch and Output: what goes into a tagger and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass
class Batch:
    """What a loader hands to a tagger and a loss.

    Attributes:
        images_BCHW: uint8 pixels, which the tagger normalizes; or cached features (B, ...), when training on those.
        targets_BK: float, 1 where the label is present and 0 where it is absent or unknown.
        known_BK: bool, False where it is not known whether the label is present.
        rows_B: int64, the rows of the Index.
        extras: further named tensors (segment maps, boxes) for dense tasks.
        place: its number in the order of its epoch, from 0; None where its source does not say.
    """

    images_BCHW: torch.Tensor
    targets_BK: torch.Tensor
    known_BK: torch.Tensor
    rows_B: torch.Tensor
    extras: dict[str, Any] = field(default_factory=dict)
    place: int | None = None

    def to(self, device: Any) -> Batch:
        """The same batch on a device."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in _TENSORS}
        extras = {k: v.to(device, non_blocking=True) if hasattr(v, "to") else v for k, v in self.extras.items()}
        return replace(self, **moved, extras=extras)

    def __len__(self) -> int:
        return len(self.rows_B)


_TENSORS = ("images_BCHW", "targets_BK", "known_BK", "rows_B")


@dataclass
class Output:
    """What a tagger returns.

    Attributes:
        logits_BK: float, one logit for each image and label.
        extras: named further results (features, segment logits, instances).
    """

    logits_BK: torch.Tensor
    extras: dict[str, Any] = field(default_factory=dict)
