"""The decision of a run: declared or fitted by its recipe, saved, reported with what it is honestly worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.data.splits import Roles
from cotag.errors import SettingError
from cotag.evaluation.cross_fit import cross_fit
from cotag.evaluation.decision import Decision
from cotag.evaluation.decision_fit import DecisionFit
from cotag.evaluation.objective import Objective
from cotag.recipe import Recipe
from cotag.run.deciding import check_decide, decide, require_decision
from cotag.run.train import train
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

GROUPS = ("not evaluated", "evaluated", "evaluated", "evaluated", "evaluated")
SPACE = LabelSpace(("on", "riding", "eating", "kissing", "slicing"), groups=GROUPS)
SHARES = (0.9, 0.6, 0.4, 0.1, 0.08)


class Told:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def task(self, title: str, total: int) -> Any:
        raise AssertionError(title)


def data(rows: int = 240, space: LabelSpace = SPACE) -> tuple[Index, Roles, Scores]:
    """Images of which two thirds train and the others choose, and scores of the latter."""
    random = np.random.default_rng(1)
    targets = (random.random((rows, 5)) < SHARES).astype(np.int8)
    columns = {
        "image": [f"{row}.jpg" for row in range(rows)],
        "positives": [np.flatnonzero(row).tolist() for row in targets],
    }
    choose = np.arange(2 * rows // 3, rows)
    values = random.normal(size=targets.shape) + 2 * targets - np.array([0, 0.5, 1, 3, 3])
    scores = Scores([str(row) for row in choose], values[choose], targets[choose], "logit", space)
    return Index.build(columns, space), Roles(np.arange(2 * rows // 3), choose, choose[:0], ()), scores


def recipe(*settings: str) -> Recipe:
    return Recipe.load("quick", [f"decide.{one}" if not one.startswith("balance.") else one for one in settings])


def decided(*settings: str, space: LabelSpace = SPACE) -> tuple[Decision, list[Any], list[str]]:
    index, roles, scores = data(space=space)
    given, told = recipe(*settings), Told()
    check_decide(given.decide)
    require_decision(given, index, roles)
    found = decide(given, index, roles, scores, told)
    return found.decision, list(found.sections), told.lines


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ([], Decision()),
        (["threshold=0.3"], Decision("threshold", 0.3)),
        (["rule=top_k", "k=3"], Decision("top_k", k=3)),
        (["rule=top_k_and_threshold", "k=3", "threshold=0.2"], Decision("top_k_and_threshold", 0.2, 3)),
        (
            ["rule=top_k", "k=3", "evaluated_only=true"],
            Decision("top_k", k=3, label_space=SPACE, excluded=("on",)),
        ),
    ],
)
def test_what_is_declared_is_taken_as_it_is(settings: list[str], wanted: Decision) -> None:
    decision, sections, lines = decided(*settings)
    assert decision == wanted
    assert sections == lines == []


@pytest.mark.parametrize(
    ("settings", "how"),
    [
        (["objective=OF1"], DecisionFit(Objective("OF1"), "threshold")),
        (["rule=top_k", "objective=CF1"], DecisionFit(Objective("CF1"), "top_k")),
        (["rule=label_thresholds", "objective=CF1", "shrinkage=3"], DecisionFit(Objective("CF1"), shrinkage=3)),
        (
            ["rule=label_thresholds", "objective=precision", "at_least=0.8"],
            DecisionFit(Objective("precision", 0.8)),
        ),
        (
            ["rule=label_thresholds", "objective=cost", "false_negative=5"],
            DecisionFit(Objective("cost", None, 1.0, 5.0)),
        ),
        (
            ["rule=group_multiplier", "objective=mR@2", "balance.infrequent=below:30"],
            DecisionFit(Objective("mR"), "group_multiplier", 2, infrequent=("kissing", "slicing")),
        ),
        (
            ["rule=group_multiplier", "objective=mR@2", "balance.infrequent=rarest:1", "evaluated_only=true"],
            DecisionFit(Objective("mR"), "group_multiplier", 2, infrequent=("slicing",), evaluated_only=True),
        ),
        (
            ["rule=label_offsets", "objective=mR@1", "k=1", "balance.infrequent=half"],
            DecisionFit(Objective("mR"), "label_offsets", 1, infrequent=("kissing", "slicing")),
        ),
    ],
)
def test_what_is_fitted_is_what_the_verb_fits_and_says_what_it_is_worth(settings: list[str], how: DecisionFit) -> None:
    decision, sections, lines = decided(*settings)
    wanted = cross_fit(data()[2], how, 5, 0)
    assert decision == wanted.decision
    assert len(sections) == len(lines) == 1
    assert sections[0].rows[0][1] == wanted.cross_fitted.value
    assert f"{wanted.cross_fitted.value:.4f}" in lines[0]
    assert decision.describe() in lines[0]


def test_a_multiplier_that_is_given_is_measured_too() -> None:
    decision, sections, lines = decided(
        "rule=group_multiplier", "k=2", "multiplier=1.2", "evaluated_only=true", "balance.infrequent=below:30"
    )
    assert decision.adjustment is not None
    assert decision.adjustment.values == (1.0, 1.0, 1.0, 1.2, 1.2)
    assert decision.excluded == ("on",)
    assert "mR@2" in lines[0]
    assert sections[0].rows[0][1] == sections[0].rows[1][1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["k=3"], "rule threshold ranks nothing"),
        (["rule=top_k"], "rule top_k with k = None"),
        (["rule=top_k", "k=3", "threshold=0.3"], "rule top_k has no threshold"),
        (["multiplier=1.2"], "decide.multiplier: rule threshold without an objective fits nothing"),
        (["at_least=0.5"], "decide.at_least: rule threshold without an objective fits nothing"),
        (["rule=label_thresholds"], "decide.rule = label_thresholds: is fitted; say what for"),
        (["rule=group_multiplier", "k=3"], "decide.rule = group_multiplier: is fitted; say what for"),
        (["rule=group_multiplier", "multiplier=1.2"], "objective mR@k goes with a k"),
        (["objective=CF1", "threshold=0.3"], "decide.threshold = 0.3: rule threshold does not use it here"),
        (["rule=top_k", "objective=mR@3", "k=2"], "decide.objective = mR@3 with decide.k = 2: leave decide.k out"),
        (["rule=top_k", "objective=mR"], "give mR@ and how many labels count"),
        (["objective=CF2"], "objective 'CF2' is not known; did you mean CF1"),
        (["objective=CF1", "multiplier=1.2"], "rule threshold takes no multiplier"),
        (["rule=top_k", "objective=OF1", "shrinkage=1"], "rule top_k shrinks nothing"),
        (["objective=CF1", "false_positive=2"], "objective CF1 has no costs"),
    ],
)
def test_what_would_not_be_used_is_refused_before_any_work(settings: list[str], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_decide(recipe(*settings).decide)
    assert said in str(caught.value)
    assert str(caught.value).startswith("decide")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["0", "-1.2", ".inf"])
def test_a_multiplier_of_0_or_less_is_no_setting(value: str) -> None:
    with pytest.raises(SettingError, match=r"setting decide.multiplier = .*: must be"):
        recipe("rule=group_multiplier", "k=3", f"multiplier={value}")


def test_data_that_a_decision_cannot_be_made_for_are_refused() -> None:
    plain = LabelSpace(SPACE.names)
    with pytest.raises(SettingError, match=r"decide.evaluated_only leaves out .* and all of the labels"):
        decided("rule=top_k", "k=3", "evaluated_only=true", space=plain)
    with pytest.raises(SettingError, match="no label is infrequent by it"):
        decided("rule=group_multiplier", "objective=mR@2", "balance.infrequent=below:2")


def test_scores_that_cannot_be_cross_fitted_are_fitted_nevertheless() -> None:
    index, roles, scores = data()
    one = np.flatnonzero((scores.targets_NK == 1).any(1))[:1]
    targets = np.zeros_like(scores.targets_NK)
    targets[one] = scores.targets_NK[one]
    told = Told()
    given = recipe("objective=OF1")
    lone = Scores(scores.ids, scores.scores_NK, targets, "logit", SPACE)
    found = decide(given, index, roles, lone, told)
    assert found.decision.fitted
    assert "what it is worth on new images cannot be said" in told.lines[0]


def test_a_run_saves_its_decision_and_reports_it(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    settings = [*tiny, "decide.rule=label_thresholds", "decide.objective=CF1"]
    told = Told()
    told.task = _quiet  # type: ignore[method-assign]
    run = train(pictures, "quick", tmp_path / "run", settings, progress=told)
    scores = Scores.load(run.folder / "scores" / "choose.parquet")
    wanted = cross_fit(scores, DecisionFit(Objective("CF1")), 5, 0)
    saved = json.loads((run.folder / "model" / "settings.json").read_text())["decision"]
    assert saved == json.loads(json.dumps(wanted.decision.to_json()))
    section = next(section for section in run.sections if section.title == "Decision")
    assert section.rows[0][1] == wanted.cross_fitted.value
    assert any(line.startswith("decision: a label is given at its own threshold") for line in told.lines)
    assert "fitted, cross-fitted (honest)" in run.report.read_text()


class _Task:
    def __enter__(self) -> _Task:
        return self

    def __exit__(self, *parts: object) -> None:
        pass

    def advance(self, steps: int = 1, **info: Any) -> None:
        pass


def _quiet(title: str, total: int) -> _Task:
    return _Task()


def test_the_recipe_of_a_run_goes_on_as_it_was(tmp_path: Path) -> None:
    given = recipe("rule=group_multiplier", "objective=mR@3", "evaluated_only=true", "balance.infrequent=half")
    given.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == given
