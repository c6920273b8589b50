"""Processes as a launcher starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Started = list[subprocess.Popen[str]]


@pytest.fixture
def launched(tmp_path: Path) -> Callable[..., Started]:
    """Starts Python with these arguments as two processes, in the test's folder.

    ``by`` is the launcher whose variables they have: torchrun or srun, which knows neither address nor port.
    """

    def start(arguments: Sequence[object], by: str = "torchrun") -> Started:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        return [_begin(arguments, tmp_path, _variables(by, rank, port)) for rank in range(2)]

    return start


def _variables(by: str, rank: int, port: int) -> dict[str, object]:
    if by == "torchrun":
        return {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    names = {"PROCID": rank, "LOCALID": rank, "STEP_NUM_TASKS": 2, "STEP_NODELIST": "localhost", "STEP_ID": 0}
    # Such a job number that the port made of it is a free one.
    return {f"SLURM_{name}": value for name, value in {**names, "JOB_ID": port + 20_000 - 10_000}.items()}


def _begin(arguments: Sequence[object], folder: Path, variables: dict[str, object]) -> subprocess.Popen[str]:
    settings = {key: str(value) for key, value in variables.items()}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
