from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.training.criterion import Criterion, masked_mean, reduced
from cotag.training.losses.bce import BCE
from cotag.training.losses.loss import Loss
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
    assert Criterion(Difference(), weights={"labels": 0.5, "segments": 2.0}).total(losses).item() == 21
    assert Criterion(Difference()).total({"labels": torch.tensor(2.0)}).item() == 2


KNOWN = torch.tensor([[True, True], [True, False], [False, False]])
LOGITS = torch.tensor([[3.0, 1.0], [5.0, torch.nan], [7.0, 7.0]])
TARGETS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])


class Unknown(Loss):
    """Counts the unknown entries among all."""

    takes_unknown = True

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        return (~known_BK).float()


class Longest(Loss):
    """A row's largest known logit."""

    reduction = "row"

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        return logits_BK.masked_fill(~known_BK, -torch.inf).amax(1)


class Whole(Loss):
    reduction = "batch"

    def forward(self, logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
        return logits_BK[known_BK].sum()


@pytest.mark.parametrize(
    ("loss", "wanted", "units"),
    [(Difference(), (2 + 1 + 4) / 3, 3), (Unknown(), 3 / 6, 6), (Longest(), (3 + 5) / 2, 2), (Whole(), 9, 1)],
    ids=lambda value: type(value).__name__,
)
def test_each_reduction_counts_what_it_declares(loss: nn.Module, wanted: float, units: int) -> None:
    batch = Batch(torch.empty(0), TARGETS, KNOWN, torch.arange(3))
    assert reduced(loss, LOGITS, TARGETS, KNOWN).item() == pytest.approx(wanted)
    assert Criterion(loss)(Output(LOGITS), batch)["labels"].item() == pytest.approx(wanted)
    assert Criterion(loss).units(batch) == units


def test_a_reduction_that_there_is_not() -> None:
    class Wrong(Whole):
        reduction = "rows"

    with pytest.raises(SettingError, match=r"Wrong\.reduction = 'rows' is not known; did you mean row\?"):
        Criterion(Wrong())


def test_the_penalty_is_the_sum_over_matrices_that_train_and_stands_beside_the_loss() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[1].weight.requires_grad_(False)
    batch = Batch(torch.empty(0), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), torch.arange(1))
    criterion = Criterion(BCE(), 0.5, model.parameters())
    losses = criterion(Output(torch.zeros(1, 2)), batch)
    assert list(losses) == ["labels", "l1"]
    assert losses["l1"].item() == pytest.approx(model[0].weight.detach().abs().sum().item())
    criterion.total(losses).backward()
    torch.testing.assert_close(model[0].weight.grad, 0.5 * model[0].weight.detach().sign())
    assert model[0].bias.grad is None
    assert list(Criterion(BCE(), 0.0, model.parameters())(Output(torch.zeros(1, 2)), batch)) == ["labels"]
    assert not criterion.state_dict()


def test_a_loss_hears_of_its_epochs() -> None:
    class Counting(Whole):
        def begin_epoch(self, number: int) -> None:
            self.number = number

    loss = Counting()
    Criterion(loss).begin_epoch(3)
    Criterion(BCE()).begin_epoch(3)
    assert loss.number == 3
