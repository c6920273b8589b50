"""From a loss to the named numbers that training sums; masking of unknown labels happens here alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cotag.errors import SettingError, suggestion
from cotag.training.losses.loss import REDUCTIONS
from cotag.types.batch import Batch, Output


def masked_mean(losses: Tensor, known: Tensor) -> Tensor:
    """The mean over the known entries; 0, with a gradient of 0, where none is known."""
    # Multiplying would let an infinite loss of an unknown label through as NaN.
    kept = losses.masked_fill(~known.bool(), 0.0)
    return kept.sum() / known.to(losses.dtype).sum().clamp(min=1)


def reduction_of(loss: nn.Module) -> str:
    """What a loss gives back: ``entry``, ``row`` or ``batch``; see ``cotag.training.losses.loss``.

    Raises:
        SettingError: it declares another.
    """
    found = str(getattr(loss, "reduction", "entry"))
    if found not in REDUCTIONS:
        raise SettingError(f"{type(loss).__name__}.reduction = {found!r} is not known{suggestion(found, REDUCTIONS)}")
    return found


def takes_unknown(loss: nn.Module) -> bool:
    """Whether unknown labels have a loss of their own."""
    return bool(getattr(loss, "takes_unknown", False))


def reduced(loss: nn.Module, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
    """The loss of a batch as one number, as the loss declares that it is to be masked and averaged."""
    reduction = reduction_of(loss)
    if not takes_unknown(loss):
        logits_BK = without_unknown(logits_BK, known_BK)
        if reduction == "entry":
            return masked_mean(loss(logits_BK, targets_BK), known_BK)
    found: Tensor = loss(logits_BK, targets_BK, known_BK)
    if reduction == "batch":
        return found
    counting = known_BK if reduction == "entry" else known_BK.bool().any(1)
    return masked_mean(found, torch.ones_like(counting) if takes_unknown(loss) else counting)


def without_unknown(logits: Tensor, known: Tensor) -> Tensor:
    """Logits with 0, and no gradient, where nothing is known: infinite ones there spoil no gradient of the others."""
    return logits.masked_fill(~known.bool(), 0.0)


class Criterion(nn.Module):
    """The named losses of a tagger.

    Args:
        loss: of the labels; see ``cotag.training.losses.loss``.
        l1: factor of the penalty sum |w|, 0 or more; 0 for none.
        penalized: the parameters whose matrices and filters are the w.
        weights: name -> factor in the sum; ``labels`` is the loss of the labels, ``l1`` the penalty.

    Raises:
        SettingError: the loss declares a reduction that there is not.
    """

    def __init__(
        self,
        loss: nn.Module,
        l1: float = 0.0,
        penalized: Iterable[nn.Parameter] = (),
        weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        reduction_of(loss)
        self.loss, self.l1 = loss, l1
        # In a tuple they stay the model's own.
        self._penalized = tuple(penalized) if l1 else ()
        self.weights = weights or {"labels": 1.0, "l1": l1}

    def forward(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """The losses by name, each a scalar: ``labels``, and ``l1`` where there is a penalty."""
        found = {"labels": reduced(self.loss, output.logits_BK.float(), batch.targets_BK, batch.known_BK)}
        if self.l1:
            found["l1"] = absolute_sum(self._penalized)
        return found

    def begin_epoch(self, number: int) -> None:
        """Tell a loss that changes with the epochs which one begins, from 1."""
        begin = getattr(self.loss, "begin_epoch", None)
        if begin is not None:
            begin(number)

    def units(self, batch: Batch) -> float:
        """How many entries, images or batches the loss of the labels is a mean over."""
        reduction = reduction_of(self.loss)
        if reduction == "batch":
            return 1.0
        known = torch.ones_like(batch.known_BK) if takes_unknown(self.loss) else batch.known_BK.bool()
        return float((known if reduction == "entry" else known.any(1)).sum())

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of named losses."""
        parts = [self.weights[name] * value for name, value in losses.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def absolute_sum(parameters: Iterable[nn.Parameter]) -> Tensor:
    """sum |w| over the matrices and filters that train; biases, norms and other vectors have no penalty.

    Source: R. Tibshirani, Regression shrinkage and selection via the lasso, 1996, in its penalized form.
    """
    parts = [weight.float().abs().sum() for weight in parameters if weight.requires_grad and weight.ndim > 1]
    return torch.stack(parts).sum() if parts else torch.zeros(())
