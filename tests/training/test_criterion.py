from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cotag.training.criterion import Criterion, masked_mean
from cotag.types.batch import Batch, Output

LOSSES = torch.tensor([[1.0, 2.0], [4.0, 100.0]])


def test_the_mean_is_over_the_known_entries() -> None:
    assert masked_mean(LOSSES, torch.tensor([[True, True], [True, False]])).item() == pytest.approx(7 / 3)
    assert masked_mean(LOSSES, torch.ones(2, 2)).item() == pytest.approx(107 / 4)


@pytest.mark.parametrize("spoiled", [torch.inf, torch.nan])
def test_what_an_unknown_entry_loses_does_not_matter(spoiled: float) -> None:
    losses = LOSSES.clone()
    losses[1, 1] = spoiled
    assert masked_mean(losses, torch.tensor([[True, True], [True, False]])).item() == pytest.approx(7 / 3)


def test_where_nothing_is_known_there_is_no_loss_and_no_gradient() -> None:
    losses = LOSSES.clone().requires_grad_(True)
    value = masked_mean(losses, torch.zeros(2, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert losses.grad is not None
    assert (losses.grad == 0).all()


class Difference(nn.Module):
    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        assert logits_BK.dtype == torch.float32
        return (logits_BK - targets_BK).abs()


def test_the_losses_are_named_and_computed_in_single_precision() -> None:
    batch = Batch(torch.empty(0), torch.tensor([[1.0, 0.0]]), torch.tensor([[True, True]]), torch.tensor([0]))
    losses = Criterion(Difference())(Output(torch.tensor([[3.0, 1.0]], dtype=torch.float16)), batch)
    assert list(losses) == ["labels"]
    assert losses["labels"].item() == 1.5


def test_the_total_is_the_weighted_sum() -> None:
    losses = {"labels": torch.tensor(2.0), "segments": torch.tensor(10.0)}
    assert Criterion(Difference(), {"labels": 0.5, "segments": 2.0}).total(losses).item() == 21
    assert Criterion(Difference()).total({"labels": torch.tensor(2.0)}).item() == 2
