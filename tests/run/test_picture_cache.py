from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cotag.data import square_cache
from cotag.errors import SettingError, StorageError
from cotag.run.train import train
from cotag.types.progress import Progress, Silent
from cotag.types.scores import Scores

WHOLE = ("train.mode=end_to_end", "train.optimizer=adamw", "train.weight_decay=0.01", "train.epochs=2")


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def run(pictures: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scores]:
    monkeypatch.setattr(square_cache, "SETTLED", -60.0)

    def trained(name: str, *settings: str, progress: Progress | None = None) -> Scores:
        train(pictures, "quick", tmp_path / name, [*tiny, *WHOLE, *settings], progress=progress)
        return Scores.load(tmp_path / name / "scores" / "test.parquet")

    return trained


@pytest.mark.parametrize("augment", ["[]", "[flip]", "[crop, flip]"])
def test_a_run_with_a_cache_is_the_run_without(run: Callable[..., Scores], tmp_path: Path, augment: str) -> None:
    told = Told()
    plain = run("plain", f"data.augment={augment}")
    kept = run("kept", f"data.augment={augment}", f"data.cache={tmp_path / 'squares'}", progress=told)
    assert np.array_equal(plain.scores_NK, kept.scores_NK)
    (folder,) = (tmp_path / "squares").iterdir()
    squares = len(list(folder.glob("??/*")))
    # Of 60 pictures 20 test, and of the others some choose.
    assert {"[]": squares == 60, "[flip]": 60 < squares < 100, "[crop, flip]": 20 < squares < 40}[augment]
    (line,) = [line for line in told.lines if line.startswith("pictures: up to")]
    assert str(folder) in line
    assert ("prepared each time" in " ".join(told.lines)) == (augment == "[crop, flip]")


def test_a_disk_without_room_is_one_line_before_anything_is_trained(
    run: Callable[..., Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 1000))
    with pytest.raises(StorageError, match=r"data\.cache: .* where 1\.0 kB are free; free space, name another folder"):
        run("full", f"data.cache={tmp_path / 'squares'}")


def test_features_need_no_cache(run: Callable[..., Scores]) -> None:
    with pytest.raises(
        SettingError, match=r"data\.cache = auto: on features the feature bank keeps what pictures give"
    ):
        run("features", "train.mode=features", "train.optimizer=lbfgs", "train.weight_decay=auto", "data.cache=auto")
    with pytest.raises(SettingError, match=r"data\.cache: is empty"):
        run("empty", "data.cache=' '")
