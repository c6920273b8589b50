"""Every metric of large scores: time and peak memory, against torchmetrics and scikit-learn.

    .venv/bin/python benchmarks/metrics.py

Each row is a process of its own, one after the other, on scores drawn by the same seed. ``evaluate`` computes every
metric of the default protocol (average precision, C and O numbers plain and at 3, recall at k, groups, and also
ranking measures and calibration errors); the peers compute average precision alone. Times are the best of --repeats
after one that is not counted; memory is the peak resident set of the process, and what of it came after its imports and
its data. The last row is 100,000 images x 9,605 labels with sparse targets and scores in a file: everything that the
process holds counts, the mapped pages of the file included, and it runs once.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHAPE = (40_137, 80)
LARGE = (100_000, 9_605)
POSITIVES = 10


def draw(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know something, and targets whose labels are rare in part (a long tail)."""
    random = np.random.default_rng(0)
    rate_K = 0.5 / np.arange(1, shape[1] + 1) ** 0.8
    targets = (random.random(shape, dtype=np.float32) < rate_K).astype(np.int8)
    targets[0] = 1
    logits = random.standard_normal(shape, dtype=np.float32)
    logits += 2 * targets - 2
    return logits, targets


def ours() -> Callable[[], float]:
    from cotag.evaluation.metrics import evaluate

    logits, targets = draw(SHAPE)
    scores = scores_of(logits, targets)
    counts = targets.sum(0)
    return lambda: number(evaluate(scores, train_counts=counts).metrics["mAP"])


def ours_precision() -> Callable[[], float]:
    from cotag.evaluation.metrics import average_precisions

    logits, targets = draw(SHAPE)
    return lambda: float(np.mean(average_precisions(logits, targets)))


def with_torchmetrics() -> Callable[[], float]:
    import torch
    from torchmetrics.classification import MultilabelAveragePrecision

    logits, targets = draw(SHAPE)
    metric = MultilabelAveragePrecision(num_labels=SHAPE[1], average="macro", thresholds=None)
    # Probabilities, so that it need not look whether these are logits.
    given, truth = torch.sigmoid(torch.from_numpy(logits)), torch.from_numpy(targets).long()

    def run() -> float:
        metric.reset()
        metric.update(given, truth)
        return float(metric.compute())

    return run


def with_sklearn() -> Callable[[], float]:
    from sklearn.metrics import average_precision_score

    logits, targets = draw(SHAPE)
    return lambda: float(average_precision_score(targets, logits, average="macro"))


def large(folder: str) -> Callable[[], float]:
    from cotag.evaluation.metrics import evaluate_sparse
    from cotag.evaluation.targets import SparseTargets
    from cotag.types.labels import LabelSpace

    logits = np.load(Path(folder) / "logits.npy", mmap_mode="r")
    stored = np.load(Path(folder) / "targets.npz")
    targets = SparseTargets(stored["offsets"], stored["labels"], LARGE[1])
    space = LabelSpace(tuple(f"label {k}" for k in range(LARGE[1])))
    counts = np.bincount(stored["labels"], minlength=LARGE[1])
    return lambda: number(evaluate_sparse(logits, targets, space, "logit", train_counts=counts).metrics["mAP"])


def write_large(folder: str) -> None:
    """Scores and sparse targets of the large case, in parts."""
    random = np.random.default_rng(0)
    logits = np.lib.format.open_memmap(Path(folder) / "logits.npy", "w+", np.float32, LARGE)
    labels = []
    for first in range(0, LARGE[0], 1000):
        part = random.standard_normal((1000, LARGE[1]), dtype=np.float32)
        for row in range(1000):
            some = np.unique((LARGE[1] * random.random(POSITIVES) ** 3).astype(np.int32))
            part[row, some] += 3
            labels.append(some)
        logits[first : first + 1000] = part
    logits.flush()
    offsets = np.concatenate([[0], np.cumsum([len(some) for some in labels])])
    np.savez(Path(folder) / "targets.npz", offsets=offsets, labels=np.concatenate(labels))


def scores_of(logits: np.ndarray, targets: np.ndarray):  # type: ignore[no-untyped-def]
    from cotag.types.labels import LabelSpace
    from cotag.types.scores import Scores

    space = LabelSpace(tuple(f"label {k}" for k in range(logits.shape[1])))
    return Scores([str(row) for row in range(len(logits))], logits, targets, "logit", space)


def number(value: float | None) -> float:
    return float("nan") if value is None else value


CASES: dict[str, tuple[str, Callable[..., Callable[[], float]]]] = {
    "evaluate": ("Cotag, the whole suite", ours),
    "precision": ("Cotag, average precision alone", ours_precision),
    "torchmetrics": ("torchmetrics MultilabelAveragePrecision", with_torchmetrics),
    "sklearn": ("scikit-learn average_precision_score", with_sklearn),
}


def measure(case: str, repeats: int, folder: str | None) -> None:
    """In a process of its own: one JSON line of seconds, mAP and peaks in bytes."""
    if case == "write":
        write_large(str(folder))
        print("{}")
        return
    run = large(str(folder)) if case == "large" else CASES[case][1]()
    before, seconds, value = peak(), [], 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        value = run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(seconds[1:] or seconds), "mAP": value, "peak": peak(), "added": peak() - before}))


def peak() -> int:
    """The largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def spawn(case: str, repeats: int, folder: str = "") -> dict[str, float]:
    command = [sys.executable, __file__, "--case", case, "--repeats", str(repeats), "--folder", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case}: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-large", action="store_true", help="leave out the case that writes 3.8 GB")
    parser.add_argument("--folder", default="", help="where the large case is written; the system's temporary folder")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments.case, arguments.repeats, arguments.folder)
        return
    print(f"{SHAPE[0]:,} images x {SHAPE[1]} labels, one after the other")
    print("| what | mAP | seconds | peak MB | added MB | whole suite / this |")
    print("|---|---|---|---|---|---|")
    suite = None
    for case, (title, _) in CASES.items():
        found = spawn(case, arguments.repeats + 1)
        suite = suite or found["seconds"]
        print(
            f"| {title} | {found['mAP']:.6f} | {found['seconds']:.3f} | {found['peak'] / 1e6:.0f} | "
            f"{found['added'] / 1e6:.0f} | {suite / found['seconds']:.3f} |",
            flush=True,
        )
    if arguments.skip_large:
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder or None) as folder:
        # Not in this process: a child begins with the peak of its parent.
        spawn("write", 1, folder)
        found = spawn("large", 1, folder)
    print(
        f"\n{LARGE[0]:,} images x {LARGE[1]:,} labels, sparse targets, scores of {4 * LARGE[0] * LARGE[1] / 1e9:.2f} GB"
    )
    print(f"whole suite: {found['seconds']:.1f} s, peak {found['peak'] / 1e9:.2f} GB, mAP {found['mAP']:.4f}")


if __name__ == "__main__":
    main()
