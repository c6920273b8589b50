"""What every registered head must do, in each of its VARIANTS: a new one needs a line there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.registry import HEADS
from cotag.training.features import as_features

FEATURES = 6

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "linear": [{"pooling": "avg"}, {"pooling": "max"}, {"pooling": "gem"}, {"pooling": "avg", "dropout": 0.5}],
}


def test_every_head_has_variants() -> None:
    assert sorted(VARIANTS) == HEADS.names()


@pytest.fixture(params=[(name, args) for name in sorted(VARIANTS) for args in VARIANTS[name]], ids=str)
def kind(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    found: tuple[str, dict[str, Any]] = request.param
    return found


def build(kind: tuple[str, dict[str, Any]], labels: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    head: nn.Module = HEADS.build(kind[0], num_features=FEATURES, num_labels=labels, **kind[1])
    return head


def maps(images: int = 5) -> Tensor:
    return torch.rand((images, FEATURES, 3, 4), generator=torch.Generator().manual_seed(1)) * 2 - 0.5


@pytest.mark.parametrize("labels", [1, 2, 100])
def test_one_logit_for_each_image_and_label_and_every_parameter_learns(
    kind: tuple[str, dict[str, Any]], labels: int
) -> None:
    head = build(kind, labels)
    logits = head(Features(maps()))
    assert logits.shape == (5, labels)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_one_image_gets_what_it_gets_among_others(kind: tuple[str, dict[str, Any]]) -> None:
    head = build(kind).eval()
    torch.testing.assert_close(head(Features(maps()[2:3])), head(Features(maps()))[2:3])


def test_the_state_makes_the_same_head_again(kind: tuple[str, dict[str, Any]]) -> None:
    head, other = build(kind).eval(), build(kind, seed=9).eval()
    assert not torch.equal(head(Features(maps())), other(Features(maps())))
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    assert torch.equal(head(Features(maps())), other(Features(maps())))


def test_what_is_kept_of_the_features_gives_the_same_logits(kind: tuple[str, dict[str, Any]]) -> None:
    head = build(kind).eval()
    reads = str(head.reads)
    kept = maps().half() if reads == "map" else Features(maps()).pool(reads)
    tolerance = {"rtol": 2e-3, "atol": 2e-3} if reads == "map" else {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(head(as_features(kept, reads)), head(Features(maps())), **tolerance)


class OnMaps(nn.Module):
    """A head as a model of plain tensors, which export needs."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, maps_BDHW: Tensor) -> Tensor:
        logits: Tensor = self.head(Features(maps_BDHW))
        return logits


def test_the_exported_head_equals_the_head_at_another_batch_size(kind: tuple[str, dict[str, Any]]) -> None:
    model = OnMaps(build(kind).eval())
    exported = torch.export.export(model, (maps(),), dynamic_shapes=({0: torch.export.Dim("B")},))
    torch.testing.assert_close(exported.module()(maps(3)), model(maps(3)))


def test_an_unknown_setting_is_refused_with_the_nearest(kind: tuple[str, dict[str, Any]]) -> None:
    first = next(iter(kind[1]))
    with pytest.raises(SettingError, match=f"'{first}s' is not known; did you mean {first}"):
        build((kind[0], {f"{first}s": 1}))
