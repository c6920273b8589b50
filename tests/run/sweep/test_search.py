from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest

from cotag.errors import MissingExtra, SettingError, StorageError, TrainingError
from cotag.run.sweep import fitting
from cotag.run.sweep.result import Sweep
from cotag.run.sweep.study import Search, Study
from cotag.run.sweep.sweep import resume_sweep, sweep

LOOP = ["train.optimizer=adamw", "train.weight_decay=0.01", "train.epochs=4", "train.batch_size=16"]
GRID = ("train.learning_rate=1e-4..1:log", "model.head_args.dropout=0.0,0.3")


@pytest.fixture(scope="module")
def whole(pictures: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A search that nothing stopped; only to be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTAG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        out = tmp_path_factory.mktemp("searches") / "whole"
        return sweep(pictures, "quick", GRID, 2, out=out, overrides=[*tiny, *LOOP], search=Search(trials=8))


@pytest.fixture
def searched(pictures: Path, tiny: list[str], tmp_path: Path) -> Any:
    """Searches on the pictures."""

    def run(*grid: str, settings: Sequence[str] = LOOP, seeds: int = 2, **options: Any) -> Sweep:
        out = options.pop("out", tmp_path / "search")
        how = Search(**{"trials": 8, **options.pop("how", {})})
        return sweep(
            pictures, "quick", grid or GRID, seeds, out=out, overrides=[*tiny, *settings], search=how, **options
        )

    return run


def told(found: Sweep) -> list[tuple[Any, ...]]:
    """What was tried, without the time that it took."""
    return [(one["setting"], one["state"], one["value"], one["epoch"]) for one in found.trials]


def test_the_best_by_the_images_that_choose_is_trained_anew(whole: Sweep) -> None:
    found = whole
    assert [one["number"] for one in found.trials] == list(range(8))
    best = max((one for one in found.trials if one["state"] == "complete"), key=lambda one: one["value"])
    assert [row.setting for row in found.rows] == ["recipe", best["setting"]]
    own = found.rows[1].records
    assert [record.seed for record in own] == [1, 2], "the search had seed 0"
    record = next(
        json.loads(path.read_text())
        for path in (found.folder / "trials").glob("*.json")
        if json.loads(path.read_text())["setting"] == best["setting"] and json.loads(path.read_text())["seed"] == 0
    )
    assert record["chosen"] == best["value"], "of the images that choose"
    assert pq.read_table(found.folder / "trials.parquet").to_pylist() == found.to_json()["trials"] == found.trials
    page = found.report.read_text("utf-8")
    for text in ("Course of the search", "best so far", "Importance", best["setting"]):
        assert text in page
    assert "The images that choose like" in found.sections[0].text
    assert "had no part in the search" in found.sections[0].text


def test_a_study_can_be_read_by_optuna(whole: Sweep) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(whole.folder / "study.log"))
    study = optuna.load_study(study_name="sweep", storage=optuna.storages.JournalStorage(backend))
    assert len(study.trials) == 8
    assert study.best_value == max(one["value"] for one in whole.trials if one["value"] is not None)


def test_what_falls_behind_is_given_up_and_says_when(searched: Any, tmp_path: Path) -> None:
    # Rates that differ by so much are told apart by the first epochs.
    grid, how = ("train.learning_rate=1e-6..1:log",), {"trials": 14, "sampler": "random"}
    found = searched(*grid, how=how)
    given_up = [one for one in found.trials if one["state"] == "pruned"]
    assert given_up
    for one in given_up:
        assert one["value"] is None
        assert 1 <= one["epoch"] < 4
    all_of_them = searched(*grid, how={**how, "prune": False}, out=tmp_path / "all")
    assert [one["state"] for one in all_of_them.trials] == ["complete"] * 14
    assert [one["setting"] for one in all_of_them.trials] == [one["setting"] for one in found.trials]
    values = {one["setting"]: one["value"] for one in all_of_them.trials}
    middle = np.median(list(values.values()))
    assert np.mean([values[one["setting"]] for one in given_up]) < middle


