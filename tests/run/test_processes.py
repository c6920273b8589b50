"""Processes that a launcher started share one run: one folder, one writer, one voice, and one end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_two_tasks_of_slurm_make_one_run(
    pictures: Path, set_tiny: list[str], tmp_path: Path, launched: Callable[..., Any]
) -> None:
    processes = launched(["-m", "cotag", "train", pictures, *set_tiny], by="srun")
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "mAP" in said[0][0]
    assert "judges: split test" in said[0][1]
    assert said[1][0] == ""
    assert "judges" not in said[1][1]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["quick-1"]
    assert (tmp_path / "runs" / "quick-1" / "result.json").is_file()


def test_one_that_is_killed_ends_the_others_with_a_line(
    pictures: Path, set_tiny: list[str], tmp_path: Path, launched: Callable[..., Any]
) -> None:
    long = ["--set", "train.epochs=10000", "--set", "train.batch_size=8", "--set", "train.patience=null"]
    command = ["-m", "cotag", "train", pictures, "--recipe", "finetune", "--out", "run", *set_tiny, *long]
    first, second = launched(command)
    while not (tmp_path / "run" / "checkpoints" / "last").is_dir():
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    second.kill()
    _, errors = first.communicate(timeout=60)
    second.communicate()
    assert first.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("cotag: process 1 of 2 is gone (killed, or its machine); ")
    assert "--resume" in errors.splitlines()[-1]
