"""What a loss declares of itself, so that masking unknown labels and averaging can happen in one place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

REDUCTIONS = ("entry", "row", "batch")


class Loss(nn.Module):
    """Base of Cotag's losses. A loss of another package is any module; what it does not declare is as it is here.

    Attributes:
        reduction: what ``forward`` gives back. ``entry``: losses_BK, each of its own logit alone; an unknown one is
            left out and the mean over the others taken. ``row``: losses_B, whose entries belong together; the mean
            is over the images of which something is known. ``batch``: the loss of the batch as one number.
        takes_unknown: whether an unknown label has a loss. Then nothing is left out.
        takes_shares: whether targets may lie between 0 and 1, as those of mixed pictures do: the loss of a share is
            that share of a present label's and the rest of an absent one's.
        needs: what the constructor is given of the images that train, besides its settings: ``counts_K`` (images
            that have each label), ``known_K`` (images for which that is known), ``infrequent_K`` (bool).

    ``forward`` gets logits_BK and targets_BK, in which an unknown label is 0, and known_BK (bool) as well where the
    loss has another reduction than ``entry`` or takes unknown labels. ``begin_epoch``, where there is one, is called
    with the number of each epoch, from 1, before it. Buffers are kept in checkpoints unless they are not persistent.
    """

    reduction: str = "entry"
    takes_unknown: bool = False
    takes_shares: bool = False
    needs: tuple[str, ...] = ()


def single(logits: Tensor) -> Tensor:
    """Logits in single precision at least: exponentials and sums of half precision are too coarse for a loss."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
