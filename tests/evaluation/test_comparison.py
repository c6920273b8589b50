from __future__ import annotations

import numpy as np
import pytest

from cotag.errors import LabelSpaceError, ScoresError, SettingError
from cotag.evaluation.comparison import compare, holm, holm_levels, swap_interval, swap_p_value
from cotag.evaluation.decision import Decision
from cotag.evaluation.uncertainty import bootstrap_intervals
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def targets_of(images: int = 150, labels: int = 6, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random((images, labels)) < np.linspace(0.05, 0.5, labels)).astype(np.int8)


def scores_of(targets: np.ndarray, strength: float, seed: int, names: str = "abcdefghijk") -> Scores:
    logits = np.random.default_rng(seed).normal(size=targets.shape) + strength * targets
    space = LabelSpace(tuple(names[: targets.shape[1]]))
    return Scores([f"{row}.jpg" for row in range(len(targets))], logits, targets, "logit", space)


# Verdicts


@pytest.mark.parametrize("metric", ["mAP", "CF1", "OF1"])
def test_a_planted_effect_is_found_in_both_directions(metric: str) -> None:
    targets = targets_of()
    named = {"weak": scores_of(targets, 1.0, 1), "strong": scores_of(targets, 2.5, 2)}
    found = compare(named, metric, resamples=300).differences[0]
    assert (found.name, found.verdict) == ("strong", "better")
    assert 0 < found.interval[0] < found.difference < found.interval[1]
    other = compare(named, metric, baseline="strong", resamples=300).differences[0]
    assert (other.name, other.verdict) == ("weak", "worse")
    assert other.interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=1e-12)
    assert other.p == found.p


def test_methods_that_differ_by_noise_are_rarely_told_apart() -> None:
    verdicts = []
    for seed in range(40):
        targets = targets_of(120, 5, seed)
        common = scores_of(targets, 1.5, 1000 + seed)
        noise = np.random.default_rng(2000 + seed).normal(scale=0.5, size=(2, *targets.shape))
        named = {
            name: Scores(common.ids, common.scores_NK + part, targets, "logit", common.label_space)
            for name, part in zip("ab", noise, strict=True)
        }
        verdicts.append(compare(named, resamples=200, seed=seed).differences[0].verdict)
    # the level allows 2 of 40 on average; 7 or more would be rarer than 1 in 100
    assert verdicts.count("cannot be told apart") >= 34


def rare_pair(seed: int, shared: float, effect: float = 0.0) -> dict[str, Scores]:
    """Two methods with noise of their own, on labels of two to five positives."""
    random = np.random.default_rng(seed)
    targets = np.stack([random.permutation(120) < 2 + k % 4 for k in range(24)], axis=1).astype(np.int8)
    common, *own = random.normal(size=(3, *targets.shape))
    space = LabelSpace(tuple(f"label {k}" for k in range(24)))
    ids = [f"{row}.jpg" for row in range(len(targets))]
    return {
        name: Scores(ids, 2 * targets + np.sqrt(shared) * common + np.sqrt(1 - shared) * part, targets, "logit", space)
        for name, part in zip("ab", (own[0], own[1] + effect * targets), strict=True)
    }


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_equal_methods_are_told_apart_at_the_level_where_labels_are_rare(shared: float) -> None:
    pairs = 200
    p_values = np.array([compare(rare_pair(seed, shared), resamples=99).differences[0].p for seed in range(pairs)])
    # 5 % of them, and 50 %: within two standard errors and a half
    assert abs((p_values <= 0.05).mean() - 0.05) < 2.5 * np.sqrt(0.05 * 0.95 / pairs)
    assert abs((p_values <= 0.5).mean() - 0.5) < 2.5 * np.sqrt(0.25 / pairs)


def test_a_better_method_is_found_where_labels_are_rare() -> None:
    verdicts = [compare(rare_pair(seed, 0.8, 0.7), resamples=99).differences[0].verdict for seed in range(60)]
    assert verdicts.count("better") >= 45
    assert verdicts.count("worse") == 0


def test_the_same_scores_are_never_told_apart() -> None:
    scores = scores_of(targets_of(), 1.0, 1)
    found = compare({"a": scores, "b": scores}, resamples=100).differences[0]
    assert (found.difference, found.interval, found.p, found.verdict) == (0, (0, 0), 1, "cannot be told apart")


