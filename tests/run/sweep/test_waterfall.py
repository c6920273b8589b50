from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.data.read import read
from cotag.errors import SettingError
from cotag.evaluation.decision import Decision
from cotag.evaluation.decision_fit import DecisionFit
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.objective import Objective
from cotag.run.sweep.folder import SweepFolder
from cotag.run.sweep.result import Sweep
from cotag.run.sweep.steps import Step, parse_step
from cotag.run.sweep.sweep import resume_sweep, sweep
from cotag.run.sweep.waterfall import COLUMNS
from cotag.types.scores import Scores

LOOP = [
    "train.optimizer=adamw",
    "train.weight_decay=0.01",
    "train.epochs=4",
    "train.batch_size=16",
    "train.refit=false",
]
STEPS = ("rate: train.learning_rate=0.1", "threshold: decide.threshold=0.3", "union: train.refit=true")


@pytest.fixture
def fallen(pictures: Path, tiny: list[str], tmp_path: Path) -> Any:
    """Waterfalls on the pictures."""

    def run(*steps: str, settings: Sequence[str] = LOOP, **options: Any) -> Sweep:
        out = options.pop("out", tmp_path / "waterfall")
        given = {"metric": "macro_F1", **options}
        return sweep(
            pictures, "quick", (), 3, out=out, overrides=[*tiny, *settings], steps=[*map(parse_step, steps)], **given
        )

    return run


def trained(found: Sweep) -> dict[tuple[str, int], Scores]:
    """Setting and seed of what was trained -> scores."""
    loaded = [Scores.load(path) for path in (found.folder / "trials").glob("*.parquet")]
    return {(one.origin["setting"], one.origin["seed"]): one for one in loaded}


def test_each_step_builds_on_the_one_before(fallen: Any) -> None:
    found = fallen(*STEPS)
    own = trained(found)
    # The decision alone trains nothing anew.
    assert {name for name, _ in own} == {"recipe", "rate", "union"}
    assert len(own) == 9
    steps = found.to_json()["steps"]
    assert [(one["step"], one["after"]) for one in steps] == [
        ("rate", "recipe"), ("threshold", "rate"), ("union", "threshold"),
    ]  # fmt: skip

    def level(name: str, threshold: float) -> float:
        values = [evaluate(own[name, seed], Decision(threshold=threshold)).metrics["macro_F1"] for seed in range(3)]
        return float(np.mean(np.array(values, dtype=float)))

    levels = [level("recipe", 0.5), level("rate", 0.5), level("rate", 0.3), level("union", 0.3)]
    assert found.comparison.baseline_value == pytest.approx(levels[0])
    assert [one["reached"] for one in steps] == pytest.approx(levels[1:])
    assert [one["brought"] for one in steps] == pytest.approx(np.diff(levels))
    assert levels[2] != levels[1], "else the decision was not applied"
    since = [row.against.difference for row in found.rows if row.against]
    assert since == pytest.approx(np.subtract(levels[1:], levels[0]))
    assert [row.chosen for row in found.rows] != [row.test for row in found.rows]


def test_the_chart_and_the_table(fallen: Any) -> None:
    found = fallen(*STEPS)
    verdict, chart, table = found.sections
    steps = found.to_json()["steps"]
    assert [row[COLUMNS.index("step")] for row in table.rows] == ["start", "rate", "threshold", "union"]
    assert [row[COLUMNS.index("sets")] for row in table.rows] == [
        "", "train.learning_rate=0.1", "decide.threshold=0.3", "train.refit=true",
    ]  # fmt: skip
    assert [row[COLUMNS.index("brought")] for row in table.rows[1:]] == [one["brought"] for one in steps]
    assert chart.figure is not None
    *bars, reached = chart.figure["data"]
    drawn = {
        name: (base, length, down, up)
        for bar in bars
        for name, base, length, down, up in zip(
            bar["x"], bar["base"], bar["y"], bar["error_y"]["arrayminus"], bar["error_y"]["array"], strict=True
        )
    }
    before = found.comparison.baseline_value
    for one in steps:
        base, length, down, up = drawn[one["step"]]
        assert base == pytest.approx(before)
        assert length == one["brought"]
        assert (length - down, length + up) == pytest.approx((one["low"], one["high"]))
        before = one["reached"]
    assert list(reached["y"]) == [found.comparison.baseline_value, *(one["reached"] for one in steps)]
    for text in ("rate: ", "threshold: ", "All together: macro_F1"):
        assert text in verdict.text
    assert "macro_F1, step by step" in found.report.read_text("utf-8")


