"""The graph head against a second, slow version of its equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.models.heads.gcn import GraphHead

LABELS, VECTOR, FEATURES = 5, 4, 6


def adjacency(labels: int = LABELS, share: float = 0.4) -> Tensor:
    """A random matrix that is not symmetric, with an empty row where there are several labels."""
    random = torch.Generator().manual_seed(3)
    dense = torch.rand((labels, labels), generator=random)
    dense *= (torch.rand((labels, labels), generator=random) < share) | torch.eye(labels, dtype=torch.bool)
    if labels > 1:
        dense[1] = 0
    return dense.to_sparse_coo()


def head_of(graph: Tensor | None = None, seed: int = 0, **settings: Any) -> GraphHead:
    torch.manual_seed(seed)
    graph = adjacency() if graph is None else graph
    vectors = torch.randn((len(graph), VECTOR), generator=torch.Generator().manual_seed(4))
    return GraphHead(FEATURES, len(graph), graph, vectors, **{"widths": (7,), **settings})


def maps(images: int = 3) -> Tensor:
    return torch.randn((images, FEATURES, 3, 4), generator=torch.Generator().manual_seed(5))


def slow(
    head: GraphHead, graph: np.ndarray, map_BDHW: np.ndarray, grad_BK: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Logits, and the gradients of the layers' weights and of the vectors, by the chain rule; all float64."""
    weights = [weight.detach().double().numpy() for weight in head.weights]
    pooled_BD = map_BDHW.reshape(*map_BDHW.shape[:2], -1)
    pooled_BD = pooled_BD.max(2) if head.pooling == "max" else pooled_BD.mean(2)
    inputs, sums = [head.vectors_KE.detach().double().numpy()], []
    for number, weight in enumerate(weights):
        sums.append(graph @ (inputs[-1] @ weight))
        last = number == len(weights) - 1
        inputs.append(sums[-1] if last else np.where(sums[-1] > 0, sums[-1], head.slope * sums[-1]))
    grad = grad_BK.T @ pooled_BD
    grads: list[np.ndarray] = []
    for number in reversed(range(len(weights))):
        if number < len(weights) - 1:
            grad = grad * np.where(sums[number] > 0, 1.0, head.slope)
        passed = graph.T @ grad
        grads.insert(0, inputs[number].T @ passed)
        grad = passed @ weights[number].T
    return pooled_BD @ inputs[-1].T, grads, grad


@pytest.mark.parametrize(
    "settings", [{}, {"pooling": "avg", "slope": 0.1}, {"widths": (7, 3, 8)}, {"widths": ()}], ids=str
)
def test_logits_and_gradients_are_those_of_the_equations(settings: dict[str, Any]) -> None:
    head = head_of(learn_vectors=True, **settings).double()
    graph = adjacency().to_dense().double()
    grad_BK = torch.randn((3, LABELS), generator=torch.Generator().manual_seed(6)).double()
    logits, grads, vectors_grad = slow(head, graph.numpy(), maps().double().numpy(), grad_BK.numpy())
    found = head(Features(maps().double()))
    found.backward(grad_BK)
    np.testing.assert_allclose(found.detach().numpy(), logits, rtol=1e-10, atol=1e-12)
    for weight, grad in zip(head.weights, grads, strict=True):
        np.testing.assert_allclose(weight.grad, grad, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(head.vectors_KE.grad, vectors_grad, rtol=1e-10, atol=1e-12)


def test_single_precision_is_within_a_millionth_of_the_equations() -> None:
    head = head_of()
    logits, _, _ = slow(head, adjacency().to_dense().double().numpy(), maps().double().numpy(), np.ones((3, LABELS)))
    np.testing.assert_allclose(head(Features(maps())).detach().numpy(), logits, rtol=1e-6, atol=1e-6)


def test_the_graph_has_a_direction() -> None:
    straight, turned = head_of(), head_of(adjacency().t().coalesce())
    assert not torch.allclose(straight(Features(maps())), turned(Features(maps())))


def test_a_label_without_edges_gets_logit_0_and_a_graph_without_edges_does_no_harm() -> None:
    assert torch.equal(head_of()(Features(maps()))[:, 1], torch.zeros(3))
    bare = head_of(torch.zeros((LABELS, LABELS)).to_sparse_coo(), learn_vectors=True)
    logits = bare(Features(maps()))
    logits.sum().backward()
    assert torch.equal(logits, torch.zeros_like(logits))


def test_weights_start_within_one_over_the_root_of_the_width() -> None:
    head = head_of(widths=(400,))
    assert [tuple(weight.shape) for weight in head.weights] == [(VECTOR, 400), (400, FEATURES)]
    for weight in head.weights:
        bound = weight.shape[1] ** -0.5
        assert 0.95 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("labels", [1, 40])
def test_the_folded_head_gives_the_same_logits(pooling: str, labels: int) -> None:
    head = head_of(adjacency(labels), pooling=pooling)
    folded = head.fold()
    assert folded.reads == head.reads
    torch.testing.assert_close(folded(Features(maps())), head(Features(maps())), rtol=1e-5, atol=1e-5)
    assert head.double().fold().classifier.weight.dtype == torch.float64


def test_what_the_head_was_made_with_comes_back_from_its_state() -> None:
    head = head_of(learn_vectors=True)
    state = head.state_dict()
    supplies = GraphHead.supplies_of(state)
    assert torch.equal(supplies["graph"].to_dense(), adjacency().to_dense())
    other = GraphHead(FEATURES, LABELS, **supplies, widths=(7,), learn_vectors=True)
    other.load_state_dict(state)
    assert torch.equal(other(Features(maps())), head(Features(maps())))


def test_ten_thousand_labels_are_small() -> None:
    sources = torch.arange(10_000).repeat(2)
    edges = torch.stack([torch.arange(10_000).repeat(2), torch.cat([sources[:10_000], sources[:10_000].roll(1)])])
    graph = torch.sparse_coo_tensor(edges, torch.full((20_000,), 0.5), (10_000, 10_000), check_invariants=True)
    head = head_of(graph)
    assert head(Features(maps())).shape == (3, 10_000)
    assert sum(value.nbytes for value in head.state_dict().values()) < 2_000_000


def test_vectors_stay_as_they_are_unless_they_are_learned() -> None:
    assert "vectors_KE" not in dict(head_of().named_parameters())
    assert "vectors_KE" in dict(head_of(learn_vectors=True).named_parameters())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"graph": torch.eye(4).to_sparse_coo()}, r"the graph has shape \(4, 4\), with 5 labels"),
        ({"vectors": torch.zeros(4, 3)}, r"the vectors have shape \(4, 3\), with 5 labels"),
        ({"widths": (8, 0)}, r"widths = \[8, 0\]: must be"),
        ({"pooling": "gem"}, "pooling 'gem' is not known"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], said: str) -> None:
    given = {"graph": adjacency(), "vectors": torch.zeros(LABELS, VECTOR), **changed}
    with pytest.raises(SettingError, match=said):
        GraphHead(FEATURES, LABELS, **given)
