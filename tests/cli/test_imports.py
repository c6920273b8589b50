"""What a command imports: nothing heavy that it does not use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    *("torch", "torchvision", "timm", "accelerate", "pandas", "scipy", "sklearn", "plotly", "jinja2"),
    *("iterstrat", "pycocotools", "rich", "pydantic"),
}
# pyarrow looks for pandas where it converts; scipy serves the matrices of statistics.
ALLOWED = {
    "--help": set(),
    "--version": set(),
    "train --help": {"pydantic"},
    "list recipes": {"rich", "pydantic"},
    "stats PICTURES": {"pandas", "scipy", "rich", "pydantic"},
    "predict RUN IMAGE": {"torch", "torchvision", "timm", "pydantic"},
    "evaluate SCORES": {"pandas", "rich", "pydantic"},
    "evaluate SCORES --decision RUN": {"pandas", "rich", "pydantic"},
    "compare SCORES CHOSEN": {"pandas", "rich", "pydantic"},
    "decide SCORES --objective OF1": {"pandas", "rich", "pydantic"},
    "calibrate SCORES --method platt": {"pandas", "rich", "pydantic"},
    "report SCORES --out PAGE": {"pandas", "scipy", "plotly", "jinja2", "rich", "pydantic"},
}
CODE = """
import sys
from cotag.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ALLOWED)
def test_a_command_imports_only_what_it_uses(command: str, trained: Path, pictures: Path, tmp_path: Path) -> None:
    places = {
        "PICTURES": pictures,
        "RUN": trained,
        "IMAGE": pictures.parent / "p00.png",
        "SCORES": trained / "scores" / "test.parquet",
        "CHOSEN": tmp_path / "chosen.parquet",
        "PAGE": tmp_path / "page.html",
    }
    shutil.copy(places["SCORES"], places["CHOSEN"])
    words = [str(places.get(word, word)) for word in command.split()]
    ran = subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr
    imported = set(ran.stderr.splitlines()[-1].split())
    assert "cotag" in imported
    assert imported & HEAVY <= ALLOWED[command]
