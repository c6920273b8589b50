"""What an Index costs from ten thousand to ten million rows: seconds, and memory of all processes together.

    .venv/bin/python benchmarks/index.py [--rows 10000 100000 1000000 10000000] [--workers 2] [--epochs 1]

Each size is made in a process of its own and measured in another. The rows are made up: an id of 12 digits, a
reference such as `train/000012/000012345.jpg`, 3 of 80 labels with a long tail, 1 in 20 rows with an unknown one, and a
split: nine in ten rows train.

- save, MB: `Index.save` and its file; open: `Index.load`, until its length, splits and one row are there;
- epoch begins: from the question for an epoch until the first batch's rows are known, shuffled, and as planned by the
  sampler `repeat_factor` (in brackets what planning takes, once in a run);
- order, image, targets: microseconds for a row: its place in the epoch (all of them), its path, its dense targets (the
  median batch of 256 random rows);
- loader: an epoch through the `Loader` of training with its workers, on the clock, for a row; a stand-in for decoding
  reads the row's path and writes it into 8 x 8 pixels, so that nothing but the Index and the workers' queue costs time;
- memory after the epochs, of the main process and its workers together: PSS (what processes share counts once; pages of
  the file that were read count too) and RSS (it counts for each), the private part of the largest worker, and the peak
  of the main process. What Python and torch take by themselves is in the row with the fewest rows.

With --epochs the memory after each of them is printed, to see that it does not grow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from cotag.data.holdings import Holdings
from cotag.data.loader import BatchOrder, ImageRows, Loader, Place
from cotag.data.samplers import repeat_factor
from cotag.data.sampling import Balance
from cotag.data.transforms import Preprocessing
from cotag.types.frequency import infrequent_labels
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

LABELS, EACH, BATCH, SIDE = 80, 3, 256, 8
COLUMNS = (
    *("rows", "save s", "MB", "open s", "epoch begins s", "planned s", "order us", "image us", "targets us"),
    *("loader us", "PSS MB", "RSS MB", "worker's own MB", "peak of main MB"),
)


def made_up(rows: int) -> Index:
    """An Index of that many rows, without a Python object for each."""
    random = np.random.default_rng(0)
    share_K = 1 / np.arange(1, LABELS + 1) ** 1.2
    first = random.choice(LABELS, rows, p=share_K / share_K.sum())
    # Steps of less than a third of all labels: the labels of a row differ.
    steps = random.integers(1, LABELS // EACH, (rows, EACH))
    steps[:, 0] = 0
    labels = ((first[:, None] + steps.cumsum(1)) % LABELS).astype(np.int32)
    with_unknown = random.random(rows) < 0.05
    unknown = ((labels[:, -1] + 1 + random.integers(0, 3, rows)) % LABELS).astype(np.int32)
    unknown_ok = with_unknown & (unknown[:, None] != labels).all(1)
    offsets = np.concatenate(([0], np.cumsum(unknown_ok))).astype(np.int32)
    numbers = pa.array(np.arange(rows))
    text = pc.utf8_lpad(numbers.cast(pa.string()), 9, "0")
    folder = pc.utf8_lpad(pc.divide(numbers, 1000).cast(pa.string()), 6, "0")
    where = np.where(random.random(rows) < 0.9, 0, 1).astype(np.int32)
    columns = {
        "id": pc.binary_join_element_wise("000", text, ""),
        "image": pc.binary_join_element_wise("train/", pc.binary_join_element_wise(folder, text, "/"), ".jpg", ""),
        "positives": pa.ListArray.from_arrays(
            pa.array(np.arange(0, rows * EACH + 1, EACH, dtype=np.int32)), labels.ravel()
        ),
        "unknowns": pa.ListArray.from_arrays(pa.array(offsets), unknown[unknown_ok]),
        "split": pa.DictionaryArray.from_arrays(pa.array(where), pa.array(["train", "val"])),
    }
    return Index.build(columns, LabelSpace(tuple(f"label{number:02d}" for number in range(LABELS))), "/photographs")


class Unread(ImageRows):
    """A row's path in the place of its pixels."""

    def prepare(self, place: Place, out_HWC: np.ndarray) -> None:
        """Write the path into the array."""
        reference = str(self.index.image(place[1])).encode()
        out_HWC.ravel()[: len(reference)] = np.frombuffer(reference, dtype=np.uint8)


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def megabytes(pid: int | str, what: str) -> float:
    name = "status" if what.startswith("Vm") else "smaps_rollup"
    lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


