from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cotag.errors import SettingError
from cotag.evaluation.decision import Decision
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
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Decision(**settings)
