"""The heads with attention, query and q2l, against second, slow versions of their equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.models.heads.decoder import GroupedLinear
from cotag.models.heads.q2l import Query2LabelHead, sine_positions
from cotag.models.heads.query import QueryHead

FEATURES, LABELS, HEADS = 6, 5, 2
SMALL: dict[str, Any] = {"width": 8, "attention_heads": HEADS, "feedforward": 12}
State = dict[str, np.ndarray]


def maps(images: int = 2) -> Tensor:
    return torch.randn((images, FEATURES, 2, 3), generator=torch.Generator().manual_seed(5)).double()


def state_of(head: torch.nn.Module) -> State:
    """The head's weights, all moved away from the zeros and ones that they start with."""
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return {name: value.double().numpy() for name, value in head.state_dict().items()}


# One image at a time; every vector on its own


def linear(state: State, name: str, vectors: list[np.ndarray]) -> list[np.ndarray]:
    return [state[f"{name}.weight"] @ vector + state[f"{name}.bias"] for vector in vectors]


def norm(state: State, name: str, vectors: list[np.ndarray]) -> list[np.ndarray]:
    scaled = [(vector - vector.mean()) / math.sqrt(vector.var() + 1e-5) for vector in vectors]
    return [vector * state[f"{name}.weight"] + state[f"{name}.bias"] for vector in scaled]


def attention(
    state: State,
    name: str,
    begin: list[np.ndarray],
    queries: list[np.ndarray],
    keys: list[np.ndarray],
    values: list[np.ndarray],
) -> list[np.ndarray]:
    weights = np.split(state[f"{name}.attention.in_proj_weight"], 3)
    biases = np.split(state[f"{name}.attention.in_proj_bias"], 3)
    queries, keys, values = (
        [weight @ vector + bias for vector in vectors]
        for weight, bias, vectors in zip(weights, biases, (queries, keys, values), strict=True)
    )
    size = len(queries[0]) // HEADS
    found = []
    for query in queries:
        joined = np.zeros_like(query)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            shares = np.array([math.exp(query[part] @ key[part] / math.sqrt(size)) for key in keys])
            joined[part] = sum(share * value[part] for share, value in zip(shares / shares.sum(), values, strict=True))
        found.append(joined)
    found = linear(state, f"{name}.attention.out_proj", found)
    return norm(state, f"{name}.norm", [start + vector for start, vector in zip(begin, found, strict=True)])


def feed_forward(state: State, name: str, vectors: list[np.ndarray]) -> list[np.ndarray]:
    hidden = [np.maximum(vector, 0) for vector in linear(state, f"{name}.widen", vectors)]
    added = linear(state, f"{name}.narrow", hidden)
    return norm(state, f"{name}.norm", [vector + more for vector, more in zip(vectors, added, strict=True)])


