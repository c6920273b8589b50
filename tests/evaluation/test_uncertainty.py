from __future__ import annotations

import numpy as np
import pytest

from cotag.errors import ScoresError, SettingError
from cotag.evaluation import uncertainty
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.protocols import PROTOCOLS, protocol_of
from cotag.evaluation.resampled import headline_names, headline_numbers
from cotag.evaluation.resampling import resample_counts
from cotag.evaluation.uncertainty import bootstrap_intervals, tail_place
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def scores_of(
    images: int = 70, labels: int = 7, seed: int = 0, unknown: float = 0.1, rarest: float = 0.1, strength: float = 1.2
) -> Scores:
    """Logits on a grid, so that some are tied, and targets of which some are unknown."""
    random = np.random.default_rng(seed)
    targets = (random.random((images, labels)) < np.geomspace(rarest, 0.5, labels)).astype(np.int8)
    logits = np.round(random.normal(size=targets.shape) + strength * targets - 0.5, 1)
    targets[random.random(targets.shape) < unknown] = -1
    return named(logits, targets)


def named(logits: np.ndarray, targets: np.ndarray) -> Scores:
    space = LabelSpace(tuple(f"l{k}" for k in range(targets.shape[1])))
    return Scores([str(row) for row in range(len(targets))], logits, targets, "logit", space)


def repeated(scores: Scores, counts: np.ndarray) -> Scores:
    rows = np.repeat(np.arange(len(scores)), counts.astype(int))
    return named(scores.scores_NK[rows], scores.targets_NK[rows])


# The numbers of the resamples


@pytest.mark.parametrize("decision", [None, Decision(threshold=0.6), Decision("top_k", k=2)])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_number_is_that_of_the_repeated_rows(name: str, decision: Decision | None) -> None:
    scores, protocol = scores_of(), protocol_of(name)
    counts = resample_counts(scores.targets_NK == 1, 6, np.random.default_rng(1))
    counts[:, 0] = 1
    found = headline_numbers(scores, decision, protocol, counts)
    assert tuple(found) == headline_names(protocol)
    assert {"mAP", "CF1", "OF1", "macro_F1", "CF1@3", "mR@3"} <= set(found)
    for place in range(counts.shape[1]):
        wanted = evaluate(repeated(scores, counts[:, place]), decision, name).metrics
        for metric, values in found.items():
            assert values[place] == pytest.approx(wanted[metric], abs=1e-12, rel=0), metric


def test_only_the_numbers_asked_for() -> None:
    scores, protocol = scores_of(), protocol_of("default")
    counts = np.ones((len(scores), 2), dtype=np.float32)
    everything = headline_numbers(scores, None, protocol, counts)
    for name in everything:
        found = headline_numbers(scores, None, protocol, counts, [name])
        assert list(found) == [name]
        np.testing.assert_array_equal(found[name], everything[name])


# Intervals


def test_intervals_are_those_of_slow_resampling() -> None:
    scores = scores_of(unknown=0, rarest=0.3)
    found = bootstrap_intervals(scores, resamples=400)
    random, drawn = np.random.default_rng(7), []
    # with 15 and more positives no stratum is needed: a plain draw of rows
    for _ in range(400):
        rows = random.integers(0, len(scores), len(scores))
        drawn.append(evaluate(named(scores.scores_NK[rows], scores.targets_NK[rows])).metrics)
    values = evaluate(scores).metrics
    for name in ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1"):
        slow = np.array([one[name] for one in drawn], dtype=float)
        spread = slow.std()
        low, high = np.quantile(slow, [0.025, 0.975]) - slow.mean() + float(values[name] or 0)
        assert found[name] == pytest.approx((low, high), abs=0.6 * spread)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_interval_holds_its_number_and_lies_between_0_and_1(name: str) -> None:
    scores = scores_of(seed=3)
    values = evaluate(scores, protocol=name).metrics
    found = bootstrap_intervals(scores, protocol=name, resamples=200)
    assert tuple(found) == headline_names(protocol_of(name))
    for metric, (low, high) in found.items():
        assert 0 <= low < values[metric] < high <= 1


