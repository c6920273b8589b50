"""``cotag list schedules --plot``: the curves as text and as a picture, against the schedules themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotag.cli.plot import BLANK, DOTS, braille_plot
from cotag.registry import SCHEDULES
from cotag.training.schedules import cosine, factor


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """(column, row from the top) of the dots of lines of braille."""
    found = set()
    for line, text in enumerate(lines):
        for place, character in enumerate(text[3:]):
            bits = ord(character) - BLANK
            assert 0 <= bits < 256
            found |= {(2 * place + c, 4 * line + r) for r in range(4) for c in range(2) if bits & DOTS[r][c]}
    return found


def test_a_falling_line_is_its_dots() -> None:
    lines = braille_plot([1 - n / 7 for n in range(8)], width=4, height=2)
    assert dots(lines) == {(n, n) for n in range(8)}
    assert [line[:3] for line in lines] == ["1 ┤", "0 ┤"]


def test_a_jump_is_an_upright_line() -> None:
    found = dots(braille_plot([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], width=3, height=2))
    assert found == {(0, 0), (1, 0), (2, 0), (4, 7), (5, 7)} | {(3, row) for row in range(1, 8)}
    assert dots(braille_plot([0.0, 0.0, 1.0, 1.0], width=2, height=1)) == {(0, 3), (1, 3), (3, 0)} | {
        (2, row) for row in range(3)
    }


def test_values_beyond_the_axis_are_drawn_at_its_ends() -> None:
    assert dots(braille_plot([2.0, 2.0, -1.0, -1.0], width=2, height=1)) == {
        (0, 0),
        (1, 0),
        (2, 1),
        (2, 2),
        (2, 3),
        (3, 3),
    }


def test_every_schedule_is_drawn(cotag: Callable[..., Any]) -> None:
    ran = cotag("list", "schedules", "--plot")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    heads = [place for place, line in enumerate(lines) if line.partition(":")[0] in SCHEDULES.names()]
    assert [lines[place].partition(":")[0] for place in heads] == SCHEDULES.names()
    for place, name in zip(heads, SCHEDULES.names(), strict=True):
        wanted = braille_plot([factor(SCHEDULES.build(name), step, 720, 0) for step in range(720)])
        assert lines[place + 1 : place + 1 + len(wanted)] == wanted
        assert len(dots(wanted)) >= 80
    assert all(len(line) <= 120 for line in lines)


def test_a_schedule_of_ones_own_with_its_warm_up(cotag: Callable[..., Any]) -> None:
    settings = ["--set", "train.epochs=10", "--set", "train.warmup_epochs=2", "--set", "train.schedule_args.floor=0.5"]
    found = json.loads(cotag("list", "schedules", "--plot", *settings, "--json").out)["schedules"]
    assert list(found) == ["cosine"]
    assert found["cosine"]["factor"] == pytest.approx([factor(cosine(0.5), step, 720, 144) for step in range(720)])
    assert found["cosine"]["done"][144] == 0.2
    assert found["cosine"]["factor"][144] == 1.0


def test_the_picture_holds_all_curves_and_is_not_overwritten(cotag: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "schedules.html"
    assert cotag("list", "schedules", "--plot", "--out", out).code == 0
    drawn = json.loads(out.read_text().split('-data">')[1].split("</script>")[0])["data"]
    assert [line["name"] for line in drawn] == SCHEDULES.names()
    assert len({line["line"]["color"] for line in drawn}) == len(drawn)
    for line in drawn:
        assert line["y"] == pytest.approx([SCHEDULES.build(line["name"])(done) for done in line["x"]])
    assert "--force" in cotag("list", "schedules", "--plot", "--out", out).error
    assert cotag("list", "schedules", "--plot", "--out", out, "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["heads", "--plot"], "--plot: heads has no curves; cotag list schedules --plot"),
        (["--plot"], "--plot: a list of everything has no curves"),
        (["schedules", "--out", "a.html"], "--set and --out are for --plot"),
        (["schedules", "--plot", "--out", "a.png"], "--out a.png: the picture is an HTML file"),
        (["schedules", "--plot", "--set", "train.learning_rate=1"], "no schedule depends on it"),
        (["schedules", "--plot", "--set", "train.schedule=cosin"], "did you mean cosine?"),
        (
            ["schedules", "--plot", "--set", "train.schedule_args.flor=1"],
            "'flor' is not known; did you mean floor",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(cotag: Callable[..., Any], arguments: list[str], said: str) -> None:
    assert said in cotag("list", *arguments).error
