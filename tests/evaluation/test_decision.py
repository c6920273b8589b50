from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cotag.errors import LabelSpaceError, SettingError
from cotag.evaluation.adjustment import Adjustment, log_probabilities_of
from cotag.evaluation.decision import Decision, highest, logits_of
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def given(values: list[float], kind: str, threshold: float = 0.5, dtype: str = "float32") -> list[bool]:
    table = np.array([values], dtype=dtype)
    space = LabelSpace(tuple(f"l{k}" for k in range(len(values))))
    scores = Scores(["a"], table, np.zeros(table.shape, dtype=np.int8), kind, space)
    found: list[bool] = Decision(threshold=threshold).apply(scores)[0].tolist()
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_threshold_is_inclusive(dtype: str) -> None:
    assert given([0.0, -1e-6, 1e-6], "logit", dtype=dtype) == [True, False, True]
    assert given([0.5, 0.499999, 0.500001], "probability", dtype=dtype) == [True, False, True]
    assert given([0.3, 0.29999], "probability", 0.3, dtype) == [True, False]


@pytest.mark.parametrize("threshold", [0.001, 0.2, 0.5, 0.9])
def test_logits_and_their_probabilities_decide_alike(threshold: float) -> None:
    logits = np.linspace(-9, 9, 101)
    probabilities = 1 / (1 + np.exp(-logits))
    said = given(logits.tolist(), "logit", threshold, "float64")
    assert said == given(probabilities.tolist(), "probability", threshold, "float64")
    assert 0 < sum(said) < 101


def test_the_kind_is_declared_and_not_guessed() -> None:
    assert given([0.2, 0.7], "logit") == [True, True]
    assert given([0.2, 0.7], "probability") == [False, True]


SPACE = LabelSpace(("cat", "dog", "owl"))


def table(values: list[list[float]], kind: str = "logit", space: LabelSpace = SPACE) -> Scores:
    array = np.array(values, dtype="float32")
    return Scores([str(n) for n in range(len(array))], array, np.zeros(array.shape, np.int8), kind, space)


def test_each_label_has_its_own_threshold() -> None:
    decision = Decision(logit_thresholds=(0.0, -2.0, 1.0), label_space=SPACE)
    assert decision.apply(table([[0, -2, 0.9], [-0.1, -2.1, 1]])).tolist() == [
        [True, True, False],
        [False, False, True],
    ]
    probabilities = table([[0.5, 0.12, 0.73], [0.49, 0.11, 0.74], [1, 0, 1]], "probability")
    assert decision.apply(probabilities).tolist() == [[True, True, False], [False, False, True], [True, False, True]]


def test_the_highest_are_given_and_of_equal_ones_the_first() -> None:
    assert Decision("top_k", k=2).apply(table([[1, 3, 2], [0, 0, 0]])).tolist() == [
        [False, True, True], [True, True, False],
    ]  # fmt: skip
    both = Decision("top_k_and_threshold", k=2).apply(table([[1, 3, 2], [-1, 0, -2], [-1, -1, -1]]))
    assert both.tolist() == [[False, True, True], [False, True, False], [False, False, False]]
    assert Decision("top_k", k=9).apply(table([[1, 3, 2]])).all()


def test_offsets_rank_and_thresholds_compare_what_was_scored() -> None:
    offsets = Adjustment("logit_offsets", (2.5, 0.0, 0.0))
    assert Decision("top_k", k=1, adjustment=offsets, label_space=SPACE).apply(table([[1, 3, 2]])).tolist() == [
        [True, False, False]
    ]
    both = Decision("top_k_and_threshold", 0.8, k=1, adjustment=offsets, label_space=SPACE)
    assert not both.apply(table([[1, 3, 2]])).any()
    assert both.apply(table([[1.5, 3, 2]])).tolist() == [[True, False, False]]


