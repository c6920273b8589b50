"""Losses of targets between 0 and 1, as mixed pictures have them."""

from __future__ import annotations

import pytest
import torch

from cotag.registry import LOSSES
from cotag.run.picture_checks import takes_shares

NAMES = [name for name in LOSSES.names() if takes_shares(name)]


def test_which_losses_take_shares() -> None:
    assert "bce" in NAMES
    assert "asymmetric" not in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_share_is_that_share_of_both_sides(name: str) -> None:
    loss = LOSSES.build(name)
    torch.manual_seed(0)
    logits, shares = torch.randn(5, 4).double(), torch.rand(5, 4).double()
    present, absent = loss(logits, torch.ones(5, 4).double()), loss(logits, torch.zeros(5, 4).double())
    torch.testing.assert_close(loss(logits, shares), shares * present + (1 - shares) * absent)