def test_the_seed_decides_and_parts_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = scores_of(unknown=0, rarest=0.3)
    first = bootstrap_intervals(scores, resamples=100, seed=5)
    assert bootstrap_intervals(scores, resamples=100, seed=5) == first
    assert bootstrap_intervals(scores, resamples=100, seed=6) != first
    monkeypatch.setattr(uncertainty, "MOST_COUNTS", 40 * len(scores))
    parts = bootstrap_intervals(scores, resamples=100, seed=5)
    for name, interval in first.items():
        assert parts[name] == pytest.approx(interval, abs=0.05)


def test_a_higher_level_is_wider_and_more_images_are_narrower() -> None:
    scores = scores_of(80)
    narrow, wide = (bootstrap_intervals(scores, resamples=400, level=level)["mAP"] for level in (0.8, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    low, high = bootstrap_intervals(scores_of(1280), resamples=400, level=0.99)["mAP"]
    assert high - low < 0.5 * (wide[1] - wide[0])


@pytest.mark.parametrize(("rarest", "strength", "wanted"), [(0.04, 0.6, 0.90), (0.04, 2.0, 0.88), (0.3, 1.2, 0.90)])
def test_coverage_is_near_nominal(rarest: float, strength: float, wanted: float) -> None:
    def draw(seed: int) -> Scores:
        return scores_of(150, 8, seed, 0, rarest, strength)

    truth: dict[str, float] = {
        name: float(np.mean([evaluate(draw(seed)).metrics[name] or 0 for seed in range(10_000, 10_200)]))
        for name in ("mAP", "CF1", "OF1")
    }
    held = dict.fromkeys(truth, 0)
    for seed in range(120):
        found = bootstrap_intervals(draw(seed), resamples=99, seed=seed)
        for name, value in truth.items():
            held[name] += found[name][0] <= value <= found[name][1]
    assert min(held.values()) / 120 >= wanted, held


# Odd input


def test_nothing_that_defines_a_number_is_no_interval() -> None:
    empty = named(np.zeros((5, 2)), np.zeros((5, 2), dtype=np.int8))
    assert bootstrap_intervals(empty) == {}
    unknown = named(np.zeros((5, 2)), np.full((5, 2), -1, dtype=np.int8))
    assert bootstrap_intervals(unknown) == {}


def test_another_k_is_that_of_evaluate() -> None:
    scores = scores_of()
    values = evaluate(scores, k=2).metrics
    found = bootstrap_intervals(scores, resamples=99, k=2)
    assert {"mR@2", "CF1@2"} <= found.keys() <= values.keys()
    for name, (low, high) in found.items():
        assert low <= (values[name] or 0) <= high


def test_one_image_has_no_interval_and_one_label_has() -> None:
    scores = scores_of()
    assert bootstrap_intervals(scores.subset([0])) == {}
    assert 0 < bootstrap_intervals(scores_of(60, 1, rarest=0.5))["mAP"][0] < 1


def test_a_label_without_positives_is_left_out_or_an_error() -> None:
    scores = scores_of(unknown=0)
    targets = scores.targets_NK.copy()
    targets[:, 0] = 0
    part = named(scores.scores_NK[:, 1:], targets[:, 1:])
    whole = named(scores.scores_NK, targets)
    assert bootstrap_intervals(whole, resamples=99)["mAP"] == bootstrap_intervals(part, resamples=99)["mAP"]
    with pytest.raises(ScoresError, match="l0"):
        bootstrap_intervals(whole, protocol="mlgcn")


def test_not_a_number_never_gets_so_far() -> None:
    with pytest.raises(ScoresError, match="must be a logit: a finite number"):
        named(np.array([[np.nan]]), np.array([[1]]))


def test_too_few_resamples_and_other_levels_are_refused() -> None:
    assert (tail_place(39, 0.95), tail_place(999, 0.95), tail_place(1000, 0.95), tail_place(9, 0.8)) == (0, 24, 24, 0)
    with pytest.raises(SettingError, match=r"resamples = 38: too few for level 0.95; give 39 or more"):
        bootstrap_intervals(scores_of(), resamples=38)
    with pytest.raises(SettingError, match="level = 95"):
        bootstrap_intervals(scores_of(), level=95)
    with pytest.raises(SettingError, match="did you mean default"):
        bootstrap_intervals(scores_of(), protocol="defualt")
