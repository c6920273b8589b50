"""Feature extraction against a bare loop of the same backbone over tensors that are already in memory.

    .venv/bin/python benchmarks/features.py

Needs ../shared/data (or --data). In turns, --repeats times, on the same pictures: the bare loop as timm makes the
model, the bare loop in the memory layout that Cotag uses (channels last), Cotag's extraction from files (digest,
decode, resize, backbone, pool, write the bank), and the decoding alone in one process. Medians; the ratio is of
each turn's pair.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cotag.data.images import open_image
from cotag.data.read import read
from cotag.models.tagger import Tagger, build_tagger
from cotag.training.features import compute_features
from cotag.types.index import Index
from cotag.types.progress import Silent

BATCH = 32


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bare(tagger: Tagger, images: torch.Tensor) -> None:
    """The backbone over normalized float tensors in memory, pooled; nothing else."""
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            tagger.backbone(images[start : start + BATCH]).pool("avg")


def extract(tagger: Tagger, index: Index, rows: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COTAG_CACHE"] = folder
        found = compute_features(tagger, index, rows, Silent(), batch_size=BATCH)
        assert found.computed == len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"{arguments.data}: there is no such folder; give --data")
    index = read(f"table:{arguments.data}/miml2000/labels.csv")
    rows = np.arange(arguments.images)
    plain = build_tagger(index.label_space, arguments.backbone, "linear").eval()
    tagger = build_tagger(index.label_space, arguments.backbone, "linear").eval()
    tagger.load_state_dict(plain.state_dict())
    tagger.to(memory_format=torch.channels_last)
    pixels = np.stack([tagger.preprocessing(open_image(index.image(row))) for row in rows])
    images = torch.from_numpy(pixels) * plain.scale - plain.shift
    last = images.contiguous(memory_format=torch.channels_last)
    works: dict[str, Callable[[], object]] = {
        "bare loop, as timm makes it": lambda: bare(plain, images),
        "bare loop, channels last": lambda: bare(tagger, last),
        "Cotag, from files to the bank": lambda: extract(tagger, index, rows),
        "decode and resize alone, one process": lambda: [
            tagger.preprocessing(open_image(index.image(row))) for row in rows
        ],
    }
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(arguments.repeats):
        for name, work in works.items():
            times[name].append(seconds_of(work))
    print(f"{arguments.backbone}, {len(rows)} pictures, {torch.get_num_threads()} threads, {arguments.repeats} turns\n")
    print("| what | images/s (median) | Cotag's speed over it (median of pairs) |\n|---|---|---|")
    own = times["Cotag, from files to the bank"]
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, own, strict=True))
        print(f"| {name} | {len(rows) / statistics.median(found):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