def test_the_pairing_finds_what_two_separate_intervals_hide() -> None:
    targets = targets_of(200)
    first = scores_of(targets, 1.5, 1)
    slightly = Scores(first.ids, first.scores_NK + 0.2 * targets, targets, "logit", first.label_space)
    assert compare({"first": first, "slightly": slightly}, resamples=300).differences[0].verdict == "better"
    alone = [bootstrap_intervals(scores, resamples=300)["mAP"] for scores in (first, slightly)]
    assert alone[1][0] < alone[0][1]


def test_interval_and_p_value_agree() -> None:
    for seed in range(15):
        targets = targets_of(80, 4, seed)
        named = {"a": scores_of(targets, 1.5, 100 + seed), "b": scores_of(targets, 1.8, 200 + seed)}
        found = compare(named, resamples=199).differences[0]
        assert (found.p <= 0.05) == (found.interval[0] > 0 or found.interval[1] < 0)


def test_the_decision_of_each_method_counts() -> None:
    targets = targets_of()
    scores = scores_of(targets, 2.0, 1)
    never = {"a": Decision(), "b": Decision(threshold=0.9999)}
    found = compare({"a": scores, "b": scores}, "OR", decisions=never, resamples=100)
    assert found.differences[0].value == 0
    assert found.differences[0].verdict == "worse"


# Several comparisons


def test_holm_by_hand() -> None:
    # 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1; never below the one before, never above 1
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.03, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_holm_is_applied_to_the_verdicts() -> None:
    targets = targets_of(100, 4)
    named = {str(seed): scores_of(targets, 1.4, seed) for seed in range(6)}
    found = compare(named, resamples=400).differences
    assert [one.p_corrected for one in found] == holm([one.p for one in found])
    assert [one.name for one in found] == list("12345")
    for one in found:
        assert (one.verdict == "cannot be told apart") == (one.p_corrected > 0.05)


def test_each_interval_leaves_out_0_exactly_where_a_winner_is_named() -> None:
    named = {"0": scores_of(targets_of(), 1.4, 0)} | {
        str(seed): scores_of(targets_of(), 1.4 + 0.15 * seed, seed) for seed in range(1, 7)
    }
    told = []
    for resamples in (119, 400, 999):
        for one in compare(named, resamples=resamples).differences:
            told.append(one.verdict != "cannot be told apart")
            assert told[-1] == (one.p_corrected <= 0.05) == (one.interval[0] > 0 or one.interval[1] < 0)
    assert 4 < sum(told) < len(told) - 3


def test_levels_of_intervals_by_hand() -> None:
    # held to 0.05 / 3, to 0.05 / 2, and the last again to 0.05 / 2, since the second was not rejected
    assert holm_levels([0.04, 0.01, 0.03], 0.95) == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 3, 1 - 0.05 / 2])
    assert holm_levels([0.04, 0.01, 0.02], 0.95) == pytest.approx([0.95, 1 - 0.05 / 3, 1 - 0.05 / 2])
    assert holm_levels([0.9], 0.9) == pytest.approx([0.9])


def test_p_value_and_interval_by_hand() -> None:
    swapped = np.array([-0.3, 0.1, 0.2, -0.2, 0.0, 0.4, -0.1, 0.1, 0.0])
    # itself, -0.3 and 0.4 of ten; two of ten may be as large at level 0.8, so it must be larger than the second, 0.3
    assert swap_p_value(-0.3, swapped) == pytest.approx(0.3)
    assert swap_interval(-0.3, swapped, 0.8) == pytest.approx((-0.6, 0))
    assert swap_p_value(0.31, swapped) == pytest.approx(0.2)
    assert swap_interval(0.31, swapped, 0.8) == pytest.approx((0.01, 0.61))
    assert swap_interval(0.31, swapped, 0.9) == pytest.approx((-0.09, 0.71))
    assert swap_p_value(5.0, swapped) == pytest.approx(0.1)


def test_too_few_resamples_for_the_correction_are_refused() -> None:
    scores = scores_of(targets_of(), 1.0, 1)
    named = {str(number): scores for number in range(6)}
    with pytest.raises(SettingError, match=r"too few for 5 comparisons at level 0.95; give 99 or more"):
        compare(named, resamples=98)
    assert len(compare(named, resamples=99).differences) == 5


# Matching