@pytest.mark.parametrize("kind", ["logit", "probability"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_multipliers_rank_as_products_of_probabilities_do(kind: str, k: int) -> None:
    """Held against plain products in float64, image by image."""
    random = np.random.default_rng(k)
    factors = (1.0, 20.0, 0.3, 1.2, 1.0)
    values = random.normal(size=(200, 5)) * 3
    probabilities = 1 / (1 + np.exp(-values))
    space = LabelSpace(tuple("abcde"))
    given_to = table(values if kind == "logit" else probabilities, kind, space)  # type: ignore[arg-type]
    decision = Decision("top_k", k=k, adjustment=Adjustment("multipliers", factors), label_space=space)
    wanted = []
    for row in given_to.probabilities().astype(np.float64):
        products = [p * m for p, m in zip(row.tolist(), factors, strict=True)]
        wanted.append([sum(other > own for other in products) < k for own in products])
    assert decision.apply(given_to).tolist() == wanted
    assert wanted != Decision("top_k", k=k).apply(given_to).tolist()


def test_multipliers_keep_apart_what_products_would_round_to_one() -> None:
    double = Adjustment("multipliers", (1.0, 2.0, 1.0))
    decision = Decision("top_k", k=1, adjustment=double, label_space=SPACE)
    # Probabilities of 1e-400 and half of it are 0 in float64.
    assert decision.apply(table([[-921.0, -921.5, -930.0]])).tolist() == [[False, True, False]]
    assert decision.apply(table([[0.0, 0.0, 0.0], [0.5, 0.2, 0.1]], "probability"))[1].tolist() == [True, False, False]
    assert np.isfinite(log_probabilities_of(table([[0.0, 1.0, 1e-40]], "probability"))).all()


def test_multipliers_are_of_probabilities_and_thresholds_of_what_was_scored() -> None:
    both = Decision(
        "top_k_and_threshold", 0.3, 1, adjustment=Adjustment("multipliers", (3.0, 1.0, 1.0)), label_space=SPACE
    )
    # 3 x 0.2 is over 0.5 and 0.2 is under the threshold.
    assert both.apply(table([[0.2, 0.5, 0.1], [0.3, 0.5, 0.1]], "probability")).tolist() == [
        [False, False, False], [True, False, False],
    ]  # fmt: skip


@pytest.mark.parametrize("rule", ["threshold", "top_k", "top_k_and_threshold"])
def test_excluded_labels_are_never_given_and_take_no_place(rule: str) -> None:
    k = None if rule == "threshold" else 2
    decision = Decision(rule, k=k, label_space=SPACE, excluded=("dog",))
    wanted = {
        "threshold": [[True, False, True], [False] * 3],
        "top_k": [[True, False, True], [True, False, True]],
        "top_k_and_threshold": [[True, False, True], [False] * 3],
    }[rule]
    assert decision.apply(table([[1, 3, 2], [-1, 3, -2]])).tolist() == wanted
    assert decision.describe().endswith("; labels that are never given: 1")


def test_more_places_than_labels_give_no_excluded_one() -> None:
    decision = Decision("top_k", k=3, label_space=SPACE, excluded=("cat", "dog"))
    assert decision.apply(table([[1, 3, 2]])).tolist() == [[False, False, True]]


def test_the_highest_are_those_of_a_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cotag.evaluation.decision.CELLS", 20)
    values = np.round(np.random.default_rng(0).normal(size=(50, 7)), 1)
    for k in range(1, 8):
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        wanted = np.zeros(values.shape, dtype=bool)
        np.put_along_axis(wanted, order, True, axis=1)
        assert (highest(values, k) == wanted).all()


def test_logits_of_probabilities_are_finite_and_keep_their_order() -> None:
    values = [[0.0, 1e-30, 0.5], [1 - 2**-24, 1.0, 0.25]]
    logits = logits_of(table(values, "probability"))
    assert np.isfinite(logits).all()
    assert logits[0, 0] < logits[0, 1] < logits[1, 2] < logits[0, 2] == 0 < logits[1, 0] < logits[1, 1]


@pytest.mark.parametrize(
    "decision",
    [
        Decision(),
        Decision("top_k", k=3),
        Decision("top_k_and_threshold", 0.2, 2),
        Decision(logit_thresholds=(0.1, -3.5, 1 / 3), label_space=SPACE, fitted={"objective": "CF1"}),
        Decision("top_k", k=1, adjustment=Adjustment("logit_offsets", (0.0, 1e-3, 2)), label_space=SPACE),
        Decision("top_k", k=1, adjustment=Adjustment("multipliers", (1.2, 1e-3, 20)), label_space=SPACE),
        Decision("top_k", k=1, label_space=SPACE, excluded=("dog",)),
    ],
    ids=lambda decision: decision.rule,
)
def test_json_makes_the_same_decision(decision: Decision) -> None:
    value = json.loads(json.dumps(decision.to_json()))
    assert Decision.from_json(value, SPACE) == decision


def test_other_labels_are_refused() -> None:
    decision = Decision(logit_thresholds=(0.1, -3.5, 1.0), label_space=SPACE)
    turned, other = LabelSpace(("dog", "cat", "owl")), LabelSpace(("cat", "dog", "cow"))
    with pytest.raises(LabelSpaceError, match="the same names in another order"):
        Decision.from_json(decision.to_json(), turned)
    with pytest.raises(LabelSpaceError, match="only in the first: owl; only in the second: cow"):
        Decision.from_json(decision.to_json(), other)
    with pytest.raises(LabelSpaceError, match="decision and scores: the label spaces differ"):
        decision.apply(table([[1, 2, 3]], space=turned))
    with pytest.raises(LabelSpaceError, match="made for other labels"):
        Decision.from_json({"rule": "top_k", "k": 1, "label_space": other.hash}, SPACE)
    assert Decision.from_json({"rule": "top_k", "k": 1}, turned).k == 1


def test_the_words_say_what_decides() -> None:
    assert Decision("top_k", k=3).describe() == "a label is given among the 3 highest"
    own = Decision(logit_thresholds=(0.0, -2.0, 1.0), label_space=SPACE)
    assert own.describe() == "a label is given at its own threshold (probability 0.119 to 0.731 over 3 labels)"
    one = Decision("top_k_and_threshold", k=2, logit_thresholds=(-2.0,) * 3, label_space=SPACE)
    assert one.describe() == "a label is given among the 2 highest, at probability >= 0.1192 (logit -2)"
    shifted = Decision("top_k", k=2, adjustment=Adjustment("logit_offsets", (0.0, 0.0, np.log(4))), label_space=SPACE)
    assert shifted.describe() == (
        "a label is given among the 2 highest, after the odds of 1 of 3 labels were multiplied by 4"
    )


def test_the_words_say_what_is_multiplied_and_how_many() -> None:
    two = Decision("top_k", k=2, adjustment=Adjustment("multipliers", (1.0, 1.2, 1.2)), label_space=SPACE)
    assert two.describe().endswith("after the probabilities of 2 of 3 labels were multiplied by 1.2")
    own = Decision("top_k", k=2, adjustment=Adjustment("multipliers", (0.5, 1.2, 3)), label_space=SPACE)
    assert own.describe().endswith("after the labels' probabilities were multiplied by 0.5 to 3")


def test_offsets_and_multipliers_of_one_file_are_refused() -> None:
    each = {"cat": 1.0, "dog": 2.0, "owl": 1.0}
    value = {"rule": "top_k", "k": 1, "label_space": SPACE.hash, "logit_offsets": each, "multipliers": each}
    with pytest.raises(SettingError, match="decision: has logit_offsets and multipliers; keep one of them"):
        Decision.from_json(value, SPACE)
    with pytest.raises(LabelSpaceError, match="the same names in another order"):
        Decision.from_json({**value, "logit_offsets": None, "multipliers": {"dog": 1, "cat": 1, "owl": 1}}, SPACE)
    with pytest.raises(LabelSpaceError, match="label 'doge' is not among the 3 labels; did you mean dog"):
        Decision.from_json({"rule": "threshold", "label_space": SPACE.hash, "excluded": ["doge"]}, SPACE)


def test_json_and_words() -> None:
    decision = Decision(threshold=0.25)
    assert Decision(**decision.to_json()) == decision
    assert decision.describe() == "a label is given at probability >= 0.25"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rule": "treshold"}, r"decide.rule = 'treshold' is not known; did you mean threshold"),
        ({"threshold": 0.0}, r"decide.threshold = 0.0: must be above 0 and under 1"),
        ({"threshold": 1}, r"decide.threshold = 1: must be above 0 and under 1"),
        ({"threshold": float("nan")}, r"decide.threshold = nan"),
        ({"k": 3}, r"rule threshold ranks nothing"),
        ({"rule": "top_k"}, r"rule top_k with k = None"),
        ({"rule": "top_k", "k": 0}, r"rule top_k with k = 0"),
        ({"rule": "top_k", "k": 3, "threshold": 0.3}, r"rule top_k has no threshold"),
        ({"adjustment": Adjustment("multipliers", (1.0, 2.0, 1.0)), "label_space": SPACE}, r"ranks nothing"),
        (
            {"rule": "top_k", "k": 1, "adjustment": Adjustment("multipliers", (1.0, 2.0)), "label_space": SPACE},
            r"multipliers: 2 values for a label space of 3 labels; give one for each",
        ),
        ({"excluded": ("cat",)}, r"excluded names labels: give the label space"),
        ({"excluded": SPACE.names, "label_space": SPACE}, r"excluded names all labels"),
        ({"logit_thresholds": (0.1, 0.2)}, r"logit_thresholds: 2 values for a label space of None"),
        ({"logit_thresholds": (0.1, 0.2), "label_space": SPACE}, r"2 values for a label space of 3"),
        ({"logit_thresholds": (0.1, 0.2, float("inf")), "label_space": SPACE}, r"finite"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Decision(**settings)


@pytest.mark.parametrize("value", [0.0, -1.2])
def test_a_multiplier_of_0_or_less_is_refused(value: float) -> None:
    with pytest.raises(SettingError, match=rf"multipliers: {value:g} is given; every multiplier must be above 0"):
        Adjustment("multipliers", (1.0, value, 1.0))


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(SettingError, match="decision: 'treshold' is not known; did you mean threshold"):
        Decision.from_json({"rule": "threshold", "treshold": 0.2}, SPACE)
