"""End-to-end training that is killed in the middle and goes on: two epochs on miml2000 at 128 pixels.

    .venv/bin/python benchmarks/finetune.py

Needs ../shared/data (or --data). Starts ``cotag train --recipe finetune`` as a process, sends it SIGKILL once the
checkpoint of the first epoch is written, goes on with ``--resume``, and prints each epoch's numbers on the images
that choose and, at the end, the test mAP. Exits with 1 where the run does not improve on its starting point.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def epochs_done(state: Path) -> int:
    try:
        return int(json.loads(state.read_text("utf-8"))["epoch"])
    except (OSError, ValueError):
        return -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"{arguments.data}: there is no such folder; give --data")
    cotag = str(Path(sys.executable).with_name("cotag"))
    labels = f"table:{arguments.data}/miml2000/labels.csv"
    settings = [
        f"model.weights={arguments.data}/weights/mobilenetv2_100.imagenet1k.safetensors",
        "model.backbone_args.pad_type=same",
        "data.mean=[0.5,0.5,0.5]",
        "data.std=[0.5,0.5,0.5]",
        "data.image_size=128",
        "train.epochs=2",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        process = subprocess.Popen([cotag, "train", labels, "--recipe", "finetune", "--out", str(out), *options])
        while process.poll() is None and epochs_done(out / "checkpoints" / "last" / "state.json") < 1:
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        print(f"killed after epoch {epochs_done(out / 'checkpoints' / 'last' / 'state.json')}, code {process.wait()}")
        subprocess.run([cotag, "train", labels, "--resume", str(out)], check=True, stdout=subprocess.DEVNULL)
        history = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
        test = json.loads((out / "result.json").read_text("utf-8"))["test"]["metrics"]
    print("\n| epoch | mAP on the images that choose | loss |\n|---|---|---|")
    for row in history:
        print(f"| {row['epoch']} | {row['val_mAP']:.4f} | {row['val_loss']:.4f} |")
    print(f"\ntest mAP {test['mAP']:.4f}, chance {test['chance_mAP']:.4f}")
    if not history[-1]["val_mAP"] > history[0]["val_mAP"]:
        raise SystemExit("the run did not improve on its starting point")


if __name__ == "__main__":
    main()
