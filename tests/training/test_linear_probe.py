from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cotag.training import linear_probe
from cotag.training.linear_probe import LinearProbe, cross_validated_logits, fit_linear_probe

STRENGTHS = (0.01, 0.1, 1.0, 10.0)


def example(samples: int, width: int, labels: int = 4, unknown: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Features of very different sizes around 2, correlated labels of which the last are rare, and what is known."""
    random = np.random.default_rng(samples + width)
    features = random.normal(size=(samples, width)) * np.geomspace(3, 0.03, width)
    wanted = features @ random.normal(size=(width, labels)) / 3 + random.normal(size=(samples, labels))
    targets = wanted > np.linspace(0, 2.5, labels)
    known = random.random((samples, labels)) >= unknown
    return torch.from_numpy(features + 2).float(), torch.from_numpy(targets & known), torch.from_numpy(known)


def probabilities(probe: LinearProbe, features: Tensor) -> np.ndarray:
    logits = features @ probe.weights_RKD.transpose(1, 2) + probe.bias_RK[:, None]
    return torch.sigmoid(logits).numpy()


def reference(features: Tensor, targets_N: Tensor, known_N: Tensor, strength: float) -> np.ndarray:
    """Probabilities of scikit-learn's exact solution of the same problem, one label."""
    inputs = features.double().numpy()
    inputs = inputs - inputs.mean(0)
    inputs /= np.sqrt(np.square(inputs).mean())
    rows = known_N.numpy()
    model = LogisticRegression(C=1 / (strength * rows.sum()), tol=1e-9, max_iter=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(inputs[rows], targets_N.numpy()[rows])
    found: np.ndarray = model.predict_proba(inputs)[:, 1]
    return found


@pytest.mark.parametrize(("samples", "width"), [(150, 12), (60, 60), (40, 100)])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_equals_scikit_learn_on_the_known_rows(samples: int, width: int, unknown: float) -> None:
    features, targets, known = example(samples, width, unknown=unknown)
    probe = fit_linear_probe(features, targets, known, STRENGTHS)
    assert probe.converged == 1.0
    found = probabilities(probe, features)
    for r, strength in enumerate(STRENGTHS):
        for k in range(targets.shape[1]):
            wanted = reference(features, targets[:, k], known[:, k], strength)
            np.testing.assert_allclose(found[r, :, k], wanted, atol=1e-3, rtol=0)


def test_what_stands_at_an_unknown_entry_does_not_matter() -> None:
    features, targets, known = example(60, 10, unknown=0.4)
    first = fit_linear_probe(features, targets, known, STRENGTHS)
    second = fit_linear_probe(features, targets | ~known, known, STRENGTHS)
    assert torch.equal(first.weights_RKD, second.weights_RKD)
    assert torch.equal(first.bias_RK, second.bias_RK)


def test_one_label_and_one_strength_alone_give_what_they_give_among_others() -> None:
    features, targets, known = example(80, 10)
    whole = probabilities(fit_linear_probe(features, targets, known, STRENGTHS), features)
    alone = fit_linear_probe(features, targets[:, 2:3], known[:, 2:3], (0.1,))
    assert alone.weights_RKD.shape == (1, 1, 10)
    assert alone.bias_RK.shape == (1, 1)
    np.testing.assert_allclose(probabilities(alone, features)[0, :, 0], whole[1, :, 2], atol=1e-4)


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("width", [5, 80])
def test_a_label_that_is_always_the_same_is_given_so_and_changes_no_other(present: bool, width: int) -> None:
    features, targets, known = example(50, width, labels=3)
    wanted = probabilities(fit_linear_probe(features, targets, known), features)
    targets[:, 1] = present
    known[:, 1] = True
    probe = fit_linear_probe(features, targets, known)
    found = probabilities(probe, features)
    assert probe.weights_RKD.isfinite().all()
    assert (np.abs(found[:, :, 1] - present) < 0.02).all()
    np.testing.assert_allclose(found[:, :, [0, 2]], wanted[:, :, [0, 2]], atol=1e-4)


def test_a_label_of_which_nothing_is_known_stays_finite() -> None:
    features, targets, known = example(50, 5)
    known[:, 0] = False
    probe = fit_linear_probe(features, targets, known)
    assert probe.weights_RKD.isfinite().all()
    assert probe.bias_RK.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567])
