"""``cotag bench``: every part with a time, a limit, and advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def bench(cotag: Callable[..., Any], *words: object) -> dict[str, Any]:
    ran = cotag("bench", *words, "--seconds", 0.05, "--json")
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    assert all(stage["seconds"] > 0 and stage["images_per_second"] > 0 for stage in found["stages"])
    assert found["advice"]
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in found["stages"]]


def test_input(cotag: Callable[..., Any], pictures: Path, set_tiny: list[str]) -> None:
    found = bench(cotag, "input", pictures, *set_tiny)
    assert names(found) == ["reading", "decoding", "resizing", "one process, augmented", "loader, 0 workers"]
    assert found["limit"] in ("reading", "decoding", "resizing")


def test_train(cotag: Callable[..., Any], pictures: Path, set_tiny: list[str]) -> None:
    found = bench(
        cotag, "train", pictures, *set_tiny, "--set", "train.batch_size=8", "--set", "train.accumulate=2",
        "--set", "train.ema=0.9",
    )  # fmt: skip
    wanted = ["input alone", "forward and loss", "backward", "optimizer", "compute alone", "input and compute together"]
    assert names(found)[:6] == wanted
    seconds = {stage["name"]: stage["seconds"] for stage in found["stages"]}
    slower = "input" if seconds["input alone"] > seconds["compute alone"] else "compute"
    assert found["limit"] == slower
    assert (len(found["stages"]) > 6) == (slower == "input")


def test_predict(cotag: Callable[..., Any], pictures: Path, trained: Path) -> None:
    found = bench(cotag, "predict", trained, pictures.parent, "--batch-size", 4)
    assert names(found) == ["preparing, one process", "compute alone", "predict"]
    assert found["limit"] in names(found)[:2]


def test_a_table_for_people(cotag: Callable[..., Any], pictures: Path, trained: Path) -> None:
    ran = cotag("bench", "predict", trained, pictures.parent / "p00.png", "--seconds", 0.01)
    assert (ran.code, ran.err) == (0, "")
    assert "the limit: " in ran.out
    assert "images/s" in ran.out
    assert "only one picture was given" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inputs", "PICTURES"], "bench 'inputs' is not known; did you mean input"),
        (["input", "PICTURES", "more"], "takes one DATA, given 2; leave 'more' out"),
        (["input", "PICTURES", "--batch-size", "4"], "--set train.batch_size=4"),
        (["train", "PICTURES", "--recipe", "quick"], "quick: trains on features that are computed once"),
        (["predict", "RUN"], "needs a model and pictures"),
        (["predict", "RUN", "PICTURES", "--recipe", "quick"], "leave --recipe, --set and --read out"),
    ],
)
def test_what_is_refused(cotag: Callable[..., Any], pictures: Path, trained: Path, words: list[str], said: str) -> None:
    places = {"PICTURES": pictures, "RUN": trained}
    assert said in cotag("bench", *(places.get(word, word) for word in words)).error


@pytest.mark.parametrize("what", ["input", "train"])
def test_a_picture_that_cannot_be_read(
    cotag: Callable[..., Any], draw: Callable[..., Path], tmp_path: Path, set_tiny: list[str], what: str
) -> None:
    table = draw(tmp_path / "bad", 12)
    for picture in table.parent.glob("*.png"):
        picture.write_bytes(b"")
    assert "is empty (0 bytes)" in cotag("bench", what, table, *set_tiny, "--seconds", 0.01).error
