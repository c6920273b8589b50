"""Losses of targets between 0 and 1, as mixed pictures have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cotag.registry import LOSSES, MIXTURES
from cotag.run.picture_checks import takes_shares
from cotag.training.criterion import reduced

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "pictures.md").read_text("utf-8")
NAMES = [name for name in LOSSES.names() if takes_shares(name)]


def test_which_losses_take_shares() -> None:
    assert {"bce", "soft_margin", "assume_negative"} <= set(NAMES)
    assert "asymmetric" not in NAMES
    assert all(f"`{name}`" in PAGE for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_share_is_that_share_of_both_sides(name: str) -> None:
    loss = LOSSES.build(name)
    torch.manual_seed(0)
    logits, shares = torch.randn(5, 4).double(), torch.rand(5, 4).double()
    known = torch.ones(1, 1, dtype=torch.bool)

    def of(place: tuple[int, int], target: float) -> torch.Tensor:
        return reduced(loss, logits[place].view(1, 1), torch.tensor([[target]]).double(), known)

    for place in np.ndindex(5, 4):
        share = float(shares[place])
        wanted = share * of(place, 1.0) + (1 - share) * of(place, 0.0)
        torch.testing.assert_close(of(place, share), wanted)


@pytest.mark.parametrize("name", MIXTURES.names())
def test_the_page_names_every_mixture_with_its_settings(name: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` ")]
    assert all(f"`{setting}`" in row for setting in MIXTURES.parameters(name))
