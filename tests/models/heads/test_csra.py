"""The residual attention head against a second, slow version of its equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.models.heads.csra import TEMPERATURES, ResidualAttentionHead

FEATURES, LABELS = 4, 3


def maps(images: int = 2) -> Tensor:
    return torch.randn((images, FEATURES, 2, 3), generator=torch.Generator().manual_seed(5)).double()


def slow(head: ResidualAttentionHead, map_BDHW: np.ndarray) -> np.ndarray:
    weights = head.weight_HKD.detach().numpy()
    logits = np.zeros((len(map_BDHW), weights.shape[1]))
    for b, image in enumerate(map_BDHW):
        places = image.reshape(image.shape[0], -1).T
        for h, temperature in enumerate(head.temperatures):
            for k, weight in enumerate(weights[h]):
                scores = [float(place @ weight) / math.sqrt(float(weight @ weight)) for place in places]
                if temperature == math.inf:
                    attended = max(scores)
                else:
                    shares = [math.exp(temperature * score) for score in scores]
                    attended = sum(share * score for share, score in zip(shares, scores, strict=True)) / sum(shares)
                logits[b, k] += sum(scores) / len(scores) + head.lam * attended
    return logits


@pytest.mark.parametrize("heads", TEMPERATURES)
def test_logits_are_those_of_the_equations(heads: int) -> None:
    torch.manual_seed(0)
    head = ResidualAttentionHead(FEATURES, LABELS, heads, lam=0.3).double()
    found = head(Features(maps())).detach().numpy()
    np.testing.assert_allclose(found, slow(head, maps().numpy()), rtol=1e-10, atol=1e-12)


def test_each_head_has_its_temperature_and_the_last_is_the_maximum() -> None:
    assert all(len(temperatures) == heads for heads, temperatures in TEMPERATURES.items())
    assert TEMPERATURES[8] == (1, 2, 3, 4, 5, 6, 7, math.inf)
    assert all(temperatures[-1] == math.inf for heads, temperatures in TEMPERATURES.items() if heads > 1)


def test_without_attention_it_is_the_average_and_the_length_of_a_classifier_does_not_matter() -> None:
    head = ResidualAttentionHead(FEATURES, LABELS, lam=0.0).double()
    logits = head(Features(maps()))
    weight = head.weight_HKD[0] / head.weight_HKD[0].norm(dim=1, keepdim=True)
    torch.testing.assert_close(logits, maps().mean((2, 3)) @ weight.T)
    with torch.no_grad():
        head.weight_HKD.mul_(7)
    torch.testing.assert_close(head(Features(maps())), logits)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"heads": 3}, "heads = 3: must be one of 1, 2, 4, 6, 8"), ({"lam": -1.0}, "lam = -1.0: must be")],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        ResidualAttentionHead(FEATURES, LABELS, **settings)  # type: ignore[arg-type]