@pytest.mark.parametrize("samples", [7, 1000])
def test_constant_features_say_nothing_but_the_share(value: float, samples: int) -> None:
    features = value * torch.linspace(1, 2, 12).expand(samples, 12)
    targets = (torch.arange(samples) % 3 == 0)[:, None]
    probe = fit_linear_probe(features, targets, torch.ones_like(targets))
    assert probe.converged == 1.0
    assert (probe.weights_RKD == 0).all()
    np.testing.assert_allclose(probabilities(probe, features), float(targets.float().mean()), rtol=1e-3)


def test_a_strength_means_the_same_for_features_of_another_size_and_place() -> None:
    features, targets, known = example(60, 10)
    wanted = probabilities(fit_linear_probe(features, targets, known), features)
    moved = features * 50 - 300
    found = probabilities(fit_linear_probe(moved, targets, known), moved)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


@pytest.mark.parametrize("limit", ["COLUMNS_AT_ONCE", "ENTRIES_AT_ONCE"])
def test_labels_in_blocks_equal_all_labels_at_once(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    features, targets, known = example(70, 8, labels=7)
    folds = torch.arange(70) % 3
    whole = probabilities(fit_linear_probe(features, targets, known, STRENGTHS), features)
    held_out = cross_validated_logits(features, targets, known, folds, STRENGTHS, tolerance=1e-5)
    sizes = []
    columns = linear_probe._Problem.columns
    monkeypatch.setattr(
        linear_probe._Problem,
        "columns",
        lambda self, labels, trained=None: (sizes.append(labels.stop - labels.start), columns(self, labels, trained))[
            1
        ],
    )
    monkeypatch.setattr(linear_probe, limit, 24 if limit == "COLUMNS_AT_ONCE" else 24 * 70)
    blocks = probabilities(fit_linear_probe(features, targets, known, STRENGTHS), features)
    assert sizes == [6, 1]
    np.testing.assert_allclose(blocks, whole, atol=1e-4)
    again = cross_validated_logits(features, targets, known, folds, STRENGTHS, tolerance=1e-5)
    assert sizes == [6, 1, 2, 2, 2, 1]
    np.testing.assert_allclose(torch.sigmoid(again), torch.sigmoid(held_out), atol=1e-4)


@pytest.mark.parametrize(("samples", "width"), [(90, 10), (40, 80)])
def test_cross_validation_equals_fitting_without_each_fold_by_hand(samples: int, width: int) -> None:
    features, targets, known = example(samples, width)
    folds = torch.from_numpy(np.random.default_rng(0).integers(0, 3, samples))
    found = cross_validated_logits(features, targets, known, folds, STRENGTHS, tolerance=1e-6)
    assert found.shape == (4, samples, 4)
    for fold in range(3):
        # Marked unknown, a fold's rows take no part in the fit, but in the centering and the scale they do.
        probe = fit_linear_probe(features, targets, known & (folds != fold)[:, None], STRENGTHS, tolerance=1e-6)
        inside = folds == fold
        wanted = probabilities(probe, features[inside])
        np.testing.assert_allclose(torch.sigmoid(found[:, inside]).numpy(), wanted, atol=1e-3)


def test_too_few_steps_are_told() -> None:
    features, targets, known = example(60, 10)
    assert fit_linear_probe(features, targets, known, STRENGTHS, iterations=2).converged < 1
    assert fit_linear_probe(features, targets, known, STRENGTHS, iterations=2).iterations == 2
