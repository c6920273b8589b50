"""docs/experiments.md lists the experiments that there are, with examples that the command line takes."""

from __future__ import annotations

import shlex
from pathlib import Path

from typer.main import get_command

from cotag.cli.main import app
from cotag.registry import EXPERIMENTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "experiments.md"


def test_each_experiment_has_a_row_with_an_example() -> None:
    rows = [
        line for line in PAGE.read_text("utf-8").splitlines() if "`cotag reproduce " in line and line.startswith("| `")
    ]
    assert sorted(row.split("`")[1] for row in rows) == EXPERIMENTS.names()
    verb = get_command(app).commands["reproduce"]  # type: ignore[attr-defined]
    for row in rows:
        name, command = row.split("`")[1], row.split("`")[-2]
        words = shlex.split(command)
        assert words[:3] == ["cotag", "reproduce", name]
        verb.make_context("reproduce", words[2:])
