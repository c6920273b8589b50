from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def together(tmp_path: Path) -> Callable[[str], list[str]]:
    """Runs a script as two processes on CPUs; gives what each wrote into the file of its number.

    The script's ``{folder}`` becomes the folder of these tests, and its argument is where to write.
    """

    def run(text: str) -> list[str]:
        script = tmp_path / "shared.py"
        script.write_text(text.format(folder=str(Path(__file__).parent)))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run([*command, script, tmp_path], env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [(tmp_path / rank).read_text() for rank in "01"]

    return run
