"""The norm and the dropout of the linear head."""

from __future__ import annotations

import pytest
import torch

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.models.heads.linear import LinearHead


def maps(images: int, seed: int = 0) -> torch.Tensor:
    return 5 + 3 * torch.randn((images, 4, 2, 2), generator=torch.Generator().manual_seed(seed))


def test_the_norm_is_of_the_pooled_features_over_the_images_of_a_batch() -> None:
    torch.manual_seed(0)
    head = LinearHead(4, 3, norm="batch")
    images = maps(6)
    pooled = images.mean((2, 3))
    wanted = (pooled - pooled.mean(0)) / torch.sqrt(pooled.var(0, unbiased=False) + 1e-5)
    found = head(Features(images))
    assert torch.allclose(found, wanted @ head.classifier.weight.T + head.classifier.bias, atol=1e-5)
    assert not torch.allclose(found, head.classifier(pooled), atol=0.1)


def test_a_single_image_is_normalized_by_the_running_statistics() -> None:
    torch.manual_seed(0)
    head = LinearHead(4, 3, norm="batch")
    for seed in range(3):
        head(Features(maps(6, seed)))
    assert head.norm is not None
    assert head.norm.running_mean is not None
    before = head.norm.running_mean.clone()
    one = head(Features(maps(1, 9)))
    assert torch.equal(head.norm.running_mean, before)
    assert torch.allclose(one, head.eval()(Features(maps(1, 9))), atol=1e-6)


def test_an_unknown_norm_is_named() -> None:
    with pytest.raises(SettingError, match=r"head_args.norm 'bach' is not known; did you mean batch"):
        LinearHead(4, 3, norm="bach")
