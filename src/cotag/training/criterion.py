"""From unreduced losses to the numbers that training sums; masking of unknown labels happens here alone."""

from __future__ import annotations

from torch import Tensor, nn

from cotag.types.batch import Batch, Output


def masked_mean(losses_BK: Tensor, known_BK: Tensor) -> Tensor:
    """The mean over the known entries; 0, with a gradient of 0, where none is known."""
    known = known_BK.to(losses_BK.dtype)
    # Multiplying would let an infinite loss of an unknown label through as NaN.
    kept = losses_BK.masked_fill(~known_BK.bool(), 0.0)
    return kept.sum() / known.sum().clamp(min=1)


class Criterion(nn.Module):
    """The named losses of a tagger.

    Args:
        loss: gives losses_BK of logits_BK and targets_BK.
        weights: name -> factor in the sum; ``labels`` is the loss of the labels.
    """

    def __init__(self, loss: nn.Module, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.weights = weights or {"labels": 1.0}

    def forward(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """The losses by name, each a scalar."""
        losses_BK = self.loss(output.logits_BK.float(), batch.targets_BK)
        return {"labels": masked_mean(losses_BK, batch.known_BK)}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of named losses."""
        parts = [self.weights[name] * value for name, value in losses.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
