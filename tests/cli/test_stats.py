"""``cotag stats``: the sections in the terminal, as JSON, and as a file with plots."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_counts_are_printed(cotag: Callable[..., Any], pictures: Path) -> None:
    ran = cotag("stats", pictures)
    assert (ran.code, ran.err) == (0, "")
    rows = list(csv.DictReader(pictures.open(newline="")))
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["images", "60", "40", "20"] in lines
    for name in ("red", "green", "blue"):
        count = sum(name in row["labels"].split("|") for row in rows)
        assert any(line[:1] == [name] and str(count) in line for line in lines), name
    for title in ("Summary", "Problems", "Labels", "Co-occurrence", "Image sizes", "Pixel values"):
        assert f"\n{title}\n" in ran.out


def test_problems_are_found(cotag: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures.parent, tmp_path / "copy")
    (tmp_path / "copy" / "p00.png").write_bytes(b"")
    shutil.copy(tmp_path / "copy" / "p01.png", tmp_path / "copy" / "p02.png")
    problems = "\n".join(cotag("stats", tmp_path / "copy" / "labels.csv").out.split("\n\n"))
    assert "images that cannot be read" in problems
    assert "p00.png" in problems
    assert "identical files in several splits" in problems
    quick = cotag("stats", tmp_path / "copy" / "labels.csv", "--no-pixels").out
    assert "cannot be read" not in quick
    assert "Pixel values" not in quick


def test_a_file_with_plots(cotag: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "stats.html"
    ran = cotag("stats", pictures, "--out", out)
    assert ran.out.rstrip().endswith(f"plots: {out}")
    text = out.read_text()
    assert "Co-occurrence" in text
    assert "plotly" in text.lower()
    assert cotag("stats", pictures, "--out", out).code == 1
    assert cotag("stats", pictures, "--out", out, "--force").code == 0


def test_json_holds_the_rows(cotag: Callable[..., Any], pictures: Path) -> None:
    sections = {one["title"]: one for one in json.loads(cotag("stats", pictures, "--json").out)["sections"]}
    counts = {row["label"]: row for row in sections["Labels"]["rows"]}
    assert set(counts) == {"red", "green", "blue"}


@pytest.mark.parametrize("width", ["80", "200"])
def test_lines_keep_to_the_terminal(
    cotag: Callable[..., Any], pictures: Path, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr("cotag.cli.terminal.on_terminal", lambda: True)
    assert max(map(len, cotag("stats", pictures).out.splitlines())) <= int(width)


def test_reader_options(cotag: Callable[..., Any], pictures: Path) -> None:
    found = json.loads(cotag("stats", pictures, "--read", "order=seen", "--no-pixels", "--json").out)["sections"]
    assert found
    assert "'ordr' is not known" in cotag("stats", pictures, "--read", "ordr=seen").error
