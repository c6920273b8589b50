"""Processes that a launcher started share one run: one folder, one writer, one voice."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

MAIN = "import sys; from cotag.cli.main import main; main(sys.argv[1:])"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_make_one_run(pictures: Path, set_tiny: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAIN, "train", str(pictures), *set_tiny]
    launched = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **launched, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "mAP" in said[0][0]
    assert "judges: split test" in said[0][1]
    assert said[1][0] == ""
    assert "judges" not in said[1][1]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["quick-1"]
    assert (tmp_path / "runs" / "quick-1" / "result.json").is_file()
