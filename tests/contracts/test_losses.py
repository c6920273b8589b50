"""What every registered loss must do: a new one needs a line in SAMPLES and a slow version."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.registry import LOSSES
from cotag.training.criterion import Criterion, reduced, reduction_of, takes_unknown
from cotag.types.batch import Batch, Output

Settings = dict[str, Any]
LABELS = 5
Table = np.ndarray


# Every loss once more, slowly: loops over images and labels as in the papers, in double precision. Each takes logits,
# targets (an unknown one is 0) and what is known, and gives the number that training sums.

# Of the images that train, for five labels.
COUNTS: dict[str, Any] = {
    "counts_K": np.array([50, 9, 1, 0, 20]),
    "known_K": np.array([100, 90, 60, 40, 20]),
    "infrequent_K": np.array([False, True, True, True, False]),
}


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def cross_entropy(logit: float, target: float) -> float:
    probability = sigmoid(logit)
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


def places(known: Table) -> list[tuple[int, int]]:
    return [(b, k) for b in range(known.shape[0]) for k in range(known.shape[1])]


def mean_over_known(entry: Callable[[float, int, int], float], logits: Table, targets: Table, known: Table) -> float:
    """The mean of entry(logit, target, label) over what is known."""
    found = [entry(logits[b, k], targets[b, k], k) for b, k in places(known) if known[b, k]]
    return sum(found) / max(1, len(found))


def of_label(given: float | Sequence[float], label: int) -> float:
    return given if isinstance(given, int | float) else given[label]


def slow_bce(
    logits: Table, targets: Table, known: Table, weights: Any = 1.0, infrequent_weight: float = 1.0,
    positive_weight: Any = 1.0, smoothing: float = 0.0,
) -> float:  # fmt: skip
    def entry(logit: float, target: int, k: int) -> float:
        weight = of_label(weights, k)
        if COUNTS["infrequent_K"][k]:
            weight *= infrequent_weight
        if positive_weight == "balanced":
            present = COUNTS["counts_K"][k]
            positive = max(COUNTS["known_K"][k] - present, 1) / max(present, 1)
        else:
            positive = of_label(positive_weight, k)
        smooth = target * (1 - smoothing) + smoothing / 2
        probability = sigmoid(logit)
        return -weight * (positive * smooth * math.log(probability) + (1 - smooth) * math.log(1 - probability))

    return mean_over_known(entry, logits, targets, known)


def slow_asymmetric(
    logits: Table, targets: Table, known: Table, gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05
) -> float:
    def entry(logit: float, target: int, k: int) -> float:
        probability = sigmoid(logit)
        if target:
            return -((1 - probability) ** gamma_pos) * math.log(probability)
        shifted = max(probability - clip, 0)
        return -(shifted**gamma_neg) * math.log(1 - shifted)

    return mean_over_known(entry, logits, targets, known)


def focal_entry(logit: float, target: int, gamma: float) -> float:
    so = sigmoid(logit) if target else 1 - sigmoid(logit)
    return -((1 - so) ** gamma) * math.log(so)


def slow_focal(logits: Table, targets: Table, known: Table, gamma: float = 2.0, alpha: float | None = None) -> float:
    def entry(logit: float, target: int, k: int) -> float:
        balance = 1.0 if alpha is None else alpha if target else 1 - alpha
        return balance * focal_entry(logit, target, gamma)

    return mean_over_known(entry, logits, targets, known)


def slow_class_balanced(logits: Table, targets: Table, known: Table, beta: float = 0.999, gamma: float = 0.0) -> float:
    inverse = []
    for count in COUNTS["counts_K"]:
        effective = sum(beta**power for power in range(max(1, count)))
        inverse.append(1 / effective)
    weights = [value * len(inverse) / sum(inverse) for value in inverse]
    return mean_over_known(lambda z, y, k: weights[k] * focal_entry(z, y, gamma), logits, targets, known)


def slow_distribution_balanced(
    logits: Table, targets: Table, known: Table, alpha: float = 0.1, beta: float = 10.0, mu: float = 0.2,
    kappa: float = 0.05, negative_scale: float = 2.0,
) -> float:  # fmt: skip
    labels, total, counted = known.shape[1], 0.0, 0
    counts = [max(int(count), 1) for count in COUNTS["counts_K"]]
    for b, k in places(known):
        if not known[b, k]:
            continue
        by_label = 1 / labels * 1 / counts[k]
        by_image = 1 / labels * sum(1 / counts[j] for j in range(labels) if targets[b, j])
        if by_image:
            weight = alpha + sigmoid(beta * (by_label / by_image - mu))
        else:
            weight = alpha + (1.0 if beta else 0.5)
        images = int(COUNTS["known_K"][k])
        share = min(max(int(COUNTS["counts_K"][k]) / images, 1 / (images + 1)), images / (images + 1))
        shifted = logits[b, k] - kappa * math.log(1 / share - 1)
        if targets[b, k]:
            total += weight * math.log(1 + math.exp(-shifted))
        else:
            total += weight * math.log(1 + math.exp(negative_scale * shifted)) / negative_scale
        counted += 1
    return total / max(1, counted)


def slow_zlpr(logits: Table, targets: Table, known: Table) -> float:
    found = []
    for b in range(len(logits)):
        if not known[b].any():
            continue
        present, absent = 0.0, 0.0
        for k in range(logits.shape[1]):
            if known[b, k] and targets[b, k]:
                present += math.exp(-logits[b, k])
            elif known[b, k]:
                absent += math.exp(logits[b, k])
        found.append(math.log(1 + present) + math.log(1 + absent))
    return sum(found) / max(1, len(found))


def slow_two_way(
    logits: Table, targets: Table, known: Table, positive_temperature: float = 4.0, negative_temperature: float = 1.0
) -> float:
    def over_rows(logits: Table, targets: Table, known: Table) -> float:
        total, counted = 0.0, 0
        for b in range(len(logits)):
            present = [z for z, y, sure in zip(logits[b], targets[b], known[b], strict=True) if sure and y]
            absent = [z for z, y, sure in zip(logits[b], targets[b], known[b], strict=True) if sure and not y]
            counted += bool(present)
            if present and absent:
                low = positive_temperature * math.log(sum(math.exp(-z / positive_temperature) for z in present))
                high = negative_temperature * math.log(sum(math.exp(z / negative_temperature) for z in absent))
                total += math.log(1 + math.exp(low + high))
        return total / max(1, counted)

    return over_rows(logits, targets, known) + over_rows(logits.T, targets.T, known.T)


def slow_soft_margin(logits: Table, targets: Table, known: Table) -> float:
    rows = []
    for b in range(len(logits)):
        found = [cross_entropy(logits[b, k], targets[b, k]) for k in range(logits.shape[1]) if known[b, k]]
        if found:
            rows.append(sum(found) / len(found))
    return sum(rows) / max(1, len(rows))


def slow_assume_negative(
    logits: Table, targets: Table, known: Table, weight: Any = 1.0, smoothing: float = 0.0
) -> float:
    total = 0.0
    for b, k in places(known):
        unknown = 1 / (logits.shape[1] - 1) if weight == "weak" else weight
        smooth = targets[b, k] * (1 - smoothing) + smoothing / 2
        total += (1.0 if known[b, k] else unknown) * cross_entropy(logits[b, k], smooth)
    return total / logits.size


def slow_large_loss(
    logits: Table, targets: Table, known: Table, rate: float = 0.002, kind: str = "reject", epoch: int = 1
) -> float:
    unknown = sorted((cross_entropy(logits[b, k], 0) for b, k in places(known) if not known[b, k]), reverse=True)
    large = math.ceil(round(len(unknown) * min(1, (epoch - 1) * rate), 6))
    threshold = unknown[large - 1] if large else math.inf
    total = 0.0
    for b, k in places(known):
        loss = cross_entropy(logits[b, k], targets[b, k])
        if not known[b, k] and loss >= threshold:
            loss = cross_entropy(logits[b, k], 1) if kind == "correct" else 0.0
        total += loss
    return total / logits.size


def slow_hill(
    logits: Table, targets: Table, known: Table, height: float = 1.5, margin: float = 1.0, gamma: float = 2.0,
    unknown: str = "absent",
) -> float:  # fmt: skip
    def entry(logit: float, target: int, k: int) -> float:
        probability, shifted = sigmoid(logit), sigmoid(logit - margin)
        if target:
            return -((1 - shifted) ** gamma) * math.log(shifted)
        return (height - probability) * probability**2

    return mean_over_known(entry, logits, targets, np.ones_like(known) if unknown == "absent" else known)


def slow_expected_positives(
    logits: Table, targets: Table, known: Table, labels_per_image: float, strength: float = 1.0
) -> float:
    given = sum(sigmoid(logits[b, k]) for b, k in places(known)) / len(logits)
    off = (given - labels_per_image) / logits.shape[1]
    return slow_bce(logits, targets, known) + strength * off**2


@dataclass(frozen=True)
class Sample:
    """A loss, once more and slowly, and its settings.

    Attributes:
        slow: the number of a batch.
        cases: settings besides the first, which is what the other tests take; ``epoch`` is the one that it is told.
        neutral: settings at which it is plain binary cross-entropy where all is known; None where there are none.
        exact: whether it keeps no weights in single precision.
    """

    slow: Callable[..., float]
    cases: tuple[Settings, ...] = ({},)
    neutral: Settings | None = None
    exact: bool = True

    @property
    def first(self) -> Settings:
        return self.cases[0]


ASYMMETRIC = [(0.0, 4.0, 0.05), (1.0, 2.0, 0.0), (0.5, 0.5, 0.2), (2.0, 0.0, 0.3), (0.0, 0.0, 0.05)]
SAMPLES = {
    "bce": Sample(
        slow_bce,
        (
            {},
            {"weights": [1, 2, 0.5, 0, 3], "positive_weight": 4},
            {"infrequent_weight": 1.2, "positive_weight": "balanced", "smoothing": 0.1},
            {"weights": 2.0, "positive_weight": [1, 2, 0.5, 0, 3]},
        ),
        {},
        exact=False,
    ),
    "asymmetric": Sample(
        slow_asymmetric,
        tuple({"gamma_pos": plus, "gamma_neg": minus, "clip": clip} for plus, minus, clip in ASYMMETRIC),
        {"gamma_pos": 0, "gamma_neg": 0, "clip": 0},
    ),
    "focal": Sample(slow_focal, ({}, {"gamma": 0.5, "alpha": 0.25}, {"gamma": 0, "alpha": 0.9}), {"gamma": 0}),
    "class_balanced": Sample(
        slow_class_balanced, ({}, {"beta": 0.9, "gamma": 1.5}), {"beta": 0, "gamma": 0}, exact=False
    ),
    "distribution_balanced": Sample(
        slow_distribution_balanced,
        ({}, {"alpha": 0, "beta": 3, "mu": 0.5, "kappa": 0.3, "negative_scale": 5}, {"beta": 0, "kappa": 0}),
        {"alpha": 0.5, "beta": 0, "kappa": 0, "negative_scale": 1},
        exact=False,
    ),
    "zlpr": Sample(slow_zlpr),
    "two_way": Sample(slow_two_way, ({}, {"positive_temperature": 1, "negative_temperature": 0.5})),
    "soft_margin": Sample(slow_soft_margin, neutral={}),
    "assume_negative": Sample(
        slow_assume_negative, ({}, {"weight": "weak"}, {"weight": 0.3, "smoothing": 0.2}, {"weight": 0}), {}
    ),
    "large_loss": Sample(
        slow_large_loss,
        (
            {},
            {"epoch": 11, "rate": 0.02},
            {"epoch": 11, "rate": 0.02, "kind": "correct"},
            {"epoch": 4, "rate": 0.5},
        ),
        {},
    ),
    "hill": Sample(slow_hill, ({}, {"height": 2, "margin": 0.5, "gamma": 0}, {"unknown": "left_out"})),
    "expected_positives": Sample(
        slow_expected_positives,
        ({"labels_per_image": 2.5}, {"labels_per_image": 1, "strength": 30}),
        {"labels_per_image": 2, "strength": 0},
    ),
}
CASES = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, sample in SAMPLES.items()
    for number, case in enumerate(sample.cases)
]


def build(name: str, settings: Settings, labels: int = LABELS) -> nn.Module:
    """A loss with what it needs, told of the epoch that stands in the settings."""
    needs = {need: COUNTS[need][:labels] for need in getattr(LOSSES.get(name), "needs", ())}
    loss: nn.Module = LOSSES.build(name, **{k: v for k, v in settings.items() if k != "epoch"}, **needs)
    if "epoch" in settings:
        Criterion(loss).begin_epoch(settings["epoch"])
    return loss


@pytest.fixture(params=LOSSES.names())
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in SAMPLES, f"loss {request.param!r} has no sample here; add one"
    return str(request.param)


@pytest.fixture
def loss(name: str) -> nn.Module:
    return build(name, SAMPLES[name].first)


def entries(rows: int = 6, labels: int = LABELS) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(3)
    logits = torch.from_numpy(random.normal(0, 3, (rows, labels))).float()
    return logits, torch.from_numpy(random.integers(0, 2, (rows, labels))).float()


def partly_known(shape: tuple[int, ...]) -> Tensor:
    """What is known: six of ten entries, nothing of one row and one column."""
    known = torch.from_numpy(np.random.default_rng(4).random(shape) < 0.6)
    known[2], known[:, 1] = False, False
    return known


def call(loss: nn.Module, logits: Tensor, targets: Tensor) -> Tensor:
    """What a loss gives back where all is known."""
    known = torch.ones_like(targets, dtype=torch.bool)
    with_known = takes_unknown(loss) or reduction_of(loss) != "entry"
    found: Tensor = loss(logits, targets, known) if with_known else loss(logits, targets)
    return found


def number(loss: nn.Module, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return reduced(loss, logits, targets, torch.ones_like(targets, dtype=torch.bool) if known is None else known)


def test_it_gives_back_what_it_declares(loss: nn.Module) -> None:
    logits, targets = entries()
    shape = {"entry": logits.shape, "row": logits.shape[:1], "batch": ()}[reduction_of(loss)]
    assert call(loss, logits, targets).shape == shape


@pytest.mark.parametrize("all_known", [True, False])
@pytest.mark.parametrize(("name", "case"), CASES)
def test_equals_a_slow_version(name: str, case: Settings, all_known: bool) -> None:
    logits, targets = (tensor.double() for tensor in entries())
    known = torch.ones_like(targets, dtype=torch.bool) if all_known else partly_known(targets.shape)
    targets = targets * known
    wanted = SAMPLES[name].slow(logits.numpy(), targets.numpy(), known.numpy(), **case)
    found = float(number(build(name, case), logits, targets, known))
    assert found == pytest.approx(wanted, rel=1e-10 if SAMPLES[name].exact else 1e-6)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_its_gradient_is_that_of_the_slow_version(name: str, case: Settings) -> None:
    logits, targets = (tensor.double() for tensor in entries())
    known = partly_known(targets.shape)
    targets = targets * known
    logits.requires_grad_(True)
    number(build(name, case), logits, targets, known).backward()
    assert logits.grad is not None
    for b, k in np.ndindex(*targets.shape):
        around = []
        for by in (1e-5, -1e-5):
            moved = logits.detach().numpy().copy()
            moved[b, k] += by
            around.append(SAMPLES[name].slow(moved, targets.numpy(), known.numpy(), **case))
        assert float(logits.grad[b, k]) == pytest.approx((around[0] - around[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_equals_cross_entropy_at_neutral_settings(name: str) -> None:
    neutral = SAMPLES[name].neutral
    if neutral is None:
        pytest.skip("this loss has no neutral settings")
    logits, targets = entries()
    wanted = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(number(build(name, neutral), logits, targets), wanted)


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
@pytest.mark.parametrize("size", [1.0, 30.0, 1000.0])
def test_values_and_gradients_are_finite_however_sure_the_logits(
    loss: nn.Module, size: float, kind: torch.dtype
) -> None:
    logits = torch.tensor([[size, -size, size, -size, 0.0]], dtype=kind, requires_grad=True)
    found = call(loss, logits, torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]]))
    found.sum().backward()
    assert found.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_it_pulls_each_known_entry_to_its_target(loss: nn.Module) -> None:
    logits, targets = entries()
    logits.requires_grad_(True)
    number(loss, logits, targets).backward()
    assert logits.grad is not None
    assert (logits.grad[targets == 1] <= 0).all()
    assert (logits.grad[targets == 1] < 0).any()
    assert (logits.grad[targets == 0] >= 0).all()
    assert (logits.grad[targets == 0] > 0).any()


def test_an_entry_of_its_own_depends_on_its_own_logit(loss: nn.Module) -> None:
    if reduction_of(loss) != "entry":
        pytest.skip("its entries belong together")
    logits, targets = entries()
    logits.requires_grad_(True)
    call(loss, logits, targets)[2, 3].backward()
    assert logits.grad is not None
    assert logits.grad.nonzero().tolist() in ([[2, 3]], [])


def test_unknown_entries_get_no_gradient_and_do_not_count(loss: nn.Module) -> None:
    if takes_unknown(loss):
        pytest.skip("it has a loss for what is unknown")
    logits, targets = entries()
    known = partly_known(targets.shape)
    logits = torch.where(known, logits, torch.tensor(torch.inf)).requires_grad_(True)
    batch = Batch(torch.empty(0), targets * known, known, torch.arange(len(targets)))
    value = Criterion(loss)(Output(logits), batch)["labels"]
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).any()
    # Nothing is known of one image and one label: without them the loss is the same.
    rows, labels = known.any(1), known.any(0)
    if reduction_of(loss) != "entry":
        part = (logits[rows][:, labels], targets[rows][:, labels], known[rows][:, labels])
        torch.testing.assert_close(value, number(loss, *part))


def test_a_loss_of_what_is_unknown_differs_from_leaving_it_out(loss: nn.Module) -> None:
    if not takes_unknown(loss):
        pytest.skip("it leaves out what is unknown")
    logits, targets = entries()
    known = partly_known(targets.shape)
    logits.requires_grad_(True)
    number(loss, logits, targets * known, known).backward()
    assert logits.grad is not None
    assert (logits.grad[~known] != 0).all()


def test_where_nothing_is_known_there_is_no_loss_and_no_gradient(loss: nn.Module) -> None:
    logits, targets = entries()
    logits.requires_grad_(True)
    value = number(loss, logits, torch.zeros_like(targets), torch.zeros_like(targets, dtype=torch.bool))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    if not takes_unknown(loss):
        assert value == 0
        assert (logits.grad == 0).all()


def test_the_order_of_the_batch_does_not_matter(loss: nn.Module) -> None:
    logits, targets = entries()
    known, order = partly_known(targets.shape), torch.tensor([4, 2, 0, 5, 1, 3])
    one, other = (
        (t, y * k, k) for t, y, k in ((logits, targets, known), (logits[order], targets[order], known[order]))
    )
    torch.testing.assert_close(number(loss, *other), number(loss, *one), rtol=1e-6, atol=0)
    found = call(loss, logits[order], targets[order])
    if reduction_of(loss) != "batch":
        assert torch.equal(found, call(loss, logits, targets)[order])


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_images_without_a_label_and_with_all(loss: nn.Module, value: float, rows: int) -> None:
    logits, targets = entries(rows)
    logits.requires_grad_(True)
    found = number(loss, logits, torch.full_like(targets, value))
    found.backward()
    assert found.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    if reduction_of(loss) == "entry":
        targets[0] = value
        torch.testing.assert_close(call(loss, logits, targets)[:1], call(loss, logits[:1], targets[:1]))


def test_one_label(name: str) -> None:
    loss = build(name, SAMPLES[name].first, 1)
    logits, targets = entries(labels=1)
    logits.requires_grad_(True)
    found = number(loss, logits, targets)
    found.backward()
    assert found.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision(loss: nn.Module, kind: torch.dtype) -> None:
    logits, targets = entries()
    logits = logits.to(kind)
    found = call(loss, logits, targets)
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), call(loss, logits.float(), targets), rtol=2e-2, atol=2e-2)


def test_what_it_is_told_of_the_images_is_in_its_buffers_alone(name: str) -> None:
    """Heads that are trained together share one loss where the buffers of theirs are equal."""
    needs = getattr(LOSSES.get(name), "needs", ())
    if not needs:
        pytest.skip("it is told nothing")
    logits, targets = entries()
    for case in SAMPLES[name].cases:
        one = build(name, case)
        other = LOSSES.build(name, **case, **{need: COUNTS[need][::-1].copy() for need in needs})
        if all(torch.equal(*pair) for pair in zip(one.buffers(), other.buffers(), strict=True)):
            assert torch.equal(call(one, logits, targets), call(other, logits, targets))
        assert not one.state_dict()


def test_zlpr_of_one_label_is_cross_entropy() -> None:
    logits, targets = entries(labels=1)
    wanted = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(number(build("zlpr", {}), logits, targets), wanted)


def test_soft_margin_is_that_of_torch() -> None:
    logits, targets = entries()
    wanted = nn.functional.multilabel_soft_margin_loss(logits, targets)
    torch.testing.assert_close(number(build("soft_margin", {}), logits, targets), wanted)


def test_the_share_of_large_losses_grows_from_epoch_to_epoch() -> None:
    logits, targets = entries(20)
    known = partly_known(targets.shape)
    unknown, left_out = int((~known).sum()), []
    for epoch in (1, 2, 6, 200):
        given = logits.clone().requires_grad_(True)
        number(build("large_loss", {"rate": 0.05, "epoch": epoch}), given, targets * known, known).backward()
        assert given.grad is not None
        left_out.append(int((given.grad[~known] == 0).sum()))
        assert (given.grad[known] != 0).all()
        kept = logits[~known][given.grad[~known] != 0]
        assert not left_out[-1] or not len(kept) or kept.max() < logits[~known][given.grad[~known] == 0].min()
    assert left_out == [0, -(-unknown // 20), -(-unknown // 4), unknown]


REFUSED: list[tuple[str, Settings, str]] = [
    ("bce", {"smoothing": 1}, "loss_args.smoothing = 1: must be from 0 up to and without 1"),
    ("bce", {"infrequent_weight": -1}, "loss_args.infrequent_weight = -1: must be 0 or more"),
    ("focal", {"gamma": -1}, "loss_args.gamma = -1: must be 0 or more"),
    ("focal", {"alpha": 0}, "loss_args.alpha = 0: must be above 0 up to and without 1"),
    ("class_balanced", {"beta": 1}, "loss_args.beta = 1: must be from 0 up to and without 1"),
    ("distribution_balanced", {"negative_scale": 0}, "loss_args.negative_scale = 0: must be above 0"),
    ("two_way", {"positive_temperature": 0}, "loss_args.positive_temperature = 0: must be above 0"),
    ("assume_negative", {"weight": "week"}, "loss_args.weight = 'week': must be a number of 0 or more, or weak"),
    ("large_loss", {"kind": "rejects"}, "loss_args.kind = 'rejects' is not known; did you mean reject?"),
    ("large_loss", {"rate": 1}, "loss_args.rate = 1: must be from 0 up to and without 1"),
    ("hill", {"height": 1}, "loss_args.height = 1: must be 1.5 or more"),
    ("hill", {"unknown": "left out"}, "loss_args.unknown = 'left out' is not known; did you mean left_out?"),
    ("expected_positives", {"labels_per_image": 0}, "loss_args.labels_per_image = 0: must be above 0"),
    ("expected_positives", {}, "loss expected_positives: missing a required argument: 'labels_per_image'"),
    ("zlpr", {"gamma": 1}, "loss zlpr: setting 'gamma' is not known; it takes none"),
]


@pytest.mark.parametrize(("name", "given", "said"), REFUSED)
def test_settings_out_of_range_are_refused(name: str, given: Settings, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        build(name, given)
    assert str(caught.value) == said


# The page


def rows_of_the_page() -> dict[str, dict[str, str]]:
    """The cells of the page's first table by loss and column."""
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if line.startswith(("| loss | source |", "| `"))]
    head, *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines)
    return {row[0].strip("`"): dict(zip(head, row, strict=False)) for row in rows if row[0].strip("`") in LOSSES.table}


