"""A training that is killed again and again, and goes on each time, against the same training left alone.

    .venv/bin/python benchmarks/kill.py --kills 20

Trains a small network end to end on drawn scenes with ``cotag train``, with augmentation, mixing, dropout, an average
of the weights, a process that decodes, and checkpoints every eighth of a second: once left alone, then killed at
random moments over the whole life of a run, by SIGKILL and by SIGTERM, sent to all of its processes; a third of them
while a checkpoint is being written. After each it goes on with ``--resume`` (or begins again, where it had not
begun), and may be killed once more, until a run ends by itself. Then its weights, scores and metrics.jsonl (without
times) are compared to those of the run left alone, and the next one begins. Prints a table of the moments. Exits
with 1 where anything differs, a run ends otherwise than it should, or a half-written file was left or read.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

DATA = ["scenes:", "--read", "images=200"]
SETTINGS = [
    *("model.backbone=test_resnet", "model.head_args.dropout=0.3", "data.image_size=48", "data.workers=1"),
    *("data.augment=[flip,crop]", "data.mix=cutmix", "data.mix_args.chance=0.5"),
    *("train.epochs=4", "train.batch_size=8", "train.ema=0.9", "train.checkpoint_minutes=0.002"),
]
# What a shell says of a process that ended by SIGTERM: through Cotag, and before Cotag was there.
ENDS = {signal.SIGKILL: {-signal.SIGKILL}, signal.SIGTERM: {128 + signal.SIGTERM, -signal.SIGTERM}}
LONGEST = 600.0


@dataclass
class Kill:
    """One of the kills: when, by what, what the run was doing, and where the next one went on."""

    number: signal.Signals
    after: float
    writing: bool
    went_on: str = ""


class Run:
    """One training, in one folder, by one process after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def start(self) -> subprocess.Popen[str]:
        """Begin, or go on where there is something to go on from."""
        cotag = str(Path(sys.executable).with_name("cotag"))
        begun = (self.folder / "splits.csv").is_file()
        new = [*DATA[1:], "--recipe", "scenes-tiny", "--out", str(self.folder), "--force"]
        new += [part for setting in SETTINGS for part in ("--set", setting)]
        command = [cotag, "train", DATA[0], *(["--resume", str(self.folder)] if begun else new)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def to_its_end(self) -> float:
        """Go on until it ends by itself; the seconds that it took."""
        started = time.monotonic()
        process = self.start()
        self.ended(process, {0})
        return time.monotonic() - started

    def ended(self, process: subprocess.Popen[str], codes: set[int]) -> str:
        """Wait for the end, and look at how it was; what was said."""
        _, said = process.communicate(timeout=LONGEST)
        if process.returncode not in codes:
            self.problems.append(f"ended with {process.returncode}: {said.strip().splitlines()[-1:]}")
        if "Traceback" in said or "is damaged" in said:
            self.problems.append(said.strip())
        return said

    def writing(self) -> set[str]:
        """The temporary names of checkpoints that are being written, or never were to the end."""
        names = {path.name for path in (self.folder / "checkpoints").glob(".*")}
        return {name for name in names if re.fullmatch(r"\.last\..*\.part", name)}


class Life:
    """How long a run lives that nobody kills, which changes with what else the machine does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


def kill(run: Run, life: Life, number: signal.Signals, share: float, while_writing: bool) -> tuple[Kill | None, str]:
    """Go on and kill after a share of a life; the kill, None where the run ended before, and what was said."""
    started, left, after = time.monotonic(), run.writing(), share * life.seconds
    process = run.start()
    while process.poll() is None and time.monotonic() - started < after:
        time.sleep(0.01)
    while while_writing and process.poll() is None and not run.writing() - left:
        time.sleep(0.0005)
    found = Kill(number, time.monotonic() - started, bool(run.writing() - left))
    if process.poll() is None:
        os.killpg(process.pid, number)
        # It may have been at its very end.
        said = run.ended(process, ENDS[number] | {0})
    else:
        said = run.ended(process, {0})
        life.seconds = min(life.seconds, found.after)
    return (None if process.returncode == 0 else found), said


def where(said: str) -> str:
    """Where a run began, by what it said; empty where it was killed before."""
    told = re.search(r"resumed after .*|begins at the first epoch|epoch 0: ", said)
    return "" if told is None else told[0].replace("epoch 0: ", "begun anew")


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two finished runs, to the bit, but for times."""
    names = ["model/weights.safetensors", "checkpoints/last/model.safetensors", "checkpoints/last/average.safetensors"]
    found = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
    histories, results = [], []
    for folder in (one, other):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
        histories.append([{key: row[key] for key in row if not key.startswith("seconds")} for row in rows])
        results.append(json.loads((folder / "result.json").read_text("utf-8"))["test"])
    found += ["metrics.jsonl"] if histories[0] != histories[1] else []
    found += ["result.json"] if results[0] != results[1] else []
    return found + [str(path) for path in other.rglob(".*")]


def killed_until_it_ends(run: Run, life: Life, coming: list[tuple[signal.Signals, float, bool]]) -> list[Kill]:
    """Take kills from those that are to come until the run ends, or there is none left."""
    kills: list[Kill] = []

    def went_on(said: str) -> None:
        for one in kills:
            one.went_on = one.went_on or where(said)

    while coming:
        found, said = kill(run, life, *coming[0])
        went_on(said)
        if found is None:
            return kills
        coming.pop(0)
        kills.append(found)
    went_on(run.ended(run.start(), {0}))
    return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Run(Path(folder) / "whole")
        whole.to_its_end()
        # The first one also drew the scenes.
        life = Life(Run(Path(folder) / "again").to_its_end())
        if whole.problems or differences(whole.folder, Path(folder) / "again"):
            raise SystemExit(f"the run left alone is not the same twice: {whole.problems}")
        signals = [(signal.SIGKILL, signal.SIGTERM)[place % 2] for place in range(arguments.kills)]
        draw.shuffle(signals)
        coming = [(number, draw.random(), draw.random() < 1 / 3) for number in signals]
        print(f"a run left alone: {life.seconds:.1f} s\n\n| run | signal | second | writing a checkpoint | then |")
        print("|---|---|---|---|---|")
        kills: list[Kill] = []
        failed, runs = 0, 0
        while coming:
            run, runs = Run(Path(folder) / str(runs)), runs + 1
            found = killed_until_it_ends(run, life, coming)
            kills += found
            for one in found:
                told = f"{'yes' if one.writing else 'no'} | {one.went_on}"
                print(f"| {runs} | {one.number.name} | {one.after:.1f} | {told} |")
            wrong = [*run.problems, *differences(whole.folder, run.folder)]
            failed += bool(wrong)
            print(f"| {runs} | | | | {'equal to the bit' if not wrong else f'DIFFERS: {wrong}'} |", flush=True)
    by = Counter(one.number.name for one in kills)
    print(f"\n{len(kills)} kills ({', '.join(f'{by[name]} by {name}' for name in sorted(by))}), ", end="")
    print(f"{sum(one.writing for one in kills)} while a checkpoint was written, {runs} runs, {failed} of them differ")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
