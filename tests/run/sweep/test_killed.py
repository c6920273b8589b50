"""Processes that are killed at any moment, and two at once on one feature bank."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cotag.run.sweep.folder import SweepFolder
from cotag.run.sweep.result import Sweep
from cotag.run.sweep.study import Search
from cotag.run.sweep.sweep import resume_sweep, sweep
from cotag.types.scores import Scores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")

# Dropout has heads trained one after another, so that a record comes after the other.
LOOP = [
    "train.optimizer=adamw", "train.weight_decay=0.01", "train.epochs=3", "train.batch_size=16",
    "model.head_args.dropout=0.1",
]  # fmt: skip
GRID = ("train.learning_rate=0.01,0.02,0.05,0.1",)
SPACE = ("train.learning_rate=0.001..0.5:log",)


@pytest.fixture
def begun(pictures: Path, tiny: list[str]) -> Callable[..., Sweep]:
    """Begins a grid or a search."""

    def run(out: Path, searches: bool) -> Sweep:
        how = Search(trials=8, prune=False) if searches else None
        return sweep(pictures, "quick", SPACE if searches else GRID, 2, out=out, overrides=[*tiny, *LOOP], search=how)

    return run


def forked(work: Callable[[], Any], cache: Path | None = None) -> multiprocessing.Process:
    """The work in a process of its own."""

    def run() -> None:
        # A pool of threads does not survive a fork.
        torch.set_num_threads(1)
        if cache is not None:
            os.environ["COTAG_CACHE"] = str(cache)
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def kill_when(process: multiprocessing.Process, ready: Callable[[], bool]) -> None:
    """SIGKILL as soon as something is so."""
    while not ready():
        assert process.is_alive(), "it ended before"
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def records(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "trials").glob("*.json")}


def numbers(folder: Path) -> dict[tuple[str, int, str], np.ndarray]:
    """The scores of each trial and role."""
    loaded = [Scores.load(path) for path in (folder / "trials").rglob("*.parquet")]
    return {(one.origin["setting"], one.origin["seed"], one.origin["split"]): one.scores_NK for one in loaded}


def assert_same(one: Path, two: Path) -> None:
    own, theirs = numbers(one), numbers(two)
    assert set(own) == set(theirs)
    for key, scores_NK in own.items():
        np.testing.assert_allclose(scores_NK, theirs[key], atol=1e-5)


@pytest.mark.parametrize("searches", [False, True])
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(
    begun: Callable[..., Sweep], tmp_path: Path, searches: bool
) -> None:
    out = tmp_path / "killed"
    asked = SweepFolder(out).asked
    kill_when(forked(lambda: begun(out, searches)), lambda: asked.is_file())
    kept = records(out)
    for moment in (1, 3, 6):
        kill_when(forked(lambda: resume_sweep(out)), lambda moment=moment: len(records(out)) >= moment)  # type: ignore[misc]
        now = records(out)
        assert {path: now[path] for path in kept} == kept, "an ended trial was trained again"
        kept = now
    found, whole = resume_sweep(out), begun(tmp_path / "whole", searches)
    now = records(out)
    assert {path: now[path] for path in kept} == kept
    assert_same(out, tmp_path / "whole")
    tried = [[(one["setting"], one["state"], one["value"]) for one in each.trials] for each in (found, whole)]
    assert tried[0] == tried[1]
    assert [row.test for row in found.rows] == pytest.approx([row.test for row in whole.rows])
    left = [path.name for path in out.rglob(".*")]
    assert left == []


def test_two_at_once_on_one_bank_give_what_each_gives_alone(begun: Callable[..., Sweep], tmp_path: Path) -> None:
    bank, outs = tmp_path / "bank", [tmp_path / "first", tmp_path / "second"]
    both = [forked(lambda out=out: begun(out, False), bank) for out in outs]  # type: ignore[misc]
    kill_when(both[0], lambda: len(records(outs[0])) >= 1)
    both[1].join()
    assert both[1].exitcode == 0
    again = forked(lambda: resume_sweep(outs[0]), bank)
    again.join()
    assert again.exitcode == 0
    alone = forked(lambda: begun(tmp_path / "alone", False), tmp_path / "bank of its own")
    alone.join()
    assert alone.exitcode == 0
    assert len(numbers(tmp_path / "alone")) == 2 * 10
    for out in outs:
        assert_same(out, tmp_path / "alone")
