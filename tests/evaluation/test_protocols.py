from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotag.errors import ScoresError, SettingError
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import Report, evaluate, evaluate_sparse
from cotag.evaluation.protocols import OPTIONS, PROTOCOLS, Protocol, parse_options, protocol_of
from cotag.evaluation.targets import SparseTargets
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

# Label c is never predicted; d has no positive, and is unknown in image 1, where it is predicted.
#               a   b   c   d
LOGITS = [
    [2, 1, -1, -2],
    [3, -1, -2, 1],
    [1, 2, -1, -3],
    [-1, -2, -3, 1],
]
TARGETS = [
    [1, 0, 0, 0],
    [1, 1, 0, -1],
    [0, 1, 1, 0],
    [0, 0, 1, 0],
]


def scores_of(logits: Any, targets: Any) -> Scores:
    logits, targets = np.array(logits, dtype=np.float32), np.array(targets, dtype=np.int8)
    space = LabelSpace(tuple("abcdefgh"[: logits.shape[1]]))
    return Scores([str(row) for row in range(len(logits))], logits, targets, "logit", space)


def of(labels: int = 4, k: int | None = 2, decision: Decision | None = None, **options: Any) -> dict[str, float | None]:
    protocol = Protocol("by hand", **options)
    scores = scores_of([row[:labels] for row in LOGITS], [row[:labels] for row in TARGETS])
    return evaluate(scores, decision, protocol, k=k).metrics


def harmonic(first: float, second: float) -> float:
    return 2 / (1 / first + 1 / second)


def check(found: dict[str, float | None], **wanted: float) -> None:
    for name, value in wanted.items():
        assert found[name.replace("_at_", "@")] == pytest.approx(value, abs=1e-15), name


def test_the_default_by_hand() -> None:
    found = of()
    check(found, OP=3 / 6, OR=3 / 6, OF1=1 / 2, CP=7 / 18, CR=1 / 2, CF1=harmonic(7 / 18, 1 / 2))
    check(found, macro_F1=(4 / 5 + 2 / 4 + 0) / 3, hamming_loss=6 / 15, subset_accuracy=0)
    check(found, OP_at_2=4 / 8, OR_at_2=4 / 6, CP_at_2=(2 / 4 + 2 / 3 + 0) / 3, CR_at_2=2 / 3)
    assert found["mR@2"] == found["mR@2_skip"] == pytest.approx(2 / 3)
    assert found["mR@2_zero"] == pytest.approx(2 / 4)
    assert found["R@2"] == pytest.approx(4 / 6)
    # AP of a, b, c: ranks 1 and 2; 1 and 3; 2 (with image 0) and 4.
    check(found, mAP=(1 + (1 + 2 / 3) / 2 + (1 / 2 + 2 / 4) / 2) / 3)


def test_a_label_that_is_never_predicted() -> None:
    check(of(never_predicted="phantom"), OP=3 / 7, CP=7 / 18, OR=3 / 6)
    check(of(never_predicted="zero"), OP=3 / 6, CP=7 / 18, OR=3 / 6)
    # Among the two highest a stands 4 times, b 3 times, d once where it is known, and c never: once, as a phantom.
    check(of(never_predicted="phantom"), OP_at_2=4 / 9)
    check(of(never_predicted="zero"), OP_at_2=4 / 8)


def test_labels_without_positives() -> None:
    check(of(no_positives="zero"), CP=7 / 24, CR=3 / 8, macro_F1=(4 / 5 + 2 / 4) / 4, OP=3 / 6)
    assert of(no_positives="zero")["mR@2"] == of()["mR@2_zero"]
    assert of(no_positives="zero")["mAP"] == of()["mAP"]
    with pytest.raises(ScoresError, match="protocol by hand: no known positive for d"):
        of(no_positives="error")
    assert of(labels=3, no_positives="error") == of(labels=3)


def test_unknown_targets() -> None:
    check(of(unknown="negative"), OP=3 / 7, OR=3 / 6, hamming_loss=7 / 16, OP_at_2=3 / 8, OR_at_2=3 / 6)
    assert of(unknown="negative")["mAP"] == of()["mAP"]


def test_an_unknown_target_of_a_label_that_has_positives() -> None:
    # a is given to both images, is right in the first and unknown in the second, where it ranks above b.
    scores = scores_of([[1, -1], [2, 1]], [[1, 0], [-1, 1]])
    skipped, negative = (
        evaluate(scores, protocol=Protocol("by hand", unknown=how), k=1).metrics for how in OPTIONS["unknown"]
    )
    check(skipped, OP=2 / 2, CP=(1 + 1) / 2, macro_F1=1, subset_accuracy=2 / 2, hamming_loss=0 / 3, R_at_1=2 / 2)
    check(negative, OP=2 / 3, CP=(1 / 2 + 1) / 2, macro_F1=(2 / 3 + 1) / 2, subset_accuracy=1 / 2, hamming_loss=1 / 4)
    # The one place of the second image is taken by a, or by b where a takes none.
    check(negative, R_at_1=1 / 2, mAP=1)
    check(skipped, mAP=1)