def grouped(state: State, states: list[np.ndarray]) -> list[float]:
    weights, biases = state["classifier.weight_GDF"], state["classifier.bias_K"]
    share = weights.shape[2]
    return [
        float(states[k // share] @ weights[k // share, :, k % share]) + float(biases[k]) for k in range(len(biases))
    ]


def places_of(image_DHW: np.ndarray) -> list[np.ndarray]:
    return [image_DHW[:, y, x] for y in range(image_DHW.shape[1]) for x in range(image_DHW.shape[2])]


def slow_query(state: State, image_DHW: np.ndarray) -> list[float]:
    places = [np.maximum(vector, 0) for vector in linear(state, "embed", places_of(image_DHW))]
    states = norm(state, "start_norm", [2 * query for query in state["queries_GD"]])
    states = attention(state, "attention", states, states, places, places)
    return grouped(state, feed_forward(state, "feed_forward", states))


def slow_positions(height: int, width: int, channels: int) -> list[np.ndarray]:
    half = channels // 2
    found = []
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            place = np.zeros(channels)
            for start, angle in ((0, 2 * math.pi * y / height), (half, 2 * math.pi * x / width)):
                for i in range(half // 2):
                    turned = angle / 10000 ** (2 * i / half)
                    place[start + 2 * i : start + 2 * i + 2] = math.sin(turned), math.cos(turned)
            found.append(place)
    return found


def slow_q2l(state: State, image_DHW: np.ndarray, decoders: int, encoders: int) -> list[float]:
    def sums(first: list[np.ndarray], second: Any) -> list[np.ndarray]:
        return [a + b for a, b in zip(first, second, strict=True)]

    labels = state["labels_KD"]
    positions = slow_positions(*image_DHW.shape[1:], labels.shape[1])
    places = linear(state, "project", places_of(image_DHW))
    for n in range(encoders):
        located = sums(places, positions)
        places = attention(state, f"encoder.{n}.attention", places, located, located, places)
        places = feed_forward(state, f"encoder.{n}.feed_forward", places)
    states = [np.zeros_like(label) for label in labels]
    for n in range(decoders):
        if n:
            named = sums(states, labels)
            states = attention(state, f"decoder.{n}.among_labels", states, named, named, states)
        located = sums(places, positions)
        states = attention(state, f"decoder.{n}.attention", states, sums(states, labels), located, places)
        states = feed_forward(state, f"decoder.{n}.feed_forward", states)
    return grouped(state, states)


@pytest.mark.parametrize("groups", [None, 1, 2, 5])
def test_query_logits_are_those_of_the_equations(groups: int | None) -> None:
    torch.manual_seed(0)
    head = QueryHead(FEATURES, LABELS, **SMALL, groups=groups).double().eval()
    state = state_of(head)
    expected = [slow_query(state, image) for image in maps().numpy()]
    np.testing.assert_allclose(head(Features(maps())).detach().numpy(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("decoders", "encoders"), [(1, 0), (2, 0), (3, 2)])
def test_q2l_logits_are_those_of_the_equations(decoders: int, encoders: int) -> None:
    torch.manual_seed(0)
    head = Query2LabelHead(FEATURES, LABELS, **SMALL, decoder_layers=decoders, encoder_layers=encoders)
    head = head.double().eval()
    state = state_of(head)
    expected = [slow_q2l(state, image, decoders, encoders) for image in maps().numpy()]
    # The positions are made in single precision.
    np.testing.assert_allclose(head(Features(maps())).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_positions_are_those_of_the_equations_at_any_size() -> None:
    for height, width in ((1, 1), (3, 5), (14, 14)):
        expected = slow_positions(height, width, 8)
        np.testing.assert_allclose(sine_positions(height, width, 8).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("labels", "groups", "left"), [(10, 3, 3), (150, 100, 75), (10_000, 100, 100), (1, 1, 1)])
def test_every_group_has_a_label_and_every_label_a_group(labels: int, groups: int, left: int) -> None:
    layer = GroupedLinear(groups, 4, labels)
    assert layer.groups == left
    states = torch.randn((1, left, 4), requires_grad=True)
    layer(states).sum().backward()
    assert states.grad is not None
    assert (states.grad != 0).any(2).all()


def test_query_has_one_query_for_each_label_up_to_100_and_10_000_labels_stay_cheap() -> None:
    assert QueryHead(FEATURES, 80, **SMALL).queries_GD.shape[0] == 80
    head = QueryHead(FEATURES, 10_000, **SMALL)
    assert head.queries_GD.shape[0] == 100
    assert head(Features(maps().float())).shape == (2, 10_000)


def test_queries_are_trained_only_where_wanted() -> None:
    for learned in (True, False):
        head = QueryHead(FEATURES, LABELS, **SMALL, learn_queries=learned)
        assert ("queries_GD" in dict(head.named_parameters())) == learned
        assert "queries_GD" in head.state_dict()


@pytest.mark.parametrize("made", [QueryHead, Query2LabelHead])
def test_training_can_begin_at_the_base_rate(made: type[QueryHead] | type[Query2LabelHead]) -> None:
    head = made(FEATURES, 3, **SMALL)
    head.start_from(torch.tensor([0.5, 0.1, 0.0]))
    torch.testing.assert_close(head.classifier.bias_K.sigmoid(), torch.tensor([0.5, 0.1, 1e-4]))


@pytest.mark.parametrize(
    ("made", "settings", "said"),
    [
        (QueryHead, {"width": 10, "attention_heads": 3}, "width = 10: must be a multiple of attention_heads = 3"),
        (QueryHead, {"groups": 6}, "groups = 6: must be from 1 to 5"),
        (QueryHead, {"dropout": 1.0}, "dropout = 1.0: must be"),
        (QueryHead, {"feedforward": 0}, "feedforward = 0: must be"),
        (Query2LabelHead, {"width": 6, "attention_heads": 2}, "width = 6: must be a multiple of 4"),
        (Query2LabelHead, {"decoder_layers": 0}, "decoder_layers = 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    made: type[QueryHead] | type[Query2LabelHead], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        made(FEATURES, LABELS, **settings)
