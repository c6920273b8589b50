from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from cotag.errors import ScoresError
from cotag.evaluation import repeated
from cotag.evaluation.comparison import Comparison
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import compare_repeated, compare_steps, pooled_spread, value_of
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

IMAGES, LABELS = 150, 3
SPACE = LabelSpace(tuple("abc"))


def trained(random: np.random.Generator, gains: Mapping[str, float], seeds: int, luck: float) -> Comparison:
    """Settings whose scores tell the labels by a strength of 1 + gain, which the luck of training changes."""
    targets = (random.random((IMAGES, LABELS)) < 0.3).astype(np.int8)
    hard = random.normal(size=targets.shape)
    named = {
        name: {
            seed: Scores(
                [str(row) for row in range(IMAGES)],
                (1.5 + gain + luck * random.normal()) * targets + hard + 0.2 * random.normal(size=targets.shape),
                targets, "logit", SPACE,
            )
            for seed in range(seeds)
        }
        for name, gain in gains.items()
    }  # fmt: skip
    return compare_repeated(named, "s0", resamples=200)


def announced(comparison: Comparison) -> list[str]:
    return [found.name for found in comparison.differences if found.verdict != "cannot be told apart"]


@pytest.mark.parametrize(("seeds", "luck"), [(5, 0.2), (5, 0.0), (2, 0.2)])
def test_equal_settings_are_seldom_told_apart(seeds: int, luck: float) -> None:
    """40 trainings of one setting, as 8 settings of 5 seeds or 20 of 2."""
    gains = {f"s{number}": 0.0 for number in range(40 // seeds if seeds > 2 else 8)}
    random = np.random.default_rng(0)
    wrong = sum(bool(announced(trained(random, gains, seeds, luck))) for _ in range(20))
    assert wrong <= 3  # P(X > 3) is 0.02 where each is wrong in 5 % of cases


def test_without_the_luck_of_training_they_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated, "_luck", lambda *given: 0.0)
    gains = {f"s{number}": 0.0 for number in range(8)}
    random = np.random.default_rng(0)
    assert sum(bool(announced(trained(random, gains, 5, 0.4))) for _ in range(10)) > 3


def test_a_better_setting_is_found() -> None:
    comparison = trained(np.random.default_rng(1), {"s0": 0.0, "s1": 0.0, "s2": 0.8, "s3": -0.8}, 5, 0.05)
    assert announced(comparison) == ["s2", "s3"]
    verdicts = [found.verdict for found in comparison.differences]
    assert verdicts[1:] == ["better", "worse"]
    for found in comparison.differences:
        low, high = found.interval
        assert low < found.difference < high
        assert (low > 0 or high < 0) == (found.name in announced(comparison))


def test_one_seed_gives_no_verdict() -> None:
    comparison = trained(np.random.default_rng(1), {"s0": 0.0, "s1": 5.0}, 1, 0.0)
    (found,) = comparison.differences
    assert found.verdict == "cannot be told apart"
    assert np.isnan(found.interval).all()
    assert found.difference > 0.1
    assert "One seed says nothing" in comparison.method


def test_the_spread_is_what_setting_and_seed_leave() -> None:
    """What a seed does to all settings alike, such as the images that choose, is no luck of one of them."""
    values = {"a": {0: 1.0, 1: 3.0}, "b": {0: 2.0, 1: 4.0}}
    assert pooled_spread(values) == (pytest.approx(0.0), 1)
    # A seed that one setting lacks does not count.
    by_hand = {"a": {0: 0.0, 1: 2.0, 2: 9.0}, "b": {0: 0.0, 1: 0.0}}
    assert pooled_spread(by_hand) == (pytest.approx(1.0), 1)
    assert pooled_spread({"a": {0: 1.0}, "b": {0: 1.0}}) == (0.0, 1)


def test_seeds_that_only_one_has_are_left_out() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((20, 3)) < 0.5).astype(np.int8)
    ids = [str(row) for row in range(20)]

    def scores() -> Scores:
        return Scores(ids, random.normal(size=(20, 3)), targets, "logit", SPACE)

    named = {"a": {0: scores(), 1: scores(), 2: scores()}, "b": {1: scores(), 2: scores()}}
    (found,) = compare_repeated(named, "a", resamples=200).differences
    values = {name: {s: repeated.value_of(one, "mAP", repeated.protocol_of("default")) for s, one in own.items()}
              for name, own in named.items()}  # fmt: skip
    assert found.difference == pytest.approx(np.mean([values["b"][s] - values["a"][s] for s in (1, 2)]))
    with pytest.raises(ScoresError, match="shares no seed with a"):
        compare_repeated({"a": {0: scores()}, "b": {1: scores()}}, "a")


def test_a_decision_of_its_own_for_each_training() -> None:
    random = np.random.default_rng(3)
    targets = (random.random((IMAGES, LABELS)) < 0.3).astype(np.int8)
    ids = [str(row) for row in range(IMAGES)]
    own = {
        seed: Scores(ids, 2 * targets + random.normal(size=targets.shape), targets, "logit", SPACE) for seed in (0, 1)
    }
    decisions = {"b": {0: Decision(threshold=0.9), 1: Decision(threshold=0.7)}}
    found = compare_repeated({"a": own, "b": own}, "a", "macro_F1", resamples=200, decisions=decisions)
    value = [
        [evaluate(own[seed], decision.get(seed)).metrics["macro_F1"] for seed in (0, 1)]
        for decision in ({}, decisions["b"])
    ]
    assert found.baseline_value == pytest.approx(np.mean(value[0]))
    assert found.differences[0].difference == pytest.approx(np.mean(value[1]) - np.mean(value[0]))
    assert found.differences[0].difference != 0


def test_steps_are_held_against_the_step_before() -> None:
    random = np.random.default_rng(5)
    targets = (random.random((IMAGES, LABELS)) < 0.3).astype(np.int8)
    ids = [str(row) for row in range(IMAGES)]
    hard = random.normal(size=targets.shape)

    def setting(gain: float) -> dict[int, Scores]:
        return {
            seed: Scores(ids, gain * targets + hard + 0.1 * random.normal(size=targets.shape), targets, "logit", SPACE)
            for seed in range(4)
        }

    named = {"start": setting(1.0), "better": setting(2.0), "same": setting(2.0), "worse": setting(1.2)}
    found = compare_steps(named, resamples=400)
    assert [one.name for one in found] == ["better", "same", "worse"]
    assert [one.verdict for one in found] == ["better", "cannot be told apart", "worse"]
    levels = [np.mean([value_of(one, "mAP", protocol_of("default")) for one in own.values()]) for own in named.values()]
    assert [one.difference for one in found] == pytest.approx(np.diff(levels))
    # Against one setting they are what ``compare_repeated`` finds, but for the correction.
    two = {name: named[name] for name in ("start", "better")}
    assert compare_steps(two, resamples=400)[0] == compare_repeated(two, "start", resamples=400).differences[0]
