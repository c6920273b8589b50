"""``cotag graph``: the table, the notes, the files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotag.labels.graph_files import load_graph


def test_the_strongest_edges_are_printed(cotag: Callable[..., Any], pictures: Path) -> None:
    ran = cotag("graph", pictures, "--tau", "0")
    assert ran.code == 0
    assert "Reweighted graph of 3 labels from 40 images; 6 edges" in ran.out
    assert ran.err == "counted split train\n"
    rows = [row["labels"].split("|") for row in csv.DictReader(pictures.open(newline="")) if row["split"] == "train"]
    both = sum("red" in row and "blue" in row for row in rows)
    lines = [line.split() for line in ran.out.splitlines()]
    share = f"{both / sum('red' in row for row in rows):.4f}"
    assert any(line[:4] == ["red", "blue", str(both), share] for line in lines)
    assert "from 60 images" in cotag("graph", pictures, "--split", "all").out
    assert "from 20 images" in cotag("graph", pictures, "--split", "test").out


def test_isolated_labels_are_told_with_a_tau(cotag: Callable[..., Any], pictures: Path) -> None:
    flat = " ".join(cotag("graph", pictures, "--tau", "1").out.split())
    assert "Note: 3 of 3 labels have no edge at tau = 1" in flat
    assert "Without an edge: blue, green, red." in flat


def test_json_holds_the_settings(cotag: Callable[..., Any], pictures: Path) -> None:
    ran = cotag("graph", pictures, "--kind", "symmetric", "--tau", "1", "--json")
    found = json.loads(ran.out)
    assert found["settings"] == {"kind": "symmetric", "tau": 1.0, "p": 0.2, "axis": "column"}
    assert (found["labels"], found["images"], found["edges"]) == (3, 40, 0)
    assert found["isolated"] == ["blue", "green", "red"]
    assert 0 < found["proposed_tau"] < 1
    assert len(found["notes"]) == 1
    assert set(found["strongest"][0]) == {"A", "B", "images", "P(B|A)", "edge", "weight"}


@pytest.mark.parametrize("suffix", ["npz", "graphml", "pkl"])
def test_files(cotag: Callable[..., Any], pictures: Path, tmp_path: Path, suffix: str) -> None:
    out, save = tmp_path / "graph.html", tmp_path / f"graph.{suffix}"
    ran = cotag("graph", pictures, "--tau", "0.3", "--out", out, "--save", save)
    assert f"plots: {out}" in ran.out
    assert f"graph: {save}" in ran.out
    assert "Network" in out.read_text()
    found = load_graph(save)
    assert (found.label_space.names, found.tau, found.images) == (("blue", "green", "red"), 0.3, 40)
    assert "--force" in cotag("graph", pictures, "--save", save).error
    assert "--force" in cotag("graph", pictures, "--out", out).error
    assert cotag("graph", pictures, "--save", save, "--out", out, "--force").code == 0
    assert load_graph(save).tau == 0.4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tau", "1.5"], "graph.tau = 1.5"),
        (["--p", "1"], "graph.p = 1.0"),
        (["--kind", "binery"], "did you mean binary"),
        (["--axis", "rows"], "did you mean row"),
        (["--split", "trian"], "did you mean train"),
        (["--save", "graph.txt"], ".npz, .graphml, .pkl"),
    ],
)
def test_what_is_refused(cotag: Callable[..., Any], pictures: Path, options: list[str], said: str) -> None:
    assert said in cotag("graph", pictures, *options).error


def test_nothing_is_written_where_a_setting_is_wrong(cotag: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    ran = cotag("graph", pictures, "--tau", "2", "--out", tmp_path / "a.html", "--save", tmp_path / "a.npz")
    assert ran.code == 1
    assert list(tmp_path.iterdir()) == []
