"""How long the commands take to start, as whole processes, in turns.

    .venv/bin/python benchmarks/startup.py

``cotag --help`` and ``cotag predict`` on one picture (mobilenetv2_100, saved untrained) beside the bare
interpreter and ``import torch, timm``. Medians of --repeats turns after one warm-up; ratios are of each turn's pair.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cotag.evaluation.decision import Decision
from cotag.models.bundle import save_tagger
from cotag.models.tagger import build_tagger
from cotag.types.labels import LabelSpace


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    cotag = str(Path(sys.executable).with_name("cotag"))
    with tempfile.TemporaryDirectory() as folder:
        space = LabelSpace(tuple(f"label {k}" for k in range(20)))
        tagger = build_tagger(space, "mobilenetv2_100", "linear")
        save_tagger(tagger, Path(folder) / "model", Decision().to_json(), {})
        picture = Path(folder) / "picture.jpg"
        pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(picture)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "cotag --help": [cotag, "--help"],
            "python -c 'import torch, timm'": [sys.executable, "-c", "import torch, timm"],
            "cotag predict MODEL picture.jpg": [cotag, "predict", str(Path(folder) / "model"), str(picture)],
        }
        for command in commands.values():
            seconds_of(command)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.repeats):
            for name, command in commands.items():
                times[name].append(seconds_of(command))
    base = times["python -c 'import torch, timm'"]
    print("| command | seconds: median (least to most) | over import torch, timm |\n|---|---|---|")
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        print(f"| {name} | {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
