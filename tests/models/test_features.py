from __future__ import annotations

import pytest
import torch

from cotag.errors import SettingError
from cotag.models.features import Features, generalized_mean

MAP = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, -1.0], [-3.0, 0.0]]]])


def test_pooling_by_hand() -> None:
    assert Features(MAP).pool("avg").tolist() == [[3.0, -1.0]]
    assert Features(MAP).pool("max").tolist() == [[6.0, 0.0]]


def test_tokens_are_the_places_row_by_row() -> None:
    assert Features(MAP).tokens.tolist() == [[[1, 0], [2, -1], [3, -3], [6, 0]]]


def test_what_is_pooled_already_is_taken() -> None:
    assert Features(pooled={"avg": torch.tensor([[7.0]])}).pool("avg").tolist() == [[7.0]]
    assert Features(MAP, {"avg": torch.tensor([[7.0, 8.0]])}).pool("avg").tolist() == [[7.0, 8.0]]


@pytest.mark.parametrize("use", [lambda f: f.pool("max"), lambda f: f.tokens, lambda f: f.full_map()])
def test_a_map_that_was_not_kept_is_asked_for_in_one_line(use) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingError, match=r"pooled already \(avg\); a map is needed"):
        use(Features(pooled={"avg": torch.zeros(1, 2)}))


def test_an_unknown_pooling_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="pooling 'mx' is not known; did you mean max"):
        Features(MAP).pool("mx")


def test_the_generalized_mean_by_hand_and_between_average_and_maximum() -> None:
    positive = MAP[:, :1]
    found = generalized_mean(positive, torch.tensor(3.0))
    assert found.item() == pytest.approx(((1 + 8 + 27 + 216) / 4) ** (1 / 3))
    assert generalized_mean(positive, torch.tensor(1.0)).item() == pytest.approx(3.0)
    assert generalized_mean(positive, torch.tensor(40.0)).item() == pytest.approx(6.0, rel=0.05)


def test_the_generalized_mean_takes_values_below_its_floor_as_the_floor() -> None:
    map_BDHW = MAP[:, 1:].clone().requires_grad_(True)
    found = generalized_mean(map_BDHW, torch.tensor(3.0), floor=0.5)
    assert found.item() == pytest.approx(0.5)
    generalized_mean(map_BDHW, torch.tensor(3.0)).backward()
    assert map_BDHW.grad is not None
    assert map_BDHW.grad.isfinite().all()
