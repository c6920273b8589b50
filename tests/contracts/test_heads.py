"""What every registered head must do, in each of its VARIANTS: a new one needs a line there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.models.tagger import head_needs
from cotag.registry import HEADS
from cotag.training.features import as_features

FEATURES = 6

SMALL = {"width": 8, "attention_heads": 2, "feedforward": 16}

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "csra": [{"heads": 1}, {"heads": 4, "lam": 0.3}, {"heads": 8}],
    "gcn": [
        {"widths": [8]},
        {"widths": [8, 5], "pooling": "avg", "slope": 0.1},
        {"widths": [8], "learn_vectors": True},
    ],
    "linear": [
        {"pooling": "avg"},
        {"pooling": "max"},
        {"pooling": "gem"},
        {"pooling": "avg", "dropout": 0.5},
        {"norm": "batch"},
    ],
    "q2l": [SMALL, {**SMALL, "decoder_layers": 1, "dropout": 0.0}, {**SMALL, "encoder_layers": 1}],
    "query": [SMALL, {**SMALL, "learn_queries": True}, {**SMALL, "groups": 1}],
}


def test_every_head_has_variants() -> None:
    assert sorted(VARIANTS) == HEADS.names()


@pytest.fixture(params=[(name, args) for name in sorted(VARIANTS) for args in VARIANTS[name]], ids=str)
def kind(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    found: tuple[str, dict[str, Any]] = request.param
    return found


def supplies(labels: int) -> dict[str, Tensor]:
    """What a head may need to know of the labels: a graph in which each has itself and the next, and vectors."""
    random = torch.Generator().manual_seed(2)
    graph = torch.eye(labels) + 0.5 * torch.eye(labels).roll(1, 1)
    return {"graph": graph.to_sparse_coo().coalesce(), "vectors": torch.randn((labels, 5), generator=random)}


def build(kind: tuple[str, dict[str, Any]], labels: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    known = supplies(labels)
    needed = {name: known[name] for name in head_needs(kind[0])}
    head: nn.Module = HEADS.build(kind[0], num_features=FEATURES, num_labels=labels, **needed, **kind[1])
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


def test_the_tokens_of_a_transformer_do_as_the_map_of_a_cnn(kind: tuple[str, dict[str, Any]]) -> None:
    head = build(kind).eval()
    tokens_BTD = maps().flatten(2).transpose(1, 2).contiguous()
    as_grid = tokens_BTD.transpose(1, 2).unflatten(2, (3, 4))
    torch.testing.assert_close(head(Features(as_grid)), head(Features(maps())))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (14, 14)])
def test_a_map_of_any_size_will_do(kind: tuple[str, dict[str, Any]], size: tuple[int, int]) -> None:
    assert build(kind).eval()(Features(torch.rand(2, FEATURES, *size))).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_learns(kind: tuple[str, dict[str, Any]], dtype: torch.dtype) -> None:
    expected = build(kind).eval()(Features(maps()))
    head = build(kind).eval().to(dtype)
    logits = head(Features(maps().to(dtype)))
    assert logits.dtype == dtype
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.05)
    logits.float().square().mean().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_mixed_precision_is_close_and_learns(kind: tuple[str, dict[str, Any]]) -> None:
    head = build(kind).eval()
    expected = head(Features(maps()))
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(Features(maps().bfloat16()))
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.05)
    logits.float().square().mean().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", [name for name in sorted(VARIANTS) if head_needs(name)])
def test_what_a_head_was_given_comes_back_from_its_state(name: str) -> None:
    found = HEADS.get(name).supplies_of(build((name, VARIANTS[name][0])).state_dict())  # type: ignore[attr-defined]
    for need in head_needs(name):
        assert torch.equal(found[need].to_dense(), supplies(4)[need].to_dense())


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


def test_the_head_compiles_without_a_break(kind: tuple[str, dict[str, Any]]) -> None:
    torch.compiler.reset()
    model = OnMaps(build(kind).eval())
    # aot_eager traces forward and backward as the default does, without the minutes of its C++ compiler.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    logits = compiled(maps())
    logits.sum().backward()
    torch.testing.assert_close(logits, model(maps()))


def test_an_unknown_setting_is_refused_with_the_nearest(kind: tuple[str, dict[str, Any]]) -> None:
    first = next(iter(kind[1]))
    with pytest.raises(SettingError, match=f"'{first}s' is not known; did you mean {first}"):
        build((kind[0], {f"{first}s": 1}))
