"""The losses of several fits at once, each as its own criterion has it alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotag.training.criterion import Criterion, reduced, reduction_of, takes_unknown, without_unknown
from cotag.training.stacked_batches import StackedBatch
from cotag.training.stacked_heads import StackedHeads


class StackedCriteria:
    """The losses of R fits in one epoch.

    Args:
        criteria: of the fits; all of one kind of loss with the same settings.
        epoch: the number of the epoch, from 1.
    """

    def __init__(self, criteria: Sequence[Criterion], epoch: int) -> None:
        self._criteria = list(criteria)
        for criterion in criteria:
            criterion.begin_epoch(epoch)
        losses = [criterion.loss for criterion in criteria]
        # Where an entry's loss is its own affair and the same in all fits, one call gives those of all.
        self._at_once = reduction_of(losses[0]) == "entry" and not takes_unknown(losses[0]) and _alike(losses)
        self._l1_R = torch.tensor([criterion.l1 for criterion in criteria])

    def totals(self, logits_RBK: Tensor, batch: StackedBatch, stack: StackedHeads) -> Tensor:
        """The total of each fit, float (R,)."""
        logits_RBK = logits_RBK.float()
        loss_R = self._together(logits_RBK, batch) if self._at_once else self._one_by_one(logits_RBK, batch)
        return loss_R + self._l1_R * stack.absolute_sums() if self._l1_R.any() else loss_R

    def _together(self, logits_RBK: Tensor, batch: StackedBatch) -> Tensor:
        targets_RBK, known_RBK = batch.targets.expand_as(logits_RBK), batch.known.expand_as(logits_RBK)
        flat = (tensor.flatten(0, 1) for tensor in (without_unknown(logits_RBK, known_RBK), targets_RBK))
        losses_RBK: Tensor = self._criteria[0].loss(*flat).view_as(logits_RBK)
        kept = losses_RBK.masked_fill(~known_RBK, 0.0)
        return kept.sum((1, 2)) / known_RBK.to(kept.dtype).sum((1, 2)).clamp(min=1)

    def _one_by_one(self, logits_RBK: Tensor, batch: StackedBatch) -> Tensor:
        """A batch that was filled up is cut to its own images first: some losses count what is unknown."""
        found = []
        for place, criterion in enumerate(self._criteria):
            shared, size = place if len(batch.targets) > 1 else 0, int(batch.sizes_R[place])
            own = (logits_RBK[place, :size], batch.targets[shared, :size], batch.known[shared, :size])
            found.append(reduced(criterion.loss, *own))
        return torch.stack(found)


def _alike(losses: Sequence[nn.Module]) -> bool:
    """Whether losses of one kind and the same settings were told the same of their images."""
    first = dict(losses[0].named_buffers())
    return all(
        buffers.keys() == first.keys() and all(torch.equal(buffers[name], first[name]) for name in first)
        for buffers in (dict(loss.named_buffers()) for loss in losses[1:])
    )
