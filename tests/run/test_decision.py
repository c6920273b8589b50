"""Decisions and calibrations of models: what is carried over gives the same labels, and scales are never mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.errors import CotagError, LabelSpaceError, ScoresError, SettingError
from cotag.evaluation.calibration import Calibration, fit_calibration
from cotag.evaluation.decision import Decision
from cotag.evaluation.decision_fit import DecisionFit
from cotag.evaluation.objective import Objective
from cotag.models.settings import KEYS, write_decision
from cotag.run.decision import as_model_gives, carried_over, save_calibration, with_calibration, with_decision
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

SPACE = LabelSpace(("cat", "dog", "owl"))
RULES = {
    "label_thresholds": DecisionFit(Objective("CF1"), "label_thresholds"),
    "top_k": DecisionFit(Objective("OF1"), "top_k"),
    "label_offsets": DecisionFit(Objective("mR"), "label_offsets", 1),
    "group_multiplier": DecisionFit(Objective("mR"), "group_multiplier", 1),
    "top_k_and_threshold": DecisionFit(Objective("OF1"), "top_k_and_threshold", 2),
}


def make(rows: int = 200, seed: int = 0) -> Scores:
    random = np.random.default_rng(seed)
    true = random.normal(-1, 1.5, (rows, 3))
    targets = (random.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.int8)
    logits = (true * (3, 2, 0.5) + (0, 1, -1)).astype(np.float32)
    return Scores([str(n) for n in range(rows)], logits, targets, "logit", SPACE)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The settings of a model, which is all that is read of it here."""
    about: dict[str, Any] = {key: {} for key in KEYS}
    about |= {"cotag_model": 1, "label_space": SPACE.to_json(), "decision": Decision().to_json()}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "settings.json").write_text(json.dumps(about))
    return str(tmp_path)


def told(message: str) -> None:
    raise AssertionError(message)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("first", [None, "temperature", "platt", "isotonic"])
@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_what_is_carried_over_gives_the_same_labels(rule: str, first: str | None, method: str) -> None:
    scores, other = make(), make(seed=1)
    before = fit_calibration(scores, first) if first else None
    after = fit_calibration(scores, method)
    fitted = RULES[rule].fit(before.apply(scores) if before else scores)
    found = carried_over(fitted, before, after)
    moved = {first, method} <= {None, "temperature", "platt"} and rule == "label_thresholds"
    # Of probabilities that are multiplied, no change of the logits keeps the order.
    scaled = {first, method} <= {None, "temperature"} and rule != "group_multiplier"
    assert (found is not None) == (moved or first == method or scaled)
    if found is None:
        return
    for given in (scores, other):
        wanted = fitted.apply(before.apply(given) if before else given)
        # Through another calibration first, a score at its threshold may land a rounding beside it.
        assert (found.apply(after.apply(given)) != wanted).sum() <= (3 if before else 0)
    assert found.fitted["calibration"] == after.name
    assert found.fitted["objective"] == fitted.fitted["objective"]


def test_a_rule_that_was_declared_stays() -> None:
    given = DecisionFit(Objective("mR"), "group_multiplier", 2, multiplier=1.2).fit(make())
    never = Decision("top_k", k=1, label_space=SPACE, excluded=("owl",))
    for decision in (Decision(), Decision("threshold", 0.3), Decision("top_k", k=2), given, never):
        assert carried_over(decision, None, fit_calibration(make(), "isotonic")) is decision


def test_a_slope_of_nothing_keeps_no_threshold() -> None:
    scores = make()
    flat = Calibration(SPACE, "platt", np.array([1.0, 0.0, 1.0]), np.zeros(3))
    assert carried_over(RULES["label_thresholds"].fit(scores), None, flat) is None


def test_a_fitted_decision_is_not_applied_to_other_scores() -> None:
    scores = make()
    calibrated = fit_calibration(scores, "platt").apply(scores)
    fit = RULES["label_thresholds"]
    with pytest.raises(SettingError, match=r"calibration none, these have platt:"):
        fit.fit(scores).apply(calibrated)
    with pytest.raises(SettingError, match=r"calibration platt:\w+, these have none"):
        fit.fit(calibrated).apply(scores)
    Decision().apply(calibrated)


def test_a_calibrated_model_takes_scores_of_before_and_of_after(model: str) -> None:
    scores, said = make(), []
    fitted = RULES["label_thresholds"].fit(scores)
    write_decision(Path(model) / "model", fitted.to_json(), SPACE)
    calibration = fit_calibration(scores, "platt")
    assert "carried over" in save_calibration(model, calibration)
    found, decision = with_decision(model, scores, said.append)
    assert "written before" in said[0]
    assert found.origin["calibration"] == calibration.name
    assert np.array_equal(decision.apply(found), fitted.apply(scores))
    assert as_model_gives(model, found, told) is found
    assert np.array_equal(with_calibration(model, scores).scores_NK, found.scores_NK)
    with pytest.raises(SettingError, match="fitted on scores with calibration none, the model's is platt:"):
        write_decision(Path(model) / "model", fitted.to_json(), SPACE)
    other = fit_calibration(make(seed=3), "temperature").apply(scores)
    with pytest.raises(SettingError, match=r"have calibration temperature:\w+, the model .* has platt:"):
        as_model_gives(model, other, told)
    with pytest.raises(ScoresError, match="calibrated already"):
        with_calibration(model, other)


def test_a_decision_that_steps_cannot_keep_is_dropped_and_told(model: str) -> None:
    scores = make()
    write_decision(Path(model) / "model", RULES["label_thresholds"].fit(scores).to_json(), SPACE)
    said = save_calibration(model, fit_calibration(scores, "isotonic"))
    assert "cannot be carried over; now a label is given at probability >= 0.5" in said
    assert f"--model {model} fits one again" in said
    _, decision = with_decision(model, scores, lambda _: None)
    assert decision == Decision()
    assert "stays" in save_calibration(model, fit_calibration(scores, "platt"))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (None, SettingError, "there is no such file"),
        ("no json", SettingError, "is not JSON"),
        ("[]", SettingError, "has no 'rule'"),
        ('{"metric": 1}', SettingError, "has no 'rule'; give a model, or the file that cotag decide --out saved"),
        ('{"rule": "top"}', SettingError, "rule = 'top' is not known; did you mean top_k"),
        ('{"rule": "threshold", "label_space": "0"}', LabelSpaceError, "made for other labels"),
    ],
)
def test_a_file_that_is_no_decision_is_named(
    tmp_path: Path, text: str | None, kind: type[CotagError], said: str
) -> None:
    path = tmp_path / "decision.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(kind) as caught:
        with_decision(str(path), make(), told)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_calibration_is_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="this model has no calibration"):
        with_calibration(model, make())
    (tmp_path / "c.json").write_text(json.dumps(Decision().to_json()))
    with pytest.raises(SettingError, match="has no 'slopes'; give a model, or the file that cotag calibrate"):
        with_calibration(str(tmp_path / "c.json"), make())
    strangers = Scores(["a"], np.zeros((1, 1)), np.zeros((1, 1)), "logit", LabelSpace(("x",)))
    with pytest.raises(LabelSpaceError, match="give the model that made the scores"):
        with_decision(model, strangers, told)