def test_one_that_fails_is_recorded_and_the_rest_goes_on(searched: Any) -> None:
    found = searched("train.learning_rate=0.1,1e30", "head=linear,nothing", how={"trials": 10, "sampler": "random"})
    states = {one["setting"]: (one["state"], one["message"]) for one in found.trials}
    assert states["learning_rate=0.1, head=linear"] == ("complete", "")
    assert states["learning_rate=1e30, head=linear"][0] == "failed"
    assert "the loss became" in states["learning_rate=1e30, head=linear"][1]
    assert "head 'nothing' is not known" in states["learning_rate=0.1, head=nothing"][1]
    assert found.rows[1].setting == "learning_rate=0.1, head=linear"


def test_where_all_fail_the_first_says_why(searched: Any) -> None:
    with pytest.raises(
        TrainingError, match=r"none of 8 settings could be fitted; the first: head 'no\w+' is not known"
    ):
        searched("head=nothing,nowhere")


def test_a_setting_counts_by_the_mean_of_its_trainings(searched: Any) -> None:
    found = searched(how={"trials": 3, "each": 2})
    records = [json.loads(path.read_text()) for path in (found.folder / "trials").glob("*.json")]
    for one in found.trials:
        own = [r["chosen"] for r in records if r["setting"] == one["setting"] and r["seed"] < 2]
        assert one["value"] == pytest.approx(np.mean(own))
        assert len(own) == 2


@pytest.mark.parametrize("stop_after", [1, 5, 8])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    searched: Any, whole: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    fit, fitted = fitting.Trials.fit, []

    def stopping(self: Any, trials: Any, *given: Any) -> None:
        if len(fitted) == stop_after:
            raise KeyboardInterrupt
        fitted.extend(trials)
        fit(self, trials, *given)

    monkeypatch.setattr(fitting.Trials, "fit", stopping)
    with pytest.raises(KeyboardInterrupt):
        searched(out=tmp_path / "stopped")
    study = tmp_path / "stopped" / "study.log"
    if study.is_file():
        # As a process leaves it that is killed while it writes.
        study.write_bytes(study.read_bytes() + b'{"op_code":6,"wor')
    stop_after = -1
    before = {trial.key for trial in fitted}
    fitted.clear()
    found = resume_sweep(tmp_path / "stopped")
    assert told(found) == told(whole)
    assert not before & {trial.key for trial in fitted if trial.seed == 0}
    assert [row.test for row in found.rows] == [row.test for row in whole.rows]
    fitted.clear()
    assert told(resume_sweep(tmp_path / "stopped")) == told(whole)
    assert fitted == []


def test_what_was_asked_for_and_not_told_is_asked_for_again(tmp_path: Path) -> None:
    from cotag.run.sweep.space import parse_space

    def study(name: str) -> Study:
        return Study(tmp_path / name, Search(trials=20), parse_space(GRID), 3, 1)

    asked = []
    for place in range(8):
        left = study("killed").ask()
        assert left.goes_on(0, 0.5)
        again = study("killed")
        now = again.ask()
        assert now.changes == left.changes
        about = {"setting": str(place), "overrides": [], "seconds": 0.0, "message": ""}
        again.tell(now, "complete", float(place % 3), about)
        asked.append(now.changes)
    at_once, expected = study("whole"), []
    for place in range(8):
        one_more = at_once.ask()
        at_once.tell(one_more, "complete", float(place % 3), about)
        expected.append(one_more.changes)
    assert asked == expected
    assert len(set(asked)) > 4


def test_a_full_disk_is_said_in_one_line(searched: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(self: Any, logs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages.journal.JournalFileBackend, "append_logs", full)
        with pytest.raises(StorageError, match=r"study\.log: could not be written \(No space left on device\)"):
            searched()
    assert len(resume_sweep(tmp_path / "search").trials) == 8


def test_without_optuna_the_command_to_install_it_is_named(searched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"--search tpe needs Optuna: pip install 'cotag\[sweep\]'"):
        searched()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": {"sampler": "tpo"}}, "--search tpo: is not known; did you mean tpe?"),
        ({"how": {"trials": 0}}, "--trials 0 or --trial-seeds 1: must be 1 or more"),
        ({"folds": 3}, "a search draws its settings itself: leave --folds"),
    ],
)
def test_what_a_search_does_not_take(searched: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as raised:
        searched(**options)
    assert message in str(raised.value)