def test_the_page_has_every_loss_and_says_what_it_declares() -> None:
    page = rows_of_the_page()
    assert sorted(page) == sorted(LOSSES.table)
    for name, cells in page.items():
        found = build(name, SAMPLES[name].first)
        assert cells["gives"] == reduction_of(found), name
        assert cells["unknown labels"] == ("absent" if takes_unknown(found) else "left out"), name
        needs = getattr(LOSSES.get(name), "needs", ())
        assert re.findall(r"`(\w+)`", cells.get("is told", "")) == list(needs), name
        settings = [setting for setting in LOSSES.parameters(name) if setting not in needs]
        told = re.findall(r"`(\w+)`", cells["settings"])
        assert [word for word in told if word in settings] == settings, name
        assert (SAMPLES[name].neutral is None) == (cells["cross-entropy at"] in ("never", "a single label")), name


# Settings of the asymmetric loss alone


@pytest.mark.parametrize(("plus", "minus", "clip"), ASYMMETRIC)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_asymmetric_is_finite_at_every_setting(plus: float, minus: float, clip: float, kind: torch.dtype) -> None:
    logits = torch.tensor([[-1e4, -100, -3, 0, 3, 100, 1e4]], dtype=kind).expand(2, -1).clone().requires_grad_(True)
    targets = torch.tensor([[0.0], [1.0]]).expand(2, 7)
    losses = LOSSES.build("asymmetric", gamma_pos=plus, gamma_neg=minus, clip=clip)(logits, targets)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert (losses >= 0).all()
    # Powers of a rounded probability would be far off.
    exact = LOSSES.build("asymmetric", gamma_pos=plus, gamma_neg=minus, clip=clip)(logits.detach().double(), targets)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-4, atol=1e-6)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_negative_below_the_shift_costs_nothing() -> None:
    logits = torch.tensor([[0.04, 0.06]]).logit().requires_grad_(True)
    losses = LOSSES.build("asymmetric", gamma_neg=1.0, clip=0.05)(logits, torch.zeros(1, 2))
    losses.sum().backward()
    assert losses[0, 0] == 0 < losses[0, 1]
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0 < logits.grad[0, 1]


def test_without_the_gradient_of_the_weight_it_is_a_weighted_cross_entropy() -> None:
    logits, targets = entries()
    logits.requires_grad_(True)
    found = LOSSES.build("asymmetric", gamma_pos=1.0, gamma_neg=4.0, clip=0.0, weight_gradient=False)(logits, targets)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    present = logits.detach().sigmoid()
    wanted = torch.where(targets == 1, -((1 - present) ** 2), present**5)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gamma_neg": -1}, "loss_args.gamma_neg = -1: must be 0 or more"),
        ({"gamma_pos": float("nan")}, "loss_args.gamma_pos = nan: must be 0 or more"),
        ({"clip": 1.0}, "loss_args.clip = 1.0: must be from 0 up to and without 1"),
    ],
)
def test_asymmetric_refuses_settings_out_of_range(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        LOSSES.build("asymmetric", **given)
