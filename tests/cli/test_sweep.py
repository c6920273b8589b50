from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOOP = [
    part
    for setting in ("train.optimizer=adamw", "train.weight_decay=0.01", "train.epochs=3", "train.batch_size=16")
    for part in ("--set", setting)
]


def test_a_sweep(cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    given = (pictures, *set_tiny, *LOOP, "--grid", "head=gcn", "--grid", "train.learning_rate=0.1,1e30")
    ran = cotag("sweep", *given, "--seeds", 2, "--out", out)
    assert ran.code == 0, ran.err
    for text in ("Verdict", "To take, by the images that choose", "learning_rate=0.1", "cannot be", "2 trials failed"):
        assert text in ran.out
    assert "3 settings x 2 seeds: 6 trials, 0 at hand" in ran.err
    ran = cotag("sweep", "--resume", out, "--json")
    assert "6 trials, 6 at hand" in ran.err
    found = json.loads(ran.out)
    assert [row["setting"] for row in found["settings"]][:2] == ["recipe", "head=gcn, learning_rate=0.1"]
    assert found["settings"][2]["verdict"] == "failed"
    assert Path(found["report"]).is_file()
    refused = cotag("sweep", *given, "--out", out)
    assert "exists already" in refused.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "graph.tua=0.1"], "--grid graph.tua: there is no such setting; did you mean graph.tau?"),
        ([], "a sweep needs DATA and --grid key=value,value, --step or --waterfall; or --resume DIR"),
        (["--grid", "head=gcn", "--metric", "mAp"], "metric 'mAp' is not known; did you mean mAP?"),
        (["--resume", "x", "--seeds", "3"], "--resume goes on with what the sweep was begun with"),
        (["--resume", "x"], "x: holds no sweep that can be resumed"),
        (["--grid", "head=gcn", "--trials", "3"], "are of a search: give --search tpe as well"),
        (["--grid", "graph.tau=0.1..0.6"], "a range cannot be tried whole; search it by --search tpe --trials N"),
        (["--step", "train.epochs=3"], "--step 'train.epochs=3': expected 'name: key=value, key=value'"),
        (["--step", "a: train.epochs=3", "--grid", "head=gcn"], "a waterfall has its steps: leave --grid"),
        (["--waterfall", "pgs"], "is neither a file of steps nor a list that ships; did you mean psg?"),
        (["--resume", "x", "--step", "a: train.epochs=3"], "--resume goes on with what the sweep was begun with"),
        (["--resume", "x", "--search", "tpe"], "--resume goes on with what the sweep was begun with"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    cotag: Callable[..., Any], pictures: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    ran = cotag("sweep", pictures, *options)
    assert message in ran.error


def test_a_search(cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path) -> None:
    out = tmp_path / "search"
    given = ("--search", "random", "--trials", 3, "--seeds", 2, "--grid", "train.learning_rate=0.01..0.1:log")
    ran = cotag("sweep", pictures, *set_tiny, *LOOP, *given, "--out", out)
    assert ran.code == 0, ran.err
    for text in ("The images that choose like", "Settings tried", "The best 3 of 3", "had no part in the search"):
        assert text in " ".join(ran.out.split())
    ran = cotag("sweep", "--resume", out, "--json")
    assert "search of 3 settings, 1 training(s) each: 3 at hand" in ran.err
    assert [one["state"] for one in json.loads(ran.out)["trials"]] == ["complete"] * 3


def test_a_waterfall(cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path) -> None:
    steps = tmp_path / "steps.yaml"
    steps.write_text("- {name: faster, set: [train.learning_rate=0.1]}\n")
    given = ("--waterfall", steps, "--step", "threshold: decide.threshold=0.3", "--metric", "macro_F1", "--seeds", 2)
    ran = cotag("sweep", pictures, *set_tiny, *LOOP, *given, "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    for text in (
        "faster: ",
        "threshold: ",
        "All together: macro_F1",
        "against the step before it",
        "The other columns",
    ):
        assert text in " ".join(ran.out.split()), text
    ran = cotag("sweep", "--resume", tmp_path / "out", "--json")
    assert "6 trials, 6 at hand" in ran.err
    found = json.loads(ran.out)
    assert [(one["step"], one["after"]) for one in found["steps"]] == [("faster", "recipe"), ("threshold", "faster")]