def test_a_step_that_fails_is_passed_over(fallen: Any) -> None:
    found = fallen("broken: train.learning_rate=1e30", "rate: train.learning_rate=0.1")
    assert [(one["step"], one["after"]) for one in found.to_json()["steps"]] == [("rate", "recipe")]
    assert {record.setting for record in found.failed} == {"broken"}
    table = found.sections[2]
    assert table.rows[1][COLUMNS.index("verdict")] == "failed"
    assert table.rows[1][COLUMNS.index("reached")] is None


def test_it_goes_on_where_it_was(fallen: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept, count = SweepFolder.keep, []

    def keep(self: Any, *given: Any) -> None:
        if len(count) == 4:
            raise KeyboardInterrupt
        count.append(given)
        kept(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(SweepFolder, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            fallen(*STEPS)
    begun = {path: path.stat().st_mtime_ns for path in (tmp_path / "waterfall" / "trials").glob("*.json")}
    assert len(begun) == 4
    found = resume_sweep(tmp_path / "waterfall")
    assert {path: path.stat().st_mtime_ns for path in begun} == begun
    whole = fallen(*STEPS, out=tmp_path / "whole")
    numbers = [[{**one, "after": ""} for one in each.to_json()["steps"]] for each in (found, whole)]
    assert json.dumps(numbers[0]) == json.dumps(numbers[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most": 3}, "a waterfall has its steps: leave --grid, --search, --one-at-a-time and --random out"),
        ({"metric": "mR@5"}, "metric 'mR@5' is not known"),
        ({"protocol": "psgg"}, "did you mean psg?"),
    ],
)
def test_what_a_waterfall_does_not_take(fallen: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as raised:
        fallen(*STEPS, **options)
    assert message in str(raised.value)


def test_steps_are_compared_by_a_protocol(fallen: Any) -> None:
    found = fallen("rate: train.learning_rate=0.1", metric="mR@3", protocol="psg")
    assert "psg" in found.comparison.protocol or "absent" in found.comparison.protocol
    assert [Step("rate", ("train.learning_rate=0.1",)).name] == [one.step for one in found.brought]


def test_a_decision_is_fitted_on_the_images_that_choose(fallen: Any) -> None:
    step = "multiplier: balance.infrequent=rarest:1, decide.rule=group_multiplier, decide.objective=mR@1"
    found = fallen("rate: train.learning_rate=0.1", step, metric="macro_F1")
    folder = SweepFolder(found.folder)
    values = []
    for path in sorted(folder.trials.glob("*.parquet")):
        judging, choosing = Scores.load(path), Scores.load(folder.trials / "choose" / path.name)
        if judging.origin["setting"] != "rate":
            continue
        assert not set(judging.ids) & set(choosing.ids)
        index = read(json.loads(folder.asked.read_text())["data"])
        trains = [row for row in index.rows_of("train") if index.ids[int(row)] not in choosing.ids]
        fewest = int(np.argmin((index.targets(np.array(trains)) == 1).sum(0)))
        how = DecisionFit(Objective("mR"), "group_multiplier", 1, infrequent=(index.label_space.names[fewest],))
        values.append(evaluate(judging, how.fit(choosing)).metrics["macro_F1"])
    assert len(values) == 3
    assert found.to_json()["steps"][1]["reached"] == pytest.approx(np.mean(np.array(values, dtype=float)))