def memory(workers: Sequence[Any]) -> dict[str, float]:
    """Of this process and its workers."""
    pids = ["self", *(worker.pid for worker in workers)]
    own = [megabytes(pid, "Private_Dirty") for pid in pids[1:]]
    return {
        "PSS MB": sum(megabytes(pid, "Pss") for pid in pids),
        "RSS MB": sum(megabytes(pid, "Rss") for pid in pids),
        "worker's own MB": max(own, default=0.0),
        "peak of main MB": megabytes("self", "VmHWM"),
    }


def make(path: Path, rows: int) -> dict[str, float]:
    index = made_up(rows)
    return {"save s": seconds(lambda: index.save(path))[0], "MB": path.stat().st_size / 1e6}


def opened(path: Path) -> Index:
    index = Index.load(path)
    index.splits()
    index.image(len(index) - 1)
    return index


def per_row(call: Callable[[np.ndarray], Any], rows: np.ndarray) -> float:
    """Microseconds for a row, of the median batch."""
    parts = np.array_split(rows, max(1, len(rows) // BATCH))
    return statistics.median(1e6 * seconds(lambda part=part: call(part))[0] / len(part) for part in parts)


def measure(path: Path, workers: int, epochs: int) -> dict[str, float]:
    found: dict[str, float] = {}
    found["open s"], index = seconds(lambda: opened(path))
    rows = index.rows_of("train")
    shuffled = BatchOrder(rows, BATCH, shuffle=True)
    found["epoch begins s"], _ = seconds(lambda: next(iter(shuffled)))
    found["order us"] = 1e6 * seconds(lambda: sum(len(batch) for batch in shuffled))[0] / len(rows)

    def planned() -> BatchOrder:
        counts_K = index.counts(rows=rows)
        balance = Balance("repeat_factor", repeat_factor(), infrequent_labels(counts_K, "half"))
        return BatchOrder(rows, BATCH, shuffle=True, plan=balance.plan(Holdings.of_index(index, rows)))

    planning, order = seconds(planned)
    beginning, _ = seconds(lambda: next(iter(order)))
    found["planned s"], found["planning s"] = beginning, planning
    some = np.random.default_rng(1).choice(rows, min(len(rows), 100_000), replace=False)
    found["image us"] = per_row(lambda part: [index.image(row) for row in part.tolist()], some)
    found["targets us"] = per_row(index.targets, some)
    images = Unread(index, Preprocessing(SIDE, mean=(0.5,) * 3, std=(0.5,) * 3))
    loader = Loader(images, order, workers=workers)
    for epoch in range(epochs):
        spent, taken = seconds(lambda epoch=epoch: sum(len(batch) for batch in loader.epoch(epoch)))
        found["loader us"] = 1e6 * spent / taken
        held = memory(loader._loader._iterator._workers if workers else [])
        found.update(held)
        if epochs > 1:
            told = ", ".join(f"{name} {value:,.0f}" for name, value in held.items())
            print(f"epoch {epoch + 1}: {taken:,} rows in {spent:.0f} s; {told}", file=sys.stderr, flush=True)
    if "ids" in vars(index):
        raise SystemExit("an epoch made a Python object of every id")
    return found


def in_its_own_process(arguments: list[str]) -> dict[str, float]:
    ran = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, float] = json.loads(ran.stdout)
    return answer


def shown(found: dict[str, float]) -> str:
    cells = []
    for name in COLUMNS:
        value = found[name]
        if name == "rows":
            cells.append(f"{value:,}")
        elif name.endswith(" us"):
            cells.append(f"{value:.1f}")
        elif name == "planned s":
            cells.append(f"{value:.2f} ({found['planning s']:.2f})")
        else:
            cells.append(f"{value:.3f}" if name.endswith(" s") else f"{value:,.0f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.make:
        print(json.dumps(make(given.make, given.rows[0])))
    elif given.measure:
        print(json.dumps(measure(given.measure, given.workers, given.epochs)))
    else:
        print(f"{given.workers} workers, {given.epochs} epochs\n")
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        for rows in given.rows:
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "index.arrow")
                found = in_its_own_process(["--make", path, "--rows", str(rows)])
                settings = ["--workers", str(given.workers), "--epochs", str(given.epochs)]
                found |= in_its_own_process(["--measure", path, *settings])
            print(shown({"rows": rows, **found}), flush=True)


if __name__ == "__main__":
    main()
