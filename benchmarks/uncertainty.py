"""Bootstrap of mAP and of all headline numbers, against average precision computed again on each resample.

    .venv/bin/python benchmarks/uncertainty.py

Random scores whose labels are as unevenly frequent as those of COCO (1 in 500 to 2 in 5). The peers run on --peers
resamples in this process, and their time is stated for as many as --resamples.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score

from cotag.evaluation.metrics import average_precisions
from cotag.evaluation.uncertainty import Resampling, bootstrap_intervals
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def example(images: int, labels: int) -> Scores:
    random = np.random.default_rng(0)
    targets = (random.random((images, labels)) < np.geomspace(0.002, 0.4, labels)).astype(np.int8)
    logits = (random.normal(size=targets.shape) + 2 * targets - 2).astype(np.float32)
    space = LabelSpace(tuple(f"label {k}" for k in range(labels)))
    return Scores([str(row) for row in range(images)], logits, targets, "logit", space)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--peers", type=int, default=3)
    given = parser.parse_args()
    scores = example(given.images, given.labels)
    draws = np.random.default_rng(0).integers(0, given.images, (given.peers, given.images))

    def again(precisions: Callable[[np.ndarray, np.ndarray], object]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for rows in draws:
                precisions(scores.scores_NK[rows], scores.targets_NK[rows])

    def by_sklearn(scores_NK: np.ndarray, targets_NK: np.ndarray) -> object:
        return average_precision_score(targets_NK, scores_NK, average=None)

    resampling = Resampling(scores, "default", given.resamples, 0)
    mean_precision = seconds(lambda: resampling.numbers(scores, names=("mAP",)))
    rows = [
        ("mAP, Cotag", mean_precision),
        ("all headline numbers, Cotag", seconds(lambda: bootstrap_intervals(scores, resamples=given.resamples))),
    ]
    for name, peer in (("mAP, average_precisions again", average_precisions), ("mAP, scikit-learn", by_sklearn)):
        rows.append((name, seconds(lambda peer=peer: again(peer)) / given.peers * given.resamples))  # type: ignore[misc]
    print(f"{given.resamples} resamples of {given.images} images x {given.labels} labels")
    print(f"{'':<32}{'seconds':>9}{'ratio':>8}")
    for name, time_taken in rows:
        print(f"{name:<32}{time_taken:>9.1f}{time_taken / mean_precision:>8.1f}")


if __name__ == "__main__":
    main()
