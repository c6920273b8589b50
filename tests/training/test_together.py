from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cotag.data.sampling import Balance
from cotag.evaluation.metrics import average_precisions
from cotag.models.heads.csra import ResidualAttentionHead
from cotag.models.heads.gcn import GraphHead
from cotag.models.heads.linear import LinearHead
from cotag.registry import LOSSES, OPTIMIZERS, SAMPLERS
from cotag.training import head_fit, together
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureSet
from cotag.training.head_fit import Chosen, HeadLoop, Part, descend_head
from cotag.training.label_counts import LabelCounts
from cotag.training.loop_settings import LoopSettings
from cotag.training.schedules import constant, cosine
from cotag.training.together import Fit, fit_together, together_key
from cotag.types.progress import Silent

WIDTH, LABELS, SIZE = 12, 4, 5


def part(count: int, seed: int) -> Part:
    """Features that say something of the labels, a tenth of which is unknown."""
    random = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(size=(WIDTH, LABELS))
    features = random.normal(size=(count, WIDTH)).astype(np.float32)
    targets = (features @ truth + 2 * random.normal(size=(count, LABELS)) > 1).astype(np.int8)
    targets[random.random(targets.shape) < 0.1] = -1
    return Part(FeatureSet(features, 1000 * seed + np.arange(count), {}, 0), targets)