def test_rows_are_matched_by_id() -> None:
    targets = targets_of()
    first, second = scores_of(targets, 1.0, 1), scores_of(targets, 1.3, 2)
    shuffled = second.subset(np.random.default_rng(0).permutation(len(second)))
    found = compare({"a": first, "b": shuffled}, resamples=100)
    assert found == compare({"a": first, "b": second}, resamples=100)


def test_other_ids_are_refused() -> None:
    targets = targets_of()
    first = scores_of(targets, 1.0, 1)
    with pytest.raises(ScoresError, match=r"a and b: 1 image ids are in one only; the second has no 0.jpg"):
        compare({"a": first, "b": first.subset(range(1, 150))})
    with pytest.raises(ScoresError, match=r"the first has no 0.jpg"):
        compare({"a": first.subset(range(1, 150)), "b": first})


def test_other_labels_and_another_order_are_refused() -> None:
    targets = targets_of()
    first = scores_of(targets, 1.0, 1)
    with pytest.raises(LabelSpaceError, match=r"a and b: .* in another order, first at 0: a and b"):
        compare({"a": first, "b": scores_of(targets, 1.0, 1, "bacdef")})
    with pytest.raises(LabelSpaceError, match="only in the second: z"):
        compare({"a": first, "b": scores_of(targets, 1.0, 1, "zbcdef")})


def test_other_targets_are_refused() -> None:
    targets = targets_of()
    other = targets.copy()
    other[3, 2] = -1
    with pytest.raises(ScoresError, match=r"image '3.jpg', label 'c': the targets are . and -1 \(1 cells differ\)"):
        compare({"a": scores_of(targets, 1.0, 1), "b": scores_of(other, 1.0, 1)})


def test_unknown_metric_and_baseline_and_a_single_method_are_refused() -> None:
    scores = scores_of(targets_of(), 1.0, 1)
    named = {"first": scores, "second": scores}
    with pytest.raises(SettingError, match="did you mean mAP"):
        compare(named, "map")
    with pytest.raises(SettingError, match=r"baseline 'frist' .* did you mean first"):
        compare(named, baseline="frist")
    with pytest.raises(SettingError, match="at least two Scores; given 1"):
        compare({"first": scores})
    with pytest.raises(SettingError, match="level = 1"):
        compare(named, level=1)


def test_one_image_and_no_positives_are_refused() -> None:
    scores = scores_of(targets_of(), 1.0, 1)
    with pytest.raises(ScoresError, match="a: holds 1 image; a comparison needs at least two"):
        compare({"a": scores.subset([0]), "b": scores.subset([0])})
    empty = scores_of(np.zeros((5, 2), dtype=np.int8), 1.0, 1)
    with pytest.raises(ScoresError, match="mAP is not defined: no label has a known positive"):
        compare({"a": empty, "b": empty})


def test_one_label_is_compared() -> None:
    targets = targets_of(80, 1)
    named = {"a": scores_of(targets, 0.0, 1), "b": scores_of(targets, 8.0, 2)}
    assert compare(named, resamples=100).differences[0].verdict == "better"


def test_two_images_tell_nothing() -> None:
    targets = np.eye(2, dtype=np.int8)
    first, second = scores_of(targets, 5.0, 1), scores_of(targets, -5.0, 1)
    found = compare({"a": first, "b": second}, resamples=100).differences[0]
    # in half of all swaps both images change places, or neither
    assert found.p > 0.3
    assert found.verdict == "cannot be told apart"
    assert found.interval[0] <= 0 <= found.interval[1]


# What is shown


def test_the_answer_in_words_and_as_json() -> None:
    targets = targets_of()
    named = {
        "weak": scores_of(targets, 1.0, 1),
        "strong": scores_of(targets, 2.5, 2),
        "again": scores_of(targets, 1, 1),
    }
    found = compare(named, resamples=200)
    section = found.section()
    assert "strong is better than weak (+0." in section.text
    assert "again and weak cannot be told apart (+0.0000, p = 1.000)." in section.text
    assert [row[0] for row in section.rows] == ["weak", "strong", "again"]
    value = found.to_json()
    assert (value["metric"], value["baseline"], value["images"]) == ("mAP", "weak", 150)
    assert [one["verdict"] for one in value["differences"]] == ["better", "cannot be told apart"]
    assert "default" in value["protocol"]
    assert "200 random swaps" in value["method"]
