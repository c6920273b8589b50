"""``cotag reproduce``: names, options that an experiment takes, one page, and errors of one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotag.registry import EXPERIMENTS


def test_help_names_every_experiment(cotag: Callable[..., Any]) -> None:
    text = " ".join(cotag("reproduce", "--help").out.split())
    assert all(name in text for name in EXPERIMENTS.names())


def test_retrieval_is_printed_and_written(
    cotag: Callable[..., Any], trained: Path, pictures: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    command = ("reproduce", "retrieval", pictures, "--model", trained, "--k", "3,1")
    ran = cotag(*command, "--out", page)
    assert ran.code == 0
    assert "plain backbone" in ran.out
    assert f"report: {page}" in ran.out
    assert page.read_text("utf-8").count('<li class="begins">') > 4
    assert "exists already" in cotag(*command, "--out", page).error
    found = json.loads(cotag(*command, "--json").out)
    assert (found["experiment"], found["report"]) == ("retrieval", None)
    assert {row["k"] for row in found["sections"][0]["rows"]} == {1, 3}


def test_the_other_experiments_print_their_tables(cotag: Callable[..., Any], trained: Path) -> None:
    assert "Relative difference" in cotag("reproduce", "comparison", "--model", trained, "--against", "voc2007").out
    assert "Classifiers of" in cotag("reproduce", "classifiers", "--model", trained).out


def test_an_ablation_is_printed_and_goes_on(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    small = ["--set", "train.epochs=1", "--set", "model.head_args.widths=[4]", "--seeds", 2]
    grid = [
        part for key in ("graph.kind=binary", "graph.tau=0.1", "graph.p=0.5", "depth=2") for part in ("--grid", key)
    ]
    command = ("reproduce", "mlgcn-ablation", pictures, *set_tiny, *small, *grid, "--runs", tmp_path / "runs")
    ran = cotag(*command, "--out", tmp_path / "page.html")
    assert ran.code == 0
    assert "Threshold tau, against 0.4: " in ran.out
    assert "glove.6B.zip" in ran.out
    assert "mAP over threshold tau" in (tmp_path / "page.html").read_text("utf-8")
    again = cotag(*command, "--json")
    assert "12 trials, 12 at hand" in again.err
    assert [one["title"] for one in json.loads(again.out)["sections"]][-1] == "Not run"


def test_a_tuning_draws_its_curves(
    cotag: Callable[..., Any], pictures: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    grid = ["learning_rate=0.1", "batch_size=32", "optimizer=adamw", "schedule=cosine", "l1=0", "weight_decay=0.01"]
    given = [part for one in (*grid, "optimizer_args.momentum=0.9") for part in ("--grid", f"train.{one}")]
    small = ["--set", "train.epochs=1", "--seeds", 1, "--runs", tmp_path / "runs", "--out", tmp_path / "page.html"]
    ran = cotag("reproduce", "psg-tuning", pictures, *set_tiny, *small, *given)
    assert ran.code == 0
    assert "Learning rate, against 0.001: " in ran.out
    assert "validation loss" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["retrival"], "'retrival' is not known; did you mean retrieval?"),
        (["retrieval"], "experiment retrieval needs DATA and --model"),
        (["classifiers", "DATA", "--model", "RUN"], "experiment classifiers takes no DATA"),
        (["comparison", "--model", "RUN", "--k", "3"], "experiment comparison takes no --k"),
        (["comparison", "--model", "RUN", "--small"], "experiment comparison takes no --small"),
        (["retrieval", "DATA", "--model", "RUN", "--k", "1,x"], "--k '1,x': expected whole numbers"),
        (["retrieval", "DATA", "--model", "RUN", "--k", ""], "--k '': expected whole numbers"),
        (["retrieval", "DATA", "--model", "nowhere"], "nowhere: holds no model"),
        (["comparison", "--model", "RUN", "--against", "voc2012"], "did you mean voc2007?"),
        (["mlgcn-ablation"], "experiment mlgcn-ablation needs DATA"),
        (["mlgcn-ablation", "DATA", "--small"], "experiment mlgcn-ablation takes no --small"),
        (["mlgcn-ablation", "DATA", "--grid", "graph.q=1"], "--grid graph.q: is none of what the ablation varies"),
        (["psg-tuning", "DATA", "--vectors", "glove=x"], "experiment psg-tuning takes no --vectors"),
        (["retrieval", "DATA", "--model", "RUN", "--end-to-end"], "experiment retrieval takes no --end-to-end"),
        (["mlgcn-coco"], "experiment mlgcn-coco needs COCO 2014: download"),
    ],
)
def test_an_error_is_one_line(
    cotag: Callable[..., Any], trained: Path, pictures: Path, arguments: list[str], message: str
) -> None:
    places = {"RUN": trained, "DATA": pictures}
    ran = cotag("reproduce", *(places.get(word, word) for word in arguments))
    assert ran.out == ""
    assert message in ran.error
