"""Labels that a data set does not evaluate, under the protocol of PSG; and the order in which decisions rank labels."""

from __future__ import annotations

import numpy as np
import pytest

from cotag.errors import LabelSpaceError
from cotag.evaluation.adjustment import Adjustment
from cotag.evaluation.comparison import compare
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import evaluate, evaluate_sparse
from cotag.evaluation.targets import SparseTargets
from cotag.evaluation.uncertainty import bootstrap_intervals
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def with_vague(seed: int, kind: str = "logit") -> Scores:
    """Seven labels, of which the first and the last are not evaluated; in every image the first scores highest."""
    random = np.random.default_rng(seed)
    targets = (random.random((60, 7)) < 0.3).astype(np.int8)
    values = random.normal(size=(60, 7)) + 1.5 * targets
    values[:, 0] = 6.0
    if kind == "probability":
        values = 1 / (1 + np.exp(-values))
    space = LabelSpace(tuple("abcdefg"), groups=("not evaluated", *("evaluated",) * 5, "not evaluated"))
    return Scores([str(row) for row in range(60)], values, targets, kind, space)


def alone(scores: Scores) -> Scores:
    return Scores(
        scores.ids, scores.scores_NK[:, 1:6], scores.targets_NK[:, 1:6], scores.kind, LabelSpace(tuple("bcdef"))
    )


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_psg_judges_the_evaluated_labels_as_if_there_were_no_others(kind: str) -> None:
    scores = with_vague(1, kind)
    counts = np.array([500, 3, 50, 200, 10, 60, 900])
    found = evaluate(scores, protocol="psg", train_counts=counts)
    wanted = evaluate(alone(scores), protocol="psg", train_counts=counts[1:6])
    assert found.metrics == wanted.metrics
    assert found.labels == wanted.labels
    assert found.coverage == wanted.coverage == "mAP, CP and CR over all 5 labels"
    assert "labels that are not evaluated left out" in found.protocol
    # The highest label of every image takes a place of the three where all are judged.
    assert evaluate(scores, k=3).metrics["mR@3"] != found.metrics["mR@3"]


def test_psg_intervals_and_comparisons_leave_the_same_labels_out() -> None:
    scores, other = with_vague(1), with_vague(1)
    noise = np.random.default_rng(5).normal(size=scores.scores_NK.shape)
    other = Scores(scores.ids, scores.scores_NK + noise, scores.targets_NK, "logit", scores.label_space)
    assert bootstrap_intervals(scores, protocol="psg", resamples=50) == bootstrap_intervals(
        alone(scores), protocol="psg", resamples=50
    )
    found, wanted = (
        compare({"a": one, "b": two}, "mR@3", protocol="psg", resamples=50)
        for one, two in ((scores, other), (alone(scores), alone(other)))
    )
    assert found.baseline_value == wanted.baseline_value == evaluate(scores, protocol="psg").metrics["mR@3"]
    assert found.differences == wanted.differences


def test_sparse_targets_of_some_labels_are_judged_alike() -> None:
    scores = with_vague(2)
    scores.targets_NK[3, 2] = scores.targets_NK[5, 0] = -1
    lists: list[np.ndarray] = []
    for value in (1, -1):
        rows, labels = np.nonzero(scores.targets_NK == value)
        lists += [np.searchsorted(rows, np.arange(61)), labels]
    sparse = SparseTargets(lists[0], lists[1], 7, lists[2], lists[3])
    found = evaluate_sparse(scores.scores_NK, sparse, scores.label_space, "logit", protocol="psg")
    assert found.metrics == evaluate(scores, protocol="psg").metrics
    decision = Decision("top_k", k=3, label_space=scores.label_space, excluded=("a", "g"))
    given = evaluate_sparse(scores.scores_NK, sparse, scores.label_space, "logit", decision, "psg")
    assert given.to_json() == evaluate(scores, decision, "psg").to_json()


def test_without_such_groups_psg_judges_all_labels() -> None:
    scores = alone(with_vague(3))
    assert len(evaluate(scores, protocol="psg").labels) == 5


def test_labels_none_of_which_is_evaluated_are_refused() -> None:
    scores = with_vague(3)
    space = LabelSpace(scores.label_space.names, groups=("not evaluated",) * 7)
    none = Scores(scores.ids, scores.scores_NK, scores.targets_NK, "logit", space)
    with pytest.raises(LabelSpaceError, match="protocol psg: all labels are of the group 'not evaluated'"):
        evaluate(none, protocol="psg")


def test_the_k_highest_are_ranked_as_the_decision_ranks_them() -> None:
    scores = alone(with_vague(4))
    factors = Adjustment("multipliers", (1.0, 1.0, 1.0, 30.0, 30.0))
    decision = Decision("top_k", k=3, adjustment=factors, label_space=scores.label_space)
    found = evaluate(scores, decision, "psg").metrics
    given = decision.apply(scores)
    recalls = [
        (given[:, k] & (scores.targets_NK[:, k] == 1)).sum() / (scores.targets_NK[:, k] == 1).sum() for k in range(5)
    ]
    assert found["mR@3"] == found["CR"] == found["CR@3"] == pytest.approx(np.mean(recalls))
    assert found["mR@3"] != evaluate(scores, protocol="psg").metrics["mR@3"]
    # What asks for the order of the scores themselves is as it was.
    assert found["mAP"] == evaluate(scores, protocol="psg").metrics["mAP"]
    middle = bootstrap_intervals(scores, decision, "psg", resamples=50)["mR@3"]
    assert middle[0] < found["mR@3"] < middle[1]