def test_a_threshold_is_inclusive() -> None:
    logits = scores_of([[0], [np.nextafter(np.float32(0), np.float32(-1))]], [[1], [1]])
    check(evaluate(logits).metrics, OR=1 / 2)
    halves = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(0))]], dtype=np.float32)
    probabilities = Scores(logits.ids, halves, logits.targets_NK, "probability", logits.label_space)
    check(evaluate(probabilities).metrics, OR=1 / 2)


def test_the_challenge_of_psg_by_hand() -> None:
    # Of the three highest a hits 2 of its 2 images, b 2 of 2, c 1 of 2 (it is last in image 3), and d has none.
    found = evaluate(scores_of(LOGITS, TARGETS), protocol="psg").metrics
    assert found["mR@3"] == found["mR@3_zero"] == pytest.approx((1 + 1 + 1 / 2 + 0) / 4)
    assert found["mR@3_skip"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert found["R@3"] == pytest.approx(5 / 6)


def test_class_f1() -> None:
    found = of(class_f1="mean")
    assert found["CF1"] == found["macro_F1"] == pytest.approx((4 / 5 + 2 / 4) / 3)
    assert found["CF1@2"] == found["macro_F1@2"] == pytest.approx((4 / 6 + 4 / 5) / 3)


def test_rules_of_the_k_highest() -> None:
    check(of(k=1, top_k_rule="score_and_threshold"), OP_at_1=3 / 4, OR_at_1=3 / 6, OP=3 / 6)
    check(of(top_k_rule="score_and_threshold"), OP_at_2=3 / 6, OR_at_2=3 / 6)
    check(of(top_k_rule="score"), OP_at_2=4 / 8, OR_at_2=4 / 6)
    # Recall at k looks at the rank alone.
    assert of(top_k_rule="score_and_threshold")["R@2"] == of()["R@2"] == pytest.approx(4 / 6)


@pytest.mark.parametrize("rule", ["score", "score_and_threshold"])
def test_labels_that_are_given_by_rank(rule: str) -> None:
    found = of(k=None, top_k=2, top_k_rule=rule)
    for name in ("CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1"):
        assert found[name] == found[f"{name}@2"] == of(top_k_rule=rule)[f"{name}@2"]
    with pytest.raises(SettingError, match="k = 3: protocol by hand is of k = 2"):
        of(k=3, top_k=2)


def test_a_decision_that_is_given_decides() -> None:
    low = Decision(threshold=0.25)
    check(of(decision=low), OP=5 / 10, OR=5 / 6)
    # Over the lower threshold, and among the two highest of their image; or by the decision alone.
    check(of(k=None, decision=low, top_k=2, top_k_rule="score_and_threshold"), OP=4 / 8, OR=4 / 6)
    check(of(k=None, decision=low, top_k=2), OP=5 / 10, OR=5 / 6)


def test_variants_of_average_precision_are_used() -> None:
    check(of(average_precision="voc_envelope"), mAP=(1 + (1 + 2 / 3) / 2 + 1 / 2) / 3)
    check(of(average_precision="voc07"), mAP=(1 + (6 * 1 + 5 * 2 / 3) / 11 + 1 / 2) / 3)


def test_images_that_are_all_right() -> None:
    found = evaluate(scores_of([[1, -1], [1, -1], [-1, 5], [1, 1]], [[1, 0], [0, 0], [0, -1], [-1, -1]])).metrics
    assert found["subset_accuracy"] == pytest.approx(2 / 3)
    assert found["hamming_loss"] == pytest.approx(1 / 5)


def test_weighted_mean() -> None:
    report = evaluate(scores_of(LOGITS, [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0]]))
    ap = [label["AP"] for label in report.labels[:3]]
    assert report.metrics["mAP_weighted"] == pytest.approx((3 * ap[0] + 2 * ap[1] + 2 * ap[2]) / 7)


def test_shipped_protocols() -> None:
    assert list(PROTOCOLS) == ["default", "mlgcn", "mlgcn-top3", "mmpretrain", "psg", "voc07"]
    three = scores_of(np.array(LOGITS)[:, :3], np.array(TARGETS)[:, :3])

    def found(name: str, scores: Scores = three) -> dict[str, float | None]:
        return evaluate(scores, protocol=name).metrics

    check(found("default"), OP=3 / 5)
    check(found("mlgcn"), OP=3 / 6, CF1=harmonic(7 / 18, 1 / 2))
    check(found("mmpretrain"), CF1=(4 / 5 + 2 / 4) / 3)
    whole = scores_of(LOGITS, TARGETS)
    assert found("psg", whole)["mR@3"] == found("psg", whole)["mR@3_zero"] == found("psg", whole)["CR"]
    assert found("voc07")["mAP"] == of(labels=3, average_precision="voc07")["mAP"]
    top3 = evaluate(whole, protocol=protocol_of("mlgcn-top3").changed(no_positives="skip")).metrics
    assert top3["OF1"] == top3["OF1@3"]


