"""What all tests share."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("cotag", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("cotag")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; absent, the test skips, and fails where CI=true."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        reason = "the real data (../shared/data) are not on this machine"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test caches stays in the tests' own folder."""
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


COLORS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230)}
TINY = ("model.backbone=test_resnet", "model.weights=none", "data.image_size=48", "data.workers=0")


def draw_pictures(folder: Path, count: int = 60, seed: int = 0, splits: bool = True) -> Path:
    """Write gray pictures of 48 pixels with squares of up to three colors, and the table of these colors.

    Two thirds have the split ``train`` and a third ``test``, where splits are wanted.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        pixels = random.integers(90, 130, (48, 48, 3), dtype=np.uint8)
        labels = [name for name in COLORS if random.random() < 0.45]
        for name in labels:
            top, left = random.integers(0, 32, 2)
            pixels[top : top + 16, left : left + 16] = COLORS[name]
        Image.fromarray(pixels).save(folder / f"p{number:02}.png")
        rows.append([f"p{number:02}.png", "|".join(labels), "test" if number % 3 == 2 else "train"])
    return write_table(folder / "labels.csv", rows if splits else [row[:2] for row in rows])


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write a table with the columns image, labels and, where the rows have three cells, split."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "labels", "split"][: len(rows[0])])
        writer.writerows(rows)
    return path


@dataclass(frozen=True)
class Ran:
    """What a command did: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of the error."""
        lines = [line for line in self.err.splitlines() if line.startswith("cotag: ")]
        assert self.code == 1, (self.code, self.err)
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0]), self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def cotag(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process."""
    from cotag.cli.main import main

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        else:
            code = 0
        printed = capsys.readouterr()
        if isinstance(code, str):
            return Ran(1, printed.out, printed.err + code + "\n")
        return Ran(int(code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Settings that make any recipe small and offline."""
    return list(TINY)


@pytest.fixture(scope="session")
def set_tiny() -> list[str]:
    """The same as options of a command."""
    return [part for setting in TINY for part in ("--set", setting)]


@pytest.fixture(scope="session")
def draw() -> Callable[..., Path]:
    """``draw_pictures``."""
    return draw_pictures


@pytest.fixture(scope="session")
def table() -> Callable[..., Path]:
    """``write_table``."""
    return write_table


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of 60 small pictures with the splits train and test; only to be read."""
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished ``quick`` run on ``pictures``; only to be read."""
    from cotag.run.train import train

    out = tmp_path_factory.mktemp("runs") / "trained"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTAG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        train(pictures, "quick", out, TINY)
    return out
