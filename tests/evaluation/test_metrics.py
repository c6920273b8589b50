from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import Report, average_precisions, evaluate, precision_recall_f1
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def example(
    samples: int = 300, labels: int = 8, unknown: float = 0.2, kind: str = "float64", steps: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Logits on a coarse grid, so that many are tied, and targets with unknown ones."""
    random = np.random.default_rng(samples + labels)
    targets = (random.random((samples, labels)) < np.linspace(0.05, 0.6, labels)).astype(np.int8)
    logits = np.round((random.normal(size=targets.shape) + targets) * steps / 4) / steps * 4
    targets[random.random(targets.shape) < unknown] = -1
    return logits.astype(kind), targets


def scores_of(logits: np.ndarray, targets: np.ndarray, kind: str = "logit") -> Scores:
    samples, labels = logits.shape
    space = LabelSpace(tuple(f"l{k}" for k in range(labels)))
    return Scores([str(row) for row in range(samples)], logits, targets, kind, space)


# Average precision


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("steps", [2, 20, 10**6])
def test_average_precision_equals_scikit_learn_with_ties_and_unknowns(kind: str, steps: int) -> None:
    logits, targets = example(kind=kind, steps=steps)
    found = average_precisions(logits, targets)
    assert found.dtype == np.float64
    for k in range(targets.shape[1]):
        known = targets[:, k] >= 0
        wanted = sklearn_metrics.average_precision_score(targets[known, k], logits[known, k])
        assert found[k] == pytest.approx(wanted, abs=1e-12, rel=0)


def test_average_precision_equals_torchmetrics() -> None:
    from torchmetrics.functional.classification import multilabel_average_precision

    logits, targets = example(kind="float32", steps=50)
    probabilities = torch.sigmoid(torch.from_numpy(logits).double())
    wanted = multilabel_average_precision(
        probabilities, torch.from_numpy(targets).long(), num_labels=8, average="none", ignore_index=-1
    )
    np.testing.assert_allclose(average_precisions(logits, targets), wanted.numpy(), atol=1e-6, rtol=0)


def test_average_precision_by_hand() -> None:
    targets = np.array([[1], [0], [1], [-1], [0]], dtype=np.int8)
    distinct = np.array([[0.9], [0.8], [0.7], [0.99], [0.1]])
    tied = np.array([[0.9], [0.7], [0.7], [0.99], [0.1]])
    assert average_precisions(distinct, targets).tolist() == [(1 + 2 / 3) / 2]
    assert average_precisions(tied, targets).tolist() == [(1 + 2 / 3) / 2]
    assert average_precisions(np.zeros((5, 1)), targets).tolist() == [0.5]


def test_ties_are_one_step_whatever_the_order_of_the_rows() -> None:
    targets = np.array([[1], [0]], dtype=np.int8)
    same = np.array([[0.5], [0.5]])
    assert average_precisions(same, targets)[0] == average_precisions(same, targets[::-1])[0] == 0.5


def test_a_label_without_a_known_positive_has_none() -> None:
    targets = np.array([[0, 1, -1], [0, 1, -1]], dtype=np.int8)
    found = average_precisions(np.ones((2, 3)), targets)
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == 1


cells = st.tuples(st.integers(-3, 3), st.sampled_from([-1, 0, 1]))


@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(cells, min_size=k, max_size=k), min_size=1)), st.randoms())
def test_nothing_depends_on_the_order_of_the_rows(rows, random) -> None:  # type: ignore[no-untyped-def]
    def judged(some) -> Report:  # type: ignore[no-untyped-def]
        table = np.array(some)
        return evaluate(scores_of(table[..., 0].astype(np.float32), table[..., 1].astype(np.int8)))

    shuffled = random.sample(rows, len(rows))
    assert judged(rows).to_json() == judged(shuffled).to_json()


# Precision, recall and F1

# Four images and four labels; the last label has no positive, the third is never predicted:
#            a        b        c        d
# image 0    1 said   0 said   0        0
# image 1    1 said   1 said   1        0 said
# image 2    1        1        0        0
# image 3    0 said   0        1        ? said
TARGETS = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, -1]], dtype=np.int8)
SAID = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]])


def hand_worked(kind: str = "logit") -> Report:
    table = np.where(SAID, 2.0, -2.0) if kind == "logit" else np.where(SAID, 0.9, 0.1)
    return evaluate(scores_of(table.astype(np.float32), TARGETS, kind))


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_precision_and_recall_by_hand(kind: str) -> None:
    found = hand_worked(kind).metrics
    overall_precision, overall_recall = 3 / 6, 3 / 7
    class_precision, class_recall = (2 / 3 + 1 / 2 + 0) / 3, (2 / 3 + 1 / 2 + 0) / 3
    assert found["OP"] == pytest.approx(overall_precision)
    assert found["OR"] == pytest.approx(overall_recall)
    assert found["OF1"] == pytest.approx(2 / (1 / overall_precision + 1 / overall_recall))
    assert found["CP"] == pytest.approx(class_precision)
    assert found["CR"] == pytest.approx(class_recall)
    assert found["CF1"] == pytest.approx(2 / (1 / class_precision + 1 / class_recall))


def test_each_label_by_hand() -> None:
    labels = {row["label"]: row for row in hand_worked().labels}
    assert labels["l0"]["precision"] == labels["l0"]["recall"] == labels["l0"]["F1"] == pytest.approx(2 / 3)
    assert (labels["l2"]["precision"], labels["l2"]["recall"], labels["l2"]["F1"]) == (0, 0, 0)
    defined = {name: value for name, value in labels["l3"].items() if name not in ("ECE", "Brier")}
    assert defined == {
        "label": "l3",
        "group": None,
        "positives": 0,
        "known": 3,
        "prevalence": 0.0,
        "AP": None,
        "precision": 0.0,
        "recall": None,
        "F1": None,
        "threshold": 0.5,
    }
    assert labels["l1"]["prevalence"] == 0.5


def test_labels_without_positives_are_left_out_and_counted() -> None:
    report = hand_worked()
    aps = [row["AP"] for row in report.labels]
    assert report.metrics["mAP"] == pytest.approx(sum(aps[:3]) / 3)
    assert report.metrics["chance_mAP"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert report.coverage == "mAP, CP and CR over 3 of 4 labels (the others have no known positive)"
    whole = evaluate(scores_of(np.zeros((4, 3)), TARGETS[:, :3]))
    assert whole.coverage == "mAP, CP and CR over all 3 labels"


def test_without_any_positive_there_are_no_numbers() -> None:
    report = evaluate(scores_of(np.ones((2, 2)), np.array([[0, -1], [0, 0]], dtype=np.int8)))
    names = ("mAP", "mAP_weighted", "chance_mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1", "mR@3_zero", "R@3")
    assert [report.metrics[name] for name in names] == [None] * len(names)


def test_labels_that_are_never_predicted_have_precision_zero_and_not_none() -> None:
    report = evaluate(scores_of(np.full((3, 2), -1.0), np.array([[1, 0], [0, 1], [1, 1]], dtype=np.int8)))
    assert [report.metrics[name] for name in ("OP", "OR", "OF1", "CP", "CR", "CF1")] == [0.0] * 6


def test_equals_scikit_learn_and_torchmetrics_where_they_mean_the_same() -> None:
    from torchmetrics.functional.classification import multilabel_precision, multilabel_recall

    logits, targets = example(unknown=0.0, kind="float32", steps=10**6)
    found = evaluate(scores_of(logits, targets)).metrics
    said = logits >= 0
    for name, average in (("O", "micro"), ("C", "macro")):
        precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(targets, said, average=average)
        assert found[f"{name}P"] == pytest.approx(precision, abs=1e-12)
        assert found[f"{name}R"] == pytest.approx(recall, abs=1e-12)
        tensors = torch.from_numpy(logits), torch.from_numpy(targets).long()
        assert found[f"{name}P"] == pytest.approx(float(multilabel_precision(*tensors, 8, average=average)), abs=1e-6)
        assert found[f"{name}R"] == pytest.approx(float(multilabel_recall(*tensors, 8, average=average)), abs=1e-6)
        if average == "micro":
            assert found["OF1"] == pytest.approx(f1, abs=1e-12)
        else:
            # The harmonic mean of CP and CR, and not the mean of the labels' F1.
            assert found["CF1"] != pytest.approx(f1, abs=1e-4)


def test_unknown_targets_count_neither_for_nor_against() -> None:
    logits, targets = example(samples=60, kind="float32")
    flipped = np.where(targets < 0, -logits, logits)
    assert evaluate(scores_of(logits, targets)).to_json() == evaluate(scores_of(flipped, targets)).to_json()


def test_counts_of_a_table() -> None:
    found = precision_recall_f1(np.array([1, 0]), np.array([2, 0]), np.array([4, 0]))
    assert found["OP"] == found["CP"] == 0.5
    assert found["OR"] == found["CR"] == 0.25
    assert found["OF1"] == found["CF1"] == pytest.approx(1 / 3)


def test_the_protocol_says_how_and_a_decision_counts() -> None:
    scores = scores_of(np.array([[0.3], [0.6]]), np.array([[1], [1]], dtype=np.int8), "probability")
    first, second = evaluate(scores), evaluate(scores, Decision(threshold=0.25))
    assert (first.metrics["OR"], second.metrics["OR"]) == (0.5, 1.0)
    assert first.protocol.startswith("default (exact AP; ")
    assert first.protocol.endswith("; a label is given at probability >= 0.5")
    assert second.protocol.endswith(">= 0.25")


def test_json_holds_plain_numbers() -> None:
    value = hand_worked().to_json()
    assert set(value) == {"metrics", "protocol", "coverage", "labels"}
    numbers = [*value["metrics"].values(), *(cell for row in value["labels"] for cell in row.values())]
    assert {type(number) for number in numbers} == {float, int, str, type(None)}
    assert not any(isinstance(number, float) and math.isnan(number) for number in numbers)
