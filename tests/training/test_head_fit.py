from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cotag.errors import SettingError
from cotag.evaluation.metrics import average_precisions
from cotag.models.heads.linear import LinearHead
from cotag.models.scoring import score_batches
from cotag.registry import OPTIMIZERS
from cotag.training import head_fit
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.head_fit import (
    CachedHead,
    HeadLoop,
    Part,
    Solver,
    descend_head,
    joined,
    solve_head,
)
from cotag.training.label_counts import LabelCounts
from cotag.training.linear_probe import STRENGTHS, cross_validated_logits, fit_linear_probe
from cotag.training.loop_settings import LoopSettings
from cotag.training.losses.bce import BCE
from cotag.training.schedules import constant, cosine
from cotag.types.progress import Silent

WIDTH, LABELS = 12, 3


def part(count: int, seed: int, unknown: float = 0.1) -> Part:
    """Features that say something of three labels, as rows 1000 * seed, 1000 * seed + 1 ..."""
    random = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(size=(WIDTH, LABELS))
    features = random.normal(size=(count, WIDTH)).astype(np.float32)
    targets = (features @ truth + 2 * random.normal(size=(count, LABELS)) > 1).astype(np.int8)
    targets[random.random(targets.shape) < unknown] = -1
    return Part(FeatureSet(features, 1000 * seed + np.arange(count), {}, 0), targets)


TRAIN, CHOOSE = part(60, 1), part(40, 2)


