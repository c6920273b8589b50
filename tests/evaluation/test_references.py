"""The numbers that other programs print under the same names, and programs written out slowly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional import classification as torchmetrics

from cotag.evaluation.metrics import evaluate
from cotag.evaluation.protocols import Protocol
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

LABELS = 7


def drawn(seed: int = 0, images: int = 200, unknown: float = 0.0, steps: float = 0.0) -> Scores:
    """Logits, on a grid where ``steps`` says so, and targets of which each label has some positives."""
    random = np.random.default_rng(seed)
    targets_NK = (random.random((images, LABELS)) < np.linspace(0.1, 0.6, LABELS)).astype(np.int8)
    logits_NK = random.normal(size=targets_NK.shape) * 1.5 + targets_NK - 0.5
    targets_NK[random.random(targets_NK.shape) < unknown] = -1
    targets_NK[:2], targets_NK[2] = 0, 1
    if steps:
        logits_NK = np.round(logits_NK / steps) * steps
    space = LabelSpace(tuple(f"l{k}" for k in range(LABELS)))
    ids = [str(row) for row in range(images)]
    return Scores(ids, logits_NK.astype(np.float32), targets_NK, "logit", space)


def tensors(scores: Scores) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(scores.scores_NK), torch.from_numpy(scores.targets_NK).long()


@pytest.mark.parametrize("steps", [0.0, 0.5])
def test_equals_scikit_learn(steps: float) -> None:
    scores = drawn(steps=steps)
    found, targets_NK, said_NK = evaluate(scores).metrics, scores.targets_NK, scores.scores_NK >= 0
    wanted = {
        "mAP": sklearn_metrics.average_precision_score(targets_NK, scores.scores_NK, average="macro"),
        "mAP_weighted": sklearn_metrics.average_precision_score(targets_NK, scores.scores_NK, average="weighted"),
        "macro_F1": sklearn_metrics.f1_score(targets_NK, said_NK, average="macro"),
        "OF1": sklearn_metrics.f1_score(targets_NK, said_NK, average="micro"),
        "hamming_loss": sklearn_metrics.hamming_loss(targets_NK, said_NK),
        "subset_accuracy": sklearn_metrics.accuracy_score(targets_NK, said_NK),
        "ranking_loss": sklearn_metrics.label_ranking_loss(targets_NK, scores.scores_NK),
        "coverage_error": sklearn_metrics.coverage_error(targets_NK, scores.scores_NK),
        # With scipy 1.18 the ranks of float32 scores, and so scikit-learn's mean, are float32 too.
        "LRAP": sklearn_metrics.label_ranking_average_precision_score(targets_NK, scores.scores_NK.astype(np.float64)),
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-12, rel=0)
    assert evaluate(scores, protocol="mmpretrain").metrics["CF1"] == pytest.approx(wanted["macro_F1"], abs=1e-12)


def test_equals_torchmetrics() -> None:
    scores = drawn()
    found, (logits, targets) = evaluate(scores).metrics, tensors(scores)
    wanted = {
        "mAP": torchmetrics.multilabel_average_precision(logits, targets, LABELS, average="macro"),
        "mAP_weighted": torchmetrics.multilabel_average_precision(logits, targets, LABELS, average="weighted"),
        "macro_F1": torchmetrics.multilabel_f1_score(logits, targets, LABELS, average="macro"),
        "OF1": torchmetrics.multilabel_f1_score(logits, targets, LABELS, average="micro"),
        "hamming_loss": torchmetrics.multilabel_hamming_distance(logits, targets, LABELS, average="micro"),
        "subset_accuracy": torchmetrics.multilabel_exact_match(logits, targets, LABELS),
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(float(value), abs=1e-6), name


def test_unknown_targets_equal_torchmetrics() -> None:
    scores = drawn(unknown=0.2)
    found, (logits, targets) = evaluate(scores).metrics, tensors(scores)
    given_ = {"num_labels": LABELS, "ignore_index": -1}
    for name, function, average in (
        ("mAP", torchmetrics.multilabel_average_precision, "macro"),
        ("CP", torchmetrics.multilabel_precision, "macro"),
        ("CR", torchmetrics.multilabel_recall, "macro"),
        ("OP", torchmetrics.multilabel_precision, "micro"),
        ("OR", torchmetrics.multilabel_recall, "micro"),
        ("macro_F1", torchmetrics.multilabel_f1_score, "macro"),
    ):
        wanted = function(logits, targets, average=average, **given_)
        assert found[name] == pytest.approx(float(wanted), abs=1e-6), name


def highest(logits_K: np.ndarray, k: int) -> list[int]:
    return sorted(range(len(logits_K)), key=lambda label: (-logits_K[label], label))[:k]


@pytest.mark.parametrize("k", [1, 3, 6])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), steps=st.sampled_from([0.0, 0.5]))
def test_recall_at_k_image_by_image(k: int, seed: int, steps: float) -> None:
    scores = drawn(seed, 30, steps=steps)
    scores.targets_NK[:, 0] = 0
    hits, positives = [0] * LABELS, [0] * LABELS
    for logits_K, target_K in zip(scores.scores_NK, scores.targets_NK, strict=True):
        for label in np.flatnonzero(target_K):
            positives[label] += 1
            hits[label] += label in highest(logits_K, k)
    found = evaluate(scores, k=k).metrics
    recalls = [hit / count for hit, count in zip(hits[1:], positives[1:], strict=True)]
    assert found[f"mR@{k}_skip"] == pytest.approx(sum(recalls) / 6, abs=1e-12)
    assert found[f"mR@{k}_zero"] == pytest.approx(sum(recalls) / 7, abs=1e-12)
    assert found[f"R@{k}"] == pytest.approx(sum(hits) / sum(positives), abs=1e-12)


@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_one_error_image_by_image(seed: int) -> None:
    scores = drawn(seed, 30)
    wrong = [
        1 - target_K[highest(logits_K, 1)[0]]
        for logits_K, target_K in zip(scores.scores_NK, scores.targets_NK, strict=True)
        if target_K.any()
    ]
    assert evaluate(scores).metrics["one_error"] == pytest.approx(np.mean(wrong), abs=1e-12)


def mlgcn(scores: Scores, top: int | None) -> dict[str, float]:
    """As the ML-GCN program counts: 1 and -1 for given or not, a denominator of 0 made 1, what is unknown absent."""
    given_, correct, positive = (np.zeros(LABELS) for _ in range(3))
    for logits_K, target_K in zip(scores.scores_NK, scores.targets_NK, strict=True):
        for label in highest(logits_K, top or LABELS):
            if logits_K[label] >= 0:
                given_[label] += 1
                correct[label] += target_K[label] == 1
        positive += target_K == 1
    given_[given_ == 0] = 1
    found = {"OP": correct.sum() / given_.sum(), "OR": correct.sum() / positive.sum()}
    found["OF1"] = 2 * found["OP"] * found["OR"] / (found["OP"] + found["OR"])
    found.update(CP=np.mean(correct / given_), CR=np.mean(correct / positive))
    found["CF1"] = 2 * found["CP"] * found["CR"] / (found["CP"] + found["CR"])
    return found


@pytest.mark.parametrize(("name", "top"), [("mlgcn", None), ("mlgcn-top3", 3)])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_mlgcn_as_its_program_counts(name: str, top: int | None, seed: int) -> None:
    scores = drawn(seed, 40, unknown=0.2)
    # A label that is never given: only there the two ways to count differ.
    scores.scores_NK[:, 4] = -1
    wanted, found = mlgcn(scores, top), evaluate(scores, protocol=name).metrics
    assert {metric: found[metric] for metric in wanted} == pytest.approx(wanted, abs=1e-12)
    assert {metric: found[f"{metric}@3"] for metric in wanted} == pytest.approx(mlgcn(scores, 3), abs=1e-12)


@pytest.mark.parametrize("rule", ["exact", "voc07", "voc_envelope"])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_a_monotone_transformation_changes_no_rank(rule: str, seed: int) -> None:
    scores = drawn(seed, 40, unknown=0.1, steps=0.5)
    # Ties stay ties, and what is at least 0 stays so.
    moved = Scores(scores.ids, np.arcsinh(scores.scores_NK) * 3, scores.targets_NK, "logit", scores.label_space)
    first, second = (evaluate(some, protocol=Protocol("ranked", rule)).metrics for some in (scores, moved))
    same = [name for name in first if name not in ("ECE", "Brier")]
    assert [first[name] for name in same] == [second[name] for name in same]