def test_every_number_carries_its_protocol() -> None:
    scores = scores_of(np.array(LOGITS)[:, :3], np.array(TARGETS)[:, :3])
    for name in PROTOCOLS:
        assert evaluate(scores, protocol=name).protocol.startswith(f"{name} (")
    changed = protocol_of("default").changed(**parse_options(["average_precision=voc_envelope", "top_k=2"]))
    assert changed.name == "default with average_precision = voc_envelope, top_k = 2"
    report = evaluate(scores, protocol=changed)
    assert "voc_envelope AP" in report.protocol
    assert report.protocol.endswith("; a label is given among the 2 highest")
    assert {label["threshold"] for label in report.labels} == {None}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: protocol_of("ml-gcn"), "protocol 'ml-gcn' is not known; did you mean mlgcn"),
        (lambda: Protocol(unknown="ignore"), "unknown = 'ignore'; allowed: skip, negative"),
        (lambda: Protocol().changed(topk=3), "no option 'topk'; did you mean top_k"),
        (lambda: Protocol(top_k=0), "top_k = 0; give 1 or more"),
        (lambda: parse_options(["top_k"]), "expected key=value"),
        (lambda: parse_options(["top_k=x"]), "a whole number or none"),
        (lambda: of(k=0), "k = 0: give 1 or more"),
    ],
)
def test_what_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        wrong()


def drawn(seed: int, samples: int = 30, labels: int = 6, phantoms: bool = False) -> Scores:
    random = np.random.default_rng(seed)
    targets = random.choice([-1, 0, 1], (samples, labels), p=[0.1, 0.6, 0.3])
    # All scores differ: of tied labels the first one ranks higher, so their order would count.
    logits = random.permutation(targets.size).reshape(targets.shape) / targets.size * 4 - 2
    if phantoms:
        # A label that is never given would count once, however often its images are repeated.
        targets[0], logits[0] = 1, 2 + np.arange(labels)
        logits[1:, :] -= 0.5
    return scores_of(logits, targets)


def close(first: Report, second: Report) -> None:
    assert first.metrics == pytest.approx(second.metrics, abs=1e-12, nan_ok=False)


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_order_and_copies_change_nothing(name: str, seed: int) -> None:
    scores, random = drawn(seed, phantoms=name.startswith("mlgcn")), np.random.default_rng(seed)
    found = evaluate(scores, protocol=name)
    rows, labels = random.permutation(30), random.permutation(6)
    assert evaluate(scores.subset(rows), protocol=name).to_json() == found.to_json()
    close(evaluate(scores_of(scores.scores_NK[:, labels], scores.targets_NK[:, labels]), protocol=name), found)
    twice = [np.repeat(table, 2, axis=0) for table in (scores.scores_NK, scores.targets_NK)]
    close(evaluate(scores_of(*twice), protocol=name), found)
    moved = evaluate(scores_of(scores.scores_NK**3, scores.targets_NK), protocol=name).metrics
    same = [metric for metric in moved if metric not in ("ECE", "Brier")]
    assert {metric: moved[metric] for metric in same} == pytest.approx({m: found.metrics[m] for m in same}, abs=1e-12)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_sparse_targets_give_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cotag.evaluation.images.CELLS", 6 * 7)
    scores = drawn(0)
    lists: list[np.ndarray] = []
    for value in (1, -1):
        rows, labels = np.nonzero(scores.targets_NK == value)
        lists += [np.searchsorted(rows, np.arange(31)), labels]
    targets = SparseTargets(lists[0], lists[1], 6, lists[2], lists[3])
    counts = [500, 5, 50, 0, 100, 20]
    found = evaluate_sparse(scores.scores_NK, targets, scores.label_space, "logit", None, name, None, counts)
    assert found.to_json() == evaluate(scores, None, name, None, counts).to_json()


def test_sparse_scores_must_be_finite() -> None:
    scores = drawn(0)
    targets = SparseTargets(np.arange(31), np.zeros(30, dtype=np.int32), 6)
    spoiled = scores.scores_NK.copy()
    spoiled[3, 2] = np.nan
    with pytest.raises(ScoresError, match="not finite"):
        evaluate_sparse(spoiled, targets, scores.label_space, "logit")
