"""Help texts: every verb explains itself with an example that works, in 80 columns."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from cotag import __version__
from cotag.cli.main import app

VERBS = [
    "demo",
    "stats",
    "graph",
    "train",
    "sweep",
    "evaluate",
    "compare",
    "decide",
    "calibrate",
    "report",
    "predict",
    "bench",
    "convert",
    "reproduce",
    "list",
]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_verbs() -> None:
    assert [command.name for command in app.registered_commands] == VERBS


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_whose_options_it_takes(cotag: Callable[..., Any], verb: str, flag: str) -> None:
    ran = cotag(verb, flag)
    assert (ran.code, ran.err) == (0, "")
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    text = " ".join(ran.out.split())
    example = re.search(rf"Example: (cotag {verb}\b.*?) (?:Options|Arguments):", text)
    assert example is not None
    for word in shlex.split(example[1]):
        if word.startswith("-"):
            assert re.search(rf"^ +{word}\b", ran.out, re.MULTILINE), word


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_does(cotag: Callable[..., Any], verb: str) -> None:
    entries = re.split(r"\n  (?=-)", cotag(verb, "--help").out.partition("Options:\n")[2])
    assert len(entries) >= 2
    for entry in entries:
        assert re.search(r"  \s*\S+ \S+", entry), entry


def test_the_command_lists_its_verbs_whole(cotag: Callable[..., Any]) -> None:
    ran = cotag("--help")
    assert ran.code == 0
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    for verb in VERBS:
        line = re.search(rf"^  {verb} +(\S.*)$", ran.out, re.MULTILINE)
        assert line is not None
        assert not line[1].endswith("...")
    assert "Example: cotag train" in ran.out
    assert (cotag().code, cotag().err) == (2, ran.out)


def test_the_version(cotag: Callable[..., Any]) -> None:
    assert cotag("--version").out == f"cotag {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["--fast"], ["train", "--fast", "x"], ["predict"], ["predict", "run"], ["stat", "x"], ["demo", "--images", "a"]],
)
def test_wrong_usage_exits_with_2(cotag: Callable[..., Any], arguments: list[str]) -> None:
    ran = cotag(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: cotag" in ran.err
    assert "Traceback" not in ran.err