def judge(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    losses = np.logaddexp(0, np.where(targets == 1, -logits, logits))
    mean_precision = float(np.nanmean(average_precisions(logits, targets)))
    return {"val_mAP": mean_precision, "val_loss": float(losses[targets >= 0].mean())}


def probe_of(data: Part, strength: float) -> tuple[np.ndarray, np.ndarray]:
    targets = torch.from_numpy(data.targets_NK)
    found = fit_linear_probe(torch.from_numpy(data.features.features), targets == 1, targets >= 0, (strength,))
    return found.weights_RKD[0].numpy(), found.bias_RK[0].numpy()


def weights_of(head: LinearHead) -> np.ndarray:
    return head.classifier.weight.detach().numpy()


def logits_of(probe: tuple[np.ndarray, np.ndarray], data: Part) -> np.ndarray:
    return data.features.features @ probe[0].T + probe[1]


# The solver


@pytest.mark.parametrize("choose_by", ["mAP", "loss"])
def test_the_strength_is_what_is_best_on_the_images_that_choose(choose_by: str) -> None:
    head = LinearHead(WIDTH, LABELS)
    chosen = solve_head(head, TRAIN, CHOOSE, Solver("auto", choose_by, refit=False), judge)
    judged = [judge(logits_of(probe_of(TRAIN, s), CHOOSE), CHOOSE.targets_NK) for s in STRENGTHS]
    values = [row["val_mAP"] if choose_by == "mAP" else -row["val_loss"] for row in judged]
    assert chosen.weight_decay == STRENGTHS[int(np.argmax(values))]
    assert [row["weight_decay"] for row in chosen.history] == list(STRENGTHS)
    assert [row["val_loss"] for row in chosen.history] == pytest.approx([row["val_loss"] for row in judged], abs=1e-3)
    np.testing.assert_allclose(weights_of(head), probe_of(TRAIN, chosen.weight_decay)[0], atol=2e-3)
    assert chosen.rows.tolist() == CHOOSE.features.rows.tolist()
    np.testing.assert_allclose(chosen.logits_MK, logits_of(probe_of(TRAIN, chosen.weight_decay), CHOOSE), atol=1e-2)


def test_refitted_it_has_seen_the_images_that_chose() -> None:
    head = LinearHead(WIDTH, LABELS)
    chosen = solve_head(head, TRAIN, CHOOSE, Solver("auto", "mAP", refit=True), judge)
    np.testing.assert_allclose(weights_of(head), probe_of(joined(TRAIN, CHOOSE), chosen.weight_decay)[0], atol=2e-3)
    # What it says of the images that chose is still from before.
    np.testing.assert_allclose(chosen.logits_MK, logits_of(probe_of(TRAIN, chosen.weight_decay), CHOOSE), atol=1e-2)


def test_a_given_strength_is_used() -> None:
    head = LinearHead(WIDTH, LABELS, pooling="max")
    chosen = solve_head(head, TRAIN, CHOOSE, Solver(0.5, "mAP", refit=False), judge)
    assert chosen.weight_decay == 0.5
    assert len(chosen.history) == 1
    np.testing.assert_allclose(weights_of(head), probe_of(TRAIN, 0.5)[0], atol=1e-4)
    np.testing.assert_allclose(head.classifier.bias.detach().numpy(), probe_of(TRAIN, 0.5)[1], atol=1e-4)


@pytest.mark.parametrize("refit", [False, True])
def test_in_folds_every_image_chooses_by_a_head_that_did_not_see_it(refit: bool) -> None:
    both = joined(TRAIN, CHOOSE)
    folds = np.random.default_rng(0).integers(0, 4, 100)
    head = LinearHead(WIDTH, LABELS)
    chosen = solve_head(head, TRAIN, CHOOSE, Solver("auto", "loss", refit, folds_N=folds), judge)
    assert chosen.rows.tolist() == [*TRAIN.features.rows, *CHOOSE.features.rows]
    assert chosen.logits_MK.shape == (100, LABELS)
    best = next(row for row in chosen.history if row["weight_decay"] == chosen.weight_decay)
    assert best["val_loss"] == min(row["val_loss"] for row in chosen.history)
    inside = [judge(chosen.logits_MK[folds == fold], both.targets_NK[folds == fold]) for fold in range(4)]
    for name in ("val_mAP", "val_loss"):
        assert best[name] == pytest.approx(np.mean([row[name] for row in inside]))
    final = both if refit else TRAIN
    np.testing.assert_allclose(weights_of(head), probe_of(final, chosen.weight_decay)[0], atol=2e-3)
    targets = torch.from_numpy(both.targets_NK)
    inputs = torch.from_numpy(both.features.features)
    without_RMK = cross_validated_logits(inputs, targets == 1, targets >= 0, torch.from_numpy(folds))
    np.testing.assert_array_equal(chosen.logits_MK, without_RMK[STRENGTHS.index(chosen.weight_decay)].numpy())


# Augmented views


def with_views(data: Part, noise: float = 0.5, views: int = 2) -> Part:
    """The images with so many views beside themselves, which differ by noise."""
    random, features = np.random.default_rng(len(data.targets_NK)), data.features.features
    more = [features + noise * random.normal(size=features.shape).astype(np.float32) for _ in range(views)]
    return Part(FeatureSet(features, data.features.rows, {}, 0, tuple(more)), data.targets_NK)


def one_after_another(data: Part) -> Part:
    """All views as images of their own."""
    views = range(data.features.views)
    features = np.concatenate([data.features.view(view) for view in views])
    targets = np.concatenate([data.targets_NK for _ in views])
    return Part(FeatureSet(features, np.tile(data.features.rows, len(views)), {}, 0), targets)


@pytest.mark.parametrize("refit", [False, True])
def test_the_solver_takes_views_as_further_samples(refit: bool) -> None:
    train, choose = with_views(TRAIN), with_views(CHOOSE)
    head = LinearHead(WIDTH, LABELS)
    chosen = solve_head(head, train, choose, Solver(0.5, "mAP", refit), judge)
    probe = probe_of(one_after_another(train), 0.5)
    # What chooses is not augmented.
    assert len(chosen.logits_MK) == len(CHOOSE.targets_NK)
    np.testing.assert_allclose(chosen.logits_MK, logits_of(probe, CHOOSE), atol=2e-3)
    final = one_after_another(joined(train, choose)) if refit else one_after_another(train)
    np.testing.assert_allclose(weights_of(head), probe_of(final, 0.5)[0], atol=2e-3)
    assert np.abs(weights_of(head) - probe_of(joined(TRAIN, CHOOSE) if refit else TRAIN, 0.5)[0]).max() > 0.01


@pytest.mark.parametrize("folds", [None, np.arange(100) % 4])
def test_views_that_change_nothing_regularize_nothing(folds: np.ndarray | None) -> None:
    found = []
    for make in (lambda data: data, lambda data: with_views(data, noise=0.0)):
        head = LinearHead(WIDTH, LABELS)
        how = Solver("auto", "loss", True, folds_N=folds)
        found.append((solve_head(head, make(TRAIN), make(CHOOSE), how, judge), weights_of(head)))
    (plain, plain_KD), (viewed, viewed_KD) = found
    assert plain.weight_decay == viewed.weight_decay
    np.testing.assert_allclose(plain.logits_MK, viewed.logits_MK, atol=1e-3 if folds is None else 0.1)
    np.testing.assert_allclose(plain_KD, viewed_KD, atol=2e-3)


def test_the_views_of_an_image_lie_in_its_fold() -> None:
    """Labels that the features do not tell: a head that saw a view of the image would know them."""
    random = np.random.default_rng(5)
    features = random.normal(size=(60, 80)).astype(np.float32)
    targets = random.integers(0, 2, (60, LABELS)).astype(np.int8)
    data = with_views(Part(FeatureSet(features, np.arange(60), {}, 0), targets), noise=0.05)
    first, second = (Part(data.features.of(rows), targets[rows]) for rows in (np.arange(40), np.arange(40, 60)))
    how = Solver(0.01, "loss", True, folds_N=np.arange(60) % 5)
    chosen = solve_head(LinearHead(80, LABELS), first, second, how, judge)
    assert np.nanmean(average_precisions(chosen.logits_MK, targets)) < 0.75
    leaked = probe_of(one_after_another(data), 0.01)
    assert np.nanmean(average_precisions(logits_of(leaked, data), targets)) > 0.99


@pytest.mark.parametrize("head", [LinearHead(WIDTH, LABELS, "gem"), nn.Linear(WIDTH, LABELS)])
def test_the_solver_refuses_another_head(head: nn.Module) -> None:
    with pytest.raises(SettingError, match="lbfgs solves a linear head with avg or max pooling; choose adamw or sgd"):
        solve_head(head, TRAIN, CHOOSE, Solver("auto", "mAP", True), judge)


@pytest.mark.parametrize(("settings", "name"), [({"dropout": 0.2}, "dropout"), ({"norm": "batch"}, "norm")])
def test_the_solver_refuses_what_only_a_loop_uses(settings: dict[str, Any], name: str) -> None:
    head = LinearHead(WIDTH, LABELS, **settings)
    with pytest.raises(SettingError, match=rf"model.head_args.{name}: train.optimizer = lbfgs does not use it"):
        solve_head(head, TRAIN, CHOOSE, Solver("auto", "mAP", True), judge)


def test_the_solver_needs_a_strength() -> None:
    with pytest.raises(SettingError, match=r"train.weight_decay = 0.0: lbfgs needs a strength above 0"):
        solve_head(LinearHead(WIDTH, LABELS), TRAIN, CHOOSE, Solver(0.0, "mAP", True), judge)


# The loop


def loop(epochs: int = 6, rate: float = 0.05, schedule: Any = None, **settings: Any) -> HeadLoop:
    def make(groups: Any) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = OPTIMIZERS.build("adamw", groups)
        return optimizer

    def criterion(model: nn.Module, counts: LabelCounts) -> Criterion:
        return Criterion(BCE())

    return HeadLoop(LoopSettings(epochs, **settings), make, criterion, schedule or constant(), 16, rate, seed=0)


def fresh(**settings: Any) -> LinearHead:
    torch.manual_seed(0)
    return LinearHead(WIDTH, LABELS, **settings)


def held_out(head: nn.Module) -> np.ndarray:
    return score_batches(CachedHead(head), FeatureBatches(CHOOSE.features, CHOOSE.targets_NK, 8))[1]


def test_the_loop_learns_and_keeps_the_best_epoch() -> None:
    head = fresh(dropout=0.2)
    chosen = descend_head(head, TRAIN, CHOOSE, 0.0, judge, loop(rate=0.3), refit=False, progress=Silent())
    values = [row["val_mAP"] for row in chosen.history]
    assert [row["epoch"] for row in chosen.history] == list(range(7))
    assert max(values) > values[0] + 0.1
    assert judge(chosen.logits_MK, CHOOSE.targets_NK)["val_mAP"] == pytest.approx(max(values))
    assert chosen.rows.tolist() == CHOOSE.features.rows.tolist()
    # In batches of another size, which a matrix product may sum in another order.
    np.testing.assert_allclose(held_out(head), chosen.logits_MK, rtol=1e-4, atol=1e-4)


def test_the_loop_tries_every_decay_from_the_same_start_and_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    # The last is so strong that it is not the best.
    monkeypatch.setattr(head_fit, "DECAYS", (0.0, 0.01, 100.0))
    head = fresh()
    chosen = descend_head(head, TRAIN, CHOOSE, "auto", judge, loop(3), refit=False, progress=Silent())
    starts = [row["val_mAP"] for row in chosen.history if row["epoch"] == 0]
    assert len(starts) == 3
    assert len(set(starts)) == 1
    best = max(chosen.history, key=lambda row: row["val_mAP"])
    assert chosen.weight_decay == best["weight_decay"] != 100.0
    again = fresh()
    alone = descend_head(again, TRAIN, CHOOSE, chosen.weight_decay, judge, loop(3), refit=False, progress=Silent())
    np.testing.assert_array_equal(alone.logits_MK, chosen.logits_MK)
    assert np.array_equal(weights_of(again), weights_of(head))


def test_refitted_by_the_loop_it_starts_anew_with_all_images_for_the_chosen_epochs() -> None:
    """Choosing by the loss of a rate that is too high, it chooses an early epoch of a falling rate."""
    start = fresh()
    head, schedule = copy.deepcopy(start), cosine()
    how = loop(8, 0.5, schedule, choose_by="loss", clip_norm=1.0)
    chosen = descend_head(head, TRAIN, CHOOSE, 0.01, judge, how, refit=True, progress=Silent())
    epochs = int(min(chosen.history, key=lambda row: row["val_loss"])["epoch"])
    assert 0 < epochs < 8
    again = copy.deepcopy(start)
    shortened = loop(epochs, 0.5, lambda done: schedule(done * epochs / 8), choose_by="last", clip_norm=1.0)
    shortened.fit(again, joined(TRAIN, CHOOSE), 0.01, lambda model: {}, shortened.loop, Silent())
    np.testing.assert_allclose(weights_of(head), weights_of(again), rtol=1e-5, atol=1e-6)
    # What it says of the images that chose is from the head that had not seen them.
    assert not np.allclose(held_out(head), chosen.logits_MK)


def test_dropout_depends_on_the_seed_of_the_loop_alone() -> None:
    found = []
    for seed in (1, 2):
        head = fresh(dropout=0.5)
        torch.manual_seed(seed)
        descend_head(head, TRAIN, CHOOSE, 0.0, judge, loop(2), refit=False, progress=Silent())
        found.append(weights_of(head))
    np.testing.assert_array_equal(*found)


def test_any_head_can_be_fitted_by_the_loop() -> None:
    random = np.random.default_rng(0)
    parts = []
    for given in (TRAIN, CHOOSE):
        features = given.features.features[:, :, None, None] + random.normal(size=(len(given.targets_NK), WIDTH, 2, 2))
        maps = FeatureSet(np.abs(features).astype(np.float16), given.features.rows, {}, 0)
        parts.append(Part(maps, given.targets_NK))
    head = fresh(pooling="gem")
    chosen = descend_head(head, parts[0], parts[1], 0.0, judge, loop(2), refit=True, progress=Silent())
    assert chosen.logits_MK.shape == (40, LABELS)
    assert head.power is not None
    assert float(head.power) != 3.0


def test_the_images_of_both() -> None:
    both = joined(TRAIN, CHOOSE)
    assert both.features.rows.tolist() == [*range(1000, 1060), *range(2000, 2040)]
    assert np.array_equal(both.features.features[60:], CHOOSE.features.features)
    assert np.array_equal(both.targets_NK[:60], TRAIN.targets_NK)