def judge(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    losses = np.logaddexp(0, logits) - logits * (targets == 1)
    return {
        "val_mAP": float(np.nanmean(average_precisions(logits, targets))),
        "val_loss": float(losses[targets >= 0].mean()),
    }


def criteria(loss: str, l1: float = 0.0, **args: Any) -> Callable[[nn.Module, LabelCounts], Criterion]:
    """Makes the losses of a head, with the counts that a loss needs."""

    def make(model: nn.Module, counts: LabelCounts) -> Criterion:
        known = {"counts_K": counts.present_K, "known_K": counts.known_K, "infrequent_K": counts.present_K < 20}
        needed = {name: known[name] for name in getattr(LOSSES.get(loss), "needs", ())}
        return Criterion(LOSSES.build(loss, **args, **needed), l1, model.parameters())

    return make


def loop(
    seed: int = 0, rate: float = 0.02, epochs: int = 5, optimizer: str = "adamw", loss: str = "bce", l1: float = 0.0,
    loss_args: dict[str, Any] | None = None, **settings: Any,
) -> HeadLoop:  # fmt: skip
    def make(groups: Any) -> torch.optim.Optimizer:
        found: torch.optim.Optimizer = OPTIMIZERS.build(optimizer, groups)
        return found

    given = LoopSettings(epochs, **{"warmup_epochs": 1.0, **settings})
    return HeadLoop(given, make, criteria(loss, l1, **(loss_args or {})), cosine(), 16, rate, seed)


def linear(seed: int) -> LinearHead:
    torch.manual_seed(seed)
    return LinearHead(WIDTH, LABELS)


def gcn(seed: int, widths: Sequence[int] = (7,), learn_vectors: bool = False) -> GraphHead:
    torch.manual_seed(seed)
    graph = torch.rand(LABELS, LABELS) * (torch.rand(LABELS, LABELS) < 0.6) + torch.eye(LABELS)
    vectors = torch.randn(LABELS, SIZE)
    return GraphHead(WIDTH, LABELS, graph.to_sparse(), vectors, widths, pooling="avg", learn_vectors=learn_vectors)


SAME, OTHER = (part(60, 1), part(40, 2)), (part(63, 3), part(37, 4))


def fits(
    make: Any, refit: bool = True, parts: Sequence[Any] = (SAME, SAME, OTHER, OTHER), decay: Any = None, **settings: Any
) -> list[Fit]:
    """Fits that differ in seed, learning rate, weight decay and images."""
    return [
        Fit(
            make(seed), *pair, 0.01 * seed if decay is None else decay,
            loop(seed % 3, 0.02 * (1 + seed), **settings), refit,
        )
        for seed, pair in enumerate(parts)
    ]  # fmt: skip


def assert_as_alone(given: Sequence[Fit]) -> list[Chosen]:
    alone = [copy.deepcopy(fit) for fit in given]
    assert len({together_key(fit) for fit in given}) == 1
    found = fit_together(given, judge, Silent())
    for fit, own, chosen in zip(given, alone, found, strict=True):
        assert isinstance(chosen, Chosen), chosen
        expected = descend_head(own.head, own.train, own.choose, own.weight_decay, judge, own.how, own.refit, Silent())
        assert chosen.weight_decay == expected.weight_decay
        assert chosen.rows.tolist() == expected.rows.tolist()
        np.testing.assert_allclose(chosen.logits_MK, expected.logits_MK, atol=1e-4)
        for mine, theirs in zip(chosen.history, expected.history, strict=True):
            assert mine == pytest.approx({k: v for k, v in theirs.items() if not k.startswith("seconds")}, abs=1e-4)
        for key, value in own.head.state_dict().items():
            np.testing.assert_allclose(fit.head.state_dict()[key], value, atol=1e-4, err_msg=key)
    return [chosen for chosen in found if isinstance(chosen, Chosen)]


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("make", [linear, gcn])
def test_each_ends_as_it_would_alone(make: Any, optimizer: str, refit: bool) -> None:
    found = assert_as_alone(fits(make, refit, optimizer=optimizer, clip_norm=0.05))
    best = [max(range(6), key=lambda epoch: chosen.history[epoch]["val_mAP"]) for chosen in found]
    assert len(set(best)) > 1


LOSS_ARGS: dict[str, dict[str, Any]] = {
    # Counts, and so weights, differ from fit to fit.
    "bce": {"positive_weight": "balanced", "infrequent_weight": 1.2},
    "expected_positives": {"labels_per_image": 1.5},
    "large_loss": {"rate": 0.1},
}


@pytest.mark.parametrize("loss", LOSSES.table)
def test_each_ends_as_it_would_alone_with_any_loss(loss: str) -> None:
    assert_as_alone(fits(linear, refit=False, loss=loss, loss_args=LOSS_ARGS.get(loss, {})))


@pytest.mark.parametrize(
    "settings", [{"l1": 0.01}, {"ema": 0.9}, {"patience": 1}, {"choose_by": "loss"}, {"decay": "auto"}]
)
def test_each_ends_as_it_would_alone_with_other_settings(settings: dict[str, Any]) -> None:
    assert_as_alone(fits(linear, **settings))


@pytest.mark.parametrize("learn_vectors", [False, True])
@pytest.mark.parametrize("widths", [(), (7,), (3, 9)])
def test_graph_heads_of_any_depth(widths: tuple[int, ...], learn_vectors: bool) -> None:
    assert_as_alone(fits(lambda seed: gcn(seed, widths, learn_vectors)))


def test_the_same_images_and_order_for_all() -> None:
    one = [replace(fit, how=replace(fit.how, seed=0, schedule=constant())) for fit in fits(gcn, parts=[SAME] * 3)]
    assert_as_alone(one)


def test_views_are_taken_in_turn_as_alone() -> None:
    def viewed(data: Part, seed: int) -> Part:
        features, random = data.features.features, np.random.default_rng(seed)
        more = tuple(features + random.normal(size=features.shape).astype(np.float32) for _ in range(2))
        return replace(data, features=replace(data.features, more_views=more))

    first, second = (tuple(viewed(data, 7) for data in pair) for pair in (SAME, OTHER))
    found = assert_as_alone(fits(linear, parts=[first, first, second]))
    plain = fit_together(fits(linear, parts=[SAME]), judge, Silent())[0]
    assert isinstance(plain, Chosen)
    assert np.abs(found[0].logits_MK - plain.logits_MK).max() > 0.01


def test_sampled_images_in_the_order_that_each_has_alone() -> None:
    infrequent = np.array([True, False, False, False])
    one = Balance("over", SAMPLERS.build("over", times=2.0), infrequent, "same")
    other = Balance("class_aware", SAMPLERS.build("class_aware"), infrequent, "same")
    # With one seed for all, nothing but the sampler tells the orders of the same images apart.
    alike = [replace(fit, how=replace(fit.how, seed=0)) for fit in fits(linear)]
    given = [
        replace(copy.deepcopy(fit), how=replace(fit.how, balance=balance))
        for fit, balance in zip(alike, (one, None, other, one), strict=True)
    ]
    given = [replace(fit, train=own.train, choose=own.choose) for fit, own in zip(given, alike, strict=True)]
    plain = fit_together(alike, judge, Silent())
    sampled = assert_as_alone(given)
    for balance, before, after in zip((one, None, other, one), plain, sampled, strict=True):
        assert isinstance(before, Chosen)
        assert np.allclose(before.logits_MK, after.logits_MK, atol=1e-4) == (balance is None)


def test_longer_epochs_are_fitted_with_their_like_and_end_as_alone() -> None:
    balance = Balance("over", SAMPLERS.build("over", times=3.0), np.array([True, False, False, False]))
    given = [replace(fit, how=replace(fit.how, balance=balance)) for fit in fits(linear, parts=[SAME] * 2)]
    assert together_key(given[0]) != together_key(fits(linear)[0])
    assert_as_alone(given)


def test_every_decay_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (head_fit, together):
        monkeypatch.setattr(module, "DECAYS", (0.0, 0.01, 100.0))
    given = fits(linear, decay="auto", parts=[SAME, OTHER])
    found = assert_as_alone(given)
    assert [len(chosen.history) for chosen in found] == [18, 18]


def test_one_that_fails_leaves_the_others() -> None:
    given = fits(linear, optimizer="sgd")
    given[1] = replace(given[1], how=replace(given[1].how, learning_rate=1e30))
    healthy = [copy.deepcopy(fit) for number, fit in enumerate(given) if number != 1]
    found = fit_together(given, judge, Silent())
    assert isinstance(found[1], together.NonFiniteLoss)
    assert "lower train.learning_rate" in str(found[1])
    expected = fit_together(healthy, judge, Silent())
    for chosen, other in zip([found[0], *found[2:]], expected, strict=True):
        assert isinstance(chosen, Chosen)
        assert isinstance(other, Chosen)
        np.testing.assert_allclose(chosen.logits_MK, other.logits_MK, atol=1e-4)


def test_what_cannot_be_fitted_together() -> None:
    def key(head: nn.Module, **settings: Any) -> Any:
        return together_key(Fit(head, *SAME, 0.0, loop(**settings), True))

    assert key(linear(0)) == key(linear(1)) is not None
    assert key(linear(0)) != key(linear(0), epochs=6)
    assert key(gcn(0)) == key(gcn(1))
    assert key(gcn(0)) != key(gcn(0, (8,)))
    assert key(gcn(0)) != key(gcn(0, learn_vectors=True))
    assert key(LinearHead(WIDTH, LABELS, dropout=0.1)) is None
    assert key(LinearHead(WIDTH, LABELS, norm="batch")) is None
    assert key(LinearHead(WIDTH, LABELS, "gem")) is None
    assert key(ResidualAttentionHead(WIDTH, LABELS)) is None
