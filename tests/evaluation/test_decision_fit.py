"""Fitted decisions against slow, obvious searches over every possible one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from cotag.errors import LabelSpaceError, SettingError
from cotag.evaluation.cross_fit import cross_fit
from cotag.evaluation.decision import Decision, highest, logits_of
from cotag.evaluation.decision_fit import ADJUSTING_RULES, SHRINKAGE, DecisionFit, totals
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.objective import Objective
from cotag.evaluation.offset_fit import fit_group_offset, fit_label_offsets
from cotag.evaluation.threshold_fit import fit_label_thresholds, fit_threshold
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

OBJECTIVES = [
    Objective("CF1"),
    Objective("OF1"),
    Objective("macro_F1"),
    Objective("precision", 0.7),
    Objective("recall", 0.8),
    Objective("cost", None, 1.0, 3.0),
]
SEEDS = range(12)


def drawn(seed: int, rows: int, size: int, kind: str = "logit", groups: tuple[str, ...] | None = None) -> Scores:
    """Scores in eighths, so that many are tied and differences are exact, with a tenth of the targets unknown."""
    random = np.random.default_rng(seed)
    targets = (random.random((rows, size)) < 0.4).astype(np.int8)
    values = np.round(8 * (random.normal(size=(rows, size)) + 1.2 * targets)) / 8
    if kind == "probability":
        values = np.round(1 / (1 + np.exp(-values)), 2)
    targets[random.random((rows, size)) < 0.1] = -1
    space = LabelSpace(tuple(f"l{k}" for k in range(size)), groups=groups)
    return Scores([str(row) for row in range(rows)], values, targets, kind, space)


def slow_value(given: np.ndarray, scores: Scores, objective: Objective) -> tuple[float, bool]:
    """The objective with plain loops, the higher the better; and whether its bound is kept."""
    correct, predicted, positives = [], [], []
    for k in range(given.shape[1]):
        cells = [(g, t) for g, t in zip(given[:, k], scores.targets_NK[:, k], strict=True) if t >= 0]
        correct.append(sum(g and t == 1 for g, t in cells))
        predicted.append(sum(g for g, _ in cells))
        positives.append(sum(t == 1 for _, t in cells))
    there = [k for k in range(len(positives)) if positives[k]]
    precision = [correct[k] / predicted[k] if predicted[k] else 0.0 for k in there]
    recall = [correct[k] / positives[k] for k in there]
    op = sum(correct) / sum(predicted) if sum(predicted) else 0.0
    overall = sum(correct) / sum(positives)

    def harmonic(a: float, b: float) -> float:
        return 2 * a * b / (a + b) if a + b else 0.0

    if objective.name == "CF1":
        return harmonic(sum(precision) / len(there), sum(recall) / len(there)), True
    if objective.name == "OF1":
        return harmonic(op, overall), True
    if objective.name == "macro_F1":
        return sum(harmonic(p, r) for p, r in zip(precision, recall, strict=True)) / len(there), True
    if objective.name == "mR":
        return sum(recall) / len(there), True
    if objective.name == "cost":
        wrong, missed = sum(predicted) - sum(correct), sum(positives) - sum(correct)
        return -(objective.false_positive * wrong + objective.false_negative * missed) / len(given), True
    assert objective.at_least is not None
    if objective.name == "precision":
        return overall, op >= objective.at_least - 1e-12
    return op, overall >= objective.at_least - 1e-12


def best(values: list[tuple[float, bool]]) -> float:
    """The best value that keeps its bound."""
    return max(value for value, kept in values if kept)


def limits_of(logits: np.ndarray) -> list[float]:
    """Every threshold that gives something else: each score itself, and one above all."""
    return [*np.unique(logits).tolist(), float(logits.max()) + 1]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_one_threshold_is_the_best_of_all(objective: Objective, kind: str) -> None:
    for seed in SEEDS:
        scores = drawn(seed, 12, 3, kind)
        logits = logits_of(scores)
        every = [slow_value(logits >= limit, scores, objective) for limit in limits_of(logits)]
        if not any(kept for _, kept in every):
            continue
        value, kept = slow_value(DecisionFit(objective, "threshold").fit(scores).apply(scores), scores, objective)
        assert kept
        assert value == pytest.approx(best(every), abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_label_thresholds_are_the_best_of_all(objective: Objective) -> None:
    reached = []
    for seed in SEEDS:
        scores = drawn(seed, 8, 3)
        logits = logits_of(scores)
        ways = itertools.product(*(limits_of(logits[:, k]) for k in range(3)))
        every = [slow_value(logits >= np.array(limits), scores, objective) for limits in ways]
        if not any(kept for _, kept in every):
            continue
        given = DecisionFit(objective, "label_thresholds", shrinkage=0).fit(scores).apply(scores)
        value, kept = slow_value(given, scores, objective)
        assert kept
        reached.append(best(every) - value)
    assert len(reached) > 8
    # Where labels depend on each other through two sums, the ascent may stop at a neighbor of the best.
    exact = objective.name in ("OF1", "macro_F1", "cost")
    assert max(reached) < (1e-12 if exact else 0.03)
    assert np.mean(np.array(reached) < 1e-12) >= (1 if exact else 0.75)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_k_and_threshold_are_the_best_of_all(objective: Objective) -> None:
    for seed in SEEDS:
        scores = drawn(seed, 10, 4)
        logits = logits_of(scores)
        every = [
            slow_value(highest(logits, k) & (logits >= limit), scores, objective)
            for k in range(1, 5)
            for limit in limits_of(logits)
        ]
        given = DecisionFit(objective, "top_k_and_threshold").fit(scores).apply(scores)
        value, kept = slow_value(given, scores, objective)
        if any(kept for _, kept in every):
            assert kept
            assert value == pytest.approx(best(every), abs=1e-12)
        plain = [slow_value(highest(logits, k), scores, objective) for k in range(1, 5)]
        if any(kept for _, kept in plain):
            given = DecisionFit(objective, "top_k").fit(scores).apply(scores)
            assert slow_value(given, scores, objective) == (pytest.approx(best(plain)), True)


@pytest.mark.parametrize("objective", [*OBJECTIVES, Objective("mR")], ids=lambda o: o.name)
@pytest.mark.parametrize("members", [(0,), (1, 3), (0, 1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_group_offset_is_the_best_of_all(objective: Objective, members: tuple[int, ...], k: int) -> None:
    for seed in range(6):
        scores = drawn(seed, 8, 4)
        logits, inside = logits_of(scores), np.isin(np.arange(4), members)
        # Scores are eighths and so are their differences: offsets of odd sixteenths meet every step between two.
        every = [
            slow_value(highest(logits + np.where(inside, offset, 0), k), scores, objective)
            for offset in np.arange(-8 + 1 / 16, 8, 1 / 8)
        ]
        if not any(kept for _, kept in every):
            continue
        offset, gain = fit_group_offset(logits, scores.targets_NK, inside, k, objective)
        shifted = logits + np.where(inside, offset, 0)
        value, kept = slow_value(highest(shifted, k), scores, objective)
        assert kept
        assert value == pytest.approx(best(every), abs=1e-12)
        assert gain == pytest.approx(value, abs=1e-12)


def test_no_offset_is_taken_where_none_gains() -> None:
    scores = drawn(0, 8, 4)
    nothing = np.where(scores.targets_NK == 1, 0, scores.targets_NK).astype(np.int8)
    offset, _ = fit_group_offset(logits_of(scores), nothing, np.arange(4) == 1, 2, Objective("mR"))
    shifted = logits_of(scores) + np.where(np.arange(4) == 1, offset, 0)
    assert abs(offset) <= 1 / 8
    assert (highest(shifted, 2) == highest(logits_of(scores), 2)).mean() > 0.9


@pytest.mark.parametrize("objective", [Objective("mR"), Objective("CF1")], ids=lambda o: o.name)
def test_label_offsets_come_near_the_best_of_all(objective: Objective) -> None:
    lost = []
    for seed in SEEDS:
        scores = drawn(seed, 10, 3)
        logits = logits_of(scores)
        grid = np.arange(-4 + 1 / 16, 4, 1 / 4)
        every = [
            slow_value(highest(logits + np.array([0, *rest]), 1), scores, objective)
            for rest in itertools.product(grid, grid)
        ]
        offsets = fit_label_offsets(logits, scores.targets_NK, np.zeros(3), 1, objective)
        lost.append(best(every) - slow_value(highest(logits + offsets, 1), scores, objective)[0])
        assert lost[-1] <= best(every) - slow_value(highest(logits, 1), scores, objective)[0] + 1e-12
    assert np.mean(lost) < 0.02


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_values_are_those_of_evaluate(objective: Objective) -> None:
    scores = drawn(3, 200, 6)
    decision = DecisionFit(objective).fit(scores)
    found = totals(decision.apply(scores), scores.targets_NK)
    metrics = evaluate(scores, decision).metrics
    value, _ = slow_value(decision.apply(scores), scores, objective)
    sign = -1 if objective.name == "cost" else 1
    assert sign * float(objective.value(found)) == pytest.approx(value, abs=1e-12)
    if objective.measured in metrics:
        assert float(objective.value(found)) == pytest.approx(metrics[objective.measured], abs=1e-12)
    if objective.bounded:
        assert float(objective.bound(found)) == pytest.approx(metrics[objective.bounded], abs=1e-12)


def test_the_thresholds_of_many_labels_lose_next_to_nothing() -> None:
    scores = drawn(5, 300, 40)
    logits, objective = logits_of(scores), Objective("CF1")
    thresholds = fit_label_thresholds(logits, scores.targets_NK, objective)
    reached = float(objective.value(totals(logits >= thresholds, scores.targets_NK)))
    # Every way has CF1 <= 2 (w^2 CP + (1 - w)^2 CR), for any w; that is largest where each label is at its own best.
    ways = []
    for k in range(40):
        parts = [totals(logits[:, [k]] >= cut, scores.targets_NK[:, [k]]) for cut in limits_of(logits[:, k])]
        ways.append(np.array([[float(part.precision), float(part.recall)] for part in parts]))
    weights = np.linspace(0.05, 0.95, 181)
    bound = min(np.mean([(2 * way @ np.array([w**2, (1 - w) ** 2])).max() for way in ways]) for w in weights)
    assert bound - 0.002 < reached <= bound + 1e-12


# Shrinkage


def test_few_positives_are_shrunk_toward_the_group_and_none_take_its_value() -> None:
    scores = drawn(7, 60, 6, groups=("a", "a", "a", "b", "b", "b"))
    scores.targets_NK[:, 5] = np.minimum(scores.targets_NK[:, 5], 0)
    scores.targets_NK[2:, 4] = 0
    scores.targets_NK[:2, 4] = 1
    logits, objective = logits_of(scores), Objective("macro_F1")
    own = fit_label_thresholds(logits, scores.targets_NK, objective)
    overall, _ = fit_threshold(logits, scores.targets_NK, objective)
    group, _ = fit_threshold(logits[:, 3:], scores.targets_NK[:, 3:], objective)
    positives = (scores.targets_NK == 1).sum(0)
    weight = positives[3:].sum() / (positives[3:].sum() + SHRINKAGE)
    toward = weight * group + (1 - weight) * overall
    found = DecisionFit(objective).fit(scores).logit_thresholds
    assert found is not None
    assert found[5] == pytest.approx(toward)
    assert found[4] == pytest.approx(2 / 12 * own[4] + 10 / 12 * toward)
    unshrunk = DecisionFit(objective, shrinkage=0).fit(scores).logit_thresholds
    assert unshrunk is not None
    assert unshrunk[:5] == pytest.approx(own[:5])
    assert unshrunk[5] == pytest.approx(group)


def test_offsets_are_shrunk_toward_that_of_the_infrequent() -> None:
    scores = drawn(8, 80, 4)
    how = {"objective": Objective("mR"), "k": 1, "infrequent": ("l2", "l3")}
    group = DecisionFit(rule="group_offset", **how).fit(scores).adjustment
    near = DecisionFit(rule="label_offsets", shrinkage=1e9, **how).fit(scores).adjustment
    free = DecisionFit(rule="label_offsets", shrinkage=0, **how).fit(scores).adjustment
    assert group is not None
    assert near is not None
    assert free is not None
    assert group.values[:2] == (0.0, 0.0)
    assert group.values[2] == group.values[3] != 0
    assert near.values == pytest.approx(group.values, abs=1e-6)
    assert free.values != pytest.approx(group.values, abs=1e-6)


def multiplied(scores: Scores, factors: list[float], k: int) -> np.ndarray:
    """Which labels are among the k highest products, of equal ones the first; image by image."""
    found = []
    for row in scores.probabilities().astype(np.float64).tolist():
        products = [p * m for p, m in zip(row, factors, strict=True)]
        order = sorted(range(len(row)), key=lambda label: (-products[label], label))
        found.append([label in order[:k] for label in range(len(row))])
    return np.array(found)


@pytest.mark.parametrize("objective", [Objective("mR"), Objective("CF1"), Objective("OF1")], ids=lambda o: o.name)
@pytest.mark.parametrize("members", [(0,), (1, 3), (0, 1, 2)])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_a_group_multiplier_is_the_best_of_all(
    objective: Objective, members: tuple[int, ...], k: int, kind: str
) -> None:
    """Against every product at which something changes, and between."""
    for seed in SEEDS[:4]:
        scores = drawn(seed, 9, 4, kind)
        # Without ties between products, of which a product and a sum of logarithms might round differently.
        noise = 1 + 1e-3 * np.random.default_rng(seed).random(scores.scores_NK.shape)
        scores = Scores(scores.ids, scores.scores_NK * noise / 1.01, scores.targets_NK, kind, scores.label_space)
        p_NK = scores.probabilities()
        ratios = sorted(
            {row[b] / row[a] for row in p_NK.tolist() for a in members for b in set(range(4)) - set(members)}
        )
        tried = [1.0, ratios[0] / 2, ratios[-1] * 2, *((a * b) ** 0.5 for a, b in itertools.pairwise(ratios))]
        wanted = best(
            [
                slow_value(multiplied(scores, [m if n in members else 1.0 for n in range(4)], k), scores, objective)
                for m in tried
            ]
        )
        how = DecisionFit(objective, "group_multiplier", k, infrequent=tuple(f"l{n}" for n in members))
        decision = how.fit(scores)
        assert decision.adjustment is not None
        assert decision.adjustment.scale == "multipliers"
        given = decision.apply(scores)
        assert slow_value(given, scores, objective)[0] == pytest.approx(wanted, abs=1e-9)
        assert np.array_equal(given, multiplied(scores, list(decision.adjustment.values), k))


def test_multipliers_are_of_the_infrequent_labels_alone_and_shrunk_toward_theirs() -> None:
    scores = drawn(8, 80, 4)
    how = {"objective": Objective("mR"), "k": 1, "infrequent": ("l2", "l3")}
    group = DecisionFit(rule="group_multiplier", **how).fit(scores).adjustment
    near = DecisionFit(rule="label_multipliers", shrinkage=1e9, **how).fit(scores).adjustment
    free = DecisionFit(rule="label_multipliers", shrinkage=0, **how).fit(scores).adjustment
    assert group is not None
    assert near is not None
    assert free is not None
    assert group.values[:2] == (1.0, 1.0)
    assert group.values[2] == group.values[3] != 1
    assert near.values == pytest.approx(group.values, rel=1e-6)
    assert free.values != pytest.approx(group.values, rel=1e-6)


def test_a_multiplier_that_is_given_is_taken_as_it_is() -> None:
    scores = drawn(3, 40, 4)
    positives = (scores.targets_NK == 1).sum(0)
    decision = DecisionFit(Objective("mR"), "group_multiplier", 2, multiplier=1.2).fit(scores)
    assert decision.adjustment is not None
    fewest = set(np.argsort(positives, kind="stable")[:2].tolist())
    assert decision.adjustment.values == tuple(1.2 if label in fewest else 1.0 for label in range(4))
    assert not decision.fitted


# Labels that a data set does not evaluate


def with_vague(scores: Scores, groups: tuple[str, ...] = ("not evaluated", "x", "x", "not evaluated")) -> Scores:
    space = LabelSpace(scores.label_space.names, groups=groups)
    return Scores(scores.ids, scores.scores_NK, scores.targets_NK, scores.kind, space)


RULES_WITH_K = {"top_k": 2, "top_k_and_threshold": 2, "group_multiplier": 2, "label_offsets": 2, "threshold": None}


@pytest.mark.parametrize("rule", list(RULES_WITH_K))
def test_evaluated_only_fits_the_evaluated_labels_and_never_gives_the_others(rule: str) -> None:
    scores = with_vague(drawn(5, 60, 4))
    some = scores.of_labels(np.array([False, True, True, False]))
    k = RULES_WITH_K[rule]
    decision = DecisionFit(Objective("CF1"), rule, k, evaluated_only=True).fit(scores)
    alone = DecisionFit(Objective("CF1"), rule, k).fit(some)
    assert decision.excluded == ("l0", "l3")
    assert decision.label_space == scores.label_space
    given = decision.apply(scores)
    assert not given[:, [0, 3]].any()
    assert np.array_equal(given[:, [1, 2]], alone.apply(some))
    assert Decision.from_json(decision.to_json(), scores.label_space).apply(scores).tolist() == given.tolist()
    found, same = (
        cross_fit(one, DecisionFit(Objective("CF1"), rule, k, evaluated_only=only), resamples=20)
        for one, only in ((scores, True), (some, False))
    )
    assert found.cross_fitted.value == same.cross_fitted.value
    assert found.naive.value == same.naive.value
    assert found.plain["top 3"].value == same.plain["top 3"].value


@pytest.mark.parametrize(("groups", "which"), [(("x",) * 4, "all"), (("not evaluated",) * 4, "none")])
def test_evaluated_only_needs_labels_that_are_evaluated_and_others(groups: tuple[str, ...], which: str) -> None:
    scores = with_vague(drawn(5, 20, 4), groups)
    with pytest.raises(SettingError, match=f"and {which} of these labels are evaluated; leave it out"):
        DecisionFit(Objective("mR"), "top_k", 3, evaluated_only=True).fit(scores)


# What is at the edge


def edge(values: list[list[float]], targets: list[list[int]]) -> Scores:
    space = LabelSpace(tuple(f"l{k}" for k in range(len(values[0]))))
    return Scores([str(n) for n in range(len(values))], np.array(values, "float32"), np.array(targets), "logit", space)


EDGES = {
    "one row": edge([[1.0, -1.0, 0.5]], [[1, 0, 0]]),
    "one label": edge([[1.0], [0.5], [-1.0]], [[1], [0], [1]]),
    "one cell": edge([[1.0]], [[1]]),
    "all scores the same": edge([[0.0, 0.0]] * 4, [[1, 0], [0, 1], [1, 0], [0, 0]]),
    "a label without positives": edge([[1.0, 2.0], [0.0, 1.0], [2.0, 0.0]], [[1, 0], [0, 0], [1, 0]]),
    "a label that is not known": edge([[1.0, 2.0], [0.0, 1.0], [2.0, 0.0]], [[1, -1], [0, -1], [1, -1]]),
    "everything present": edge([[1.0, 2.0], [0.0, 1.0]], [[1, 1], [1, 1]]),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("rule", ["threshold", "label_thresholds", "top_k", "top_k_and_threshold"])
def test_every_edge_is_decided(name: str, rule: str) -> None:
    for objective in OBJECTIVES:
        decision = DecisionFit(objective, rule).fit(EDGES[name])
        assert np.isfinite(slow_value(decision.apply(EDGES[name]), EDGES[name], objective)[0])


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("rule", list(ADJUSTING_RULES))
def test_every_edge_is_ranked(name: str, rule: str) -> None:
    for objective in (*OBJECTIVES, Objective("mR")):
        given = DecisionFit(objective, rule, k=2).fit(EDGES[name]).apply(EDGES[name])
        assert (given.sum(1) == min(2, given.shape[1])).all()


def test_two_images_can_be_cross_fitted_and_one_cannot() -> None:
    found = cross_fit(edge([[1.0], [0.5]], [[1], [1]]), DecisionFit(Objective("OF1")), folds=2, resamples=5)
    assert 0 <= found.cross_fitted.value <= 1
    with pytest.raises(SettingError, match=r"fold \d of 3 holds every known positive"):
        cross_fit(edge([[1.0], [0.5], [0.2]], [[1], [0], [0]]), DecisionFit(Objective("OF1")), folds=3)
    with pytest.raises(SettingError, match="1 images cannot be put into 5 folds"):
        cross_fit(EDGES["one row"], DecisionFit(Objective("OF1")))


def test_a_bound_that_cannot_be_kept_is_come_near() -> None:
    scores = edge([[3.0], [2.0], [1.0]], [[0], [1], [0]])
    found = cross_fit(edge([[3.0], [2.0], [1.0]] * 4, [[0], [1], [0]] * 4), DecisionFit(Objective("precision", 0.9)), 2)
    assert found.naive.bound == pytest.approx(0.5)
    assert DecisionFit(Objective("precision", 0.9), "threshold").fit(scores).apply(scores).sum() == 2


def test_nothing_to_fit_on_is_refused() -> None:
    with pytest.raises(SettingError, match="no known positive"):
        DecisionFit(Objective("OF1")).fit(edge([[1.0], [0.5]], [[0], [-1]]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rule": "label_treshold"}, "rule 'label_treshold' is not known; did you mean label_thresholds"),
        ({"k": 3}, "rule label_thresholds with k = 3"),
        ({"rule": "top_k", "k": 0}, "rule top_k with k = 0"),
        ({"rule": "group_offset"}, "rule group_offset needs k"),
        ({"rule": "threshold", "shrinkage": 3.0}, "rule threshold shrinks nothing"),
        ({"shrinkage": -1.0}, "shrinkage = -1.0"),
        ({"infrequent": ("l0",)}, "has no infrequent labels"),
        ({"multiplier": 1.2}, "rule label_thresholds takes no multiplier"),
        ({"rule": "label_multipliers", "k": 3, "multiplier": 1.2}, "rule label_multipliers takes no multiplier"),
        ({"rule": "group_multiplier", "k": 3, "multiplier": 0.0}, "multiplier = 0: give a number above 0"),
        ({"rule": "group_multiplier", "k": 3, "multiplier": -1.5}, "multiplier = -1.5: give a number above 0"),
        ({"rule": "group_multiplier"}, "rule group_multiplier needs k"),
        ({"objective": Objective("mR"), "rule": "label_thresholds"}, "objective mR@k goes with"),
    ],
)
def test_what_would_be_ignored_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        DecisionFit(**{"objective": Objective("CF1"), **settings})


def test_an_unknown_infrequent_label_is_named() -> None:
    with pytest.raises(LabelSpaceError, match="label 'l9' is not among the 3 labels"):
        DecisionFit(Objective("mR"), "group_offset", 1, infrequent=("l9",)).fit(drawn(0, 9, 3))


def test_what_was_fitted_says_how() -> None:
    decision = DecisionFit(Objective("precision", 0.7)).fit(drawn(0, 30, 3))
    assert isinstance(decision, Decision)
    assert decision.fitted == {
        "objective": "OR at OP >= 0.7", "rule": "label_thresholds", "images": 30, "shrinkage": 10.0,
    }  # fmt: skip
