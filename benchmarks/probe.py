"""The quick recipe's head against scikit-learn's logistic regression on the same frozen features and split.

    .venv/bin/python benchmarks/probe.py

Needs ../shared/data (or --data). For each data set: Cotag's head, its choice of the regularization and its
refit included, against LogisticRegression for each label with C in {1e-4, 1e-3, 1e-2, 1e-1}, on the features as
they are and on standardized ones. The table gives scikit-learn the C that is best on the test images, which
Cotag never sees. Times are medians of --repeats runs in this process.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cotag.data.read import read
from cotag.data.splits import assign_roles, stratified_folds
from cotag.evaluation.metrics import average_precisions
from cotag.models.tagger import build_tagger
from cotag.run.fitting import judge
from cotag.run.roles import FOLDS
from cotag.training.features import compute_features
from cotag.training.head_fit import Part, Solver, solve_head
from cotag.types.index import Index
from cotag.types.progress import Silent

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)


def mean_precision(logits_NK: np.ndarray, targets_NK: np.ndarray) -> float:
    return float(np.nanmean(average_precisions(logits_NK, targets_NK)))


def parts_of(index: Index, weights: str) -> tuple[dict[str, Part], Index]:
    normalization = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    tagger = build_tagger(
        index.label_space, "mobilenetv2_100", "linear", {"pad_type": "same"}, weights, {}, normalization
    )
    roles = assign_roles(index)
    rows = np.concatenate([roles.train, roles.choose, roles.test])
    found = compute_features(tagger, index, rows, Silent())
    parts = {}
    for role in ("train", "choose", "test"):
        part = found.of(getattr(roles, role))
        parts[role] = Part(part, index.targets(part.rows))
    return parts, index


def ours(parts: dict[str, Part], index: Index, repeats: int) -> tuple[float, float, float]:
    """Test mAP, median seconds, chosen strength."""
    from cotag.models.heads.linear import LinearHead

    seconds, logits, strength = [], np.zeros(0), 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        head = LinearHead(parts["train"].features.features.shape[1], len(index.label_space))
        both = np.concatenate([parts["train"].features.rows, parts["choose"].features.rows])
        how = Solver("auto", "mAP", refit=True, folds_N=stratified_folds(index, both, FOLDS, 0))
        strength = solve_head(head, parts["train"], parts["choose"], how, judge).weight_decay
        seconds.append(time.perf_counter() - start)
        weight = head.classifier.weight.detach().numpy()
        logits = parts["test"].features.features @ weight.T + head.classifier.bias.detach().numpy()
    return mean_precision(logits, parts["test"].targets_NK), statistics.median(seconds), strength


def peer(parts: dict[str, Part], standardize: bool, repeats: int) -> tuple[float, float, float]:
    """The best test mAP over C, median seconds of the whole grid, that C."""
    train = np.concatenate([parts[role].features.features for role in ("train", "choose")])
    targets = np.concatenate([parts[role].targets_NK for role in ("train", "choose")])
    test = parts["test"].features.features
    if standardize:
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    seconds, best = [], (0.0, 0.0)
    for _ in range(repeats):
        start = time.perf_counter()
        for strength in STRENGTHS:
            logits = np.stack([_one(train, targets[:, k], test, strength) for k in range(targets.shape[1])], axis=1)
            best = max(best, (mean_precision(logits, parts["test"].targets_NK), strength))
        seconds.append(time.perf_counter() - start)
    return best[0], statistics.median(seconds), best[1]


def _one(train: np.ndarray, targets: np.ndarray, test: np.ndarray, strength: float) -> np.ndarray:
    model = LogisticRegression(C=strength, max_iter=1000).fit(train, targets)
    return model.decision_function(test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"{arguments.data}: there is no such folder; give --data")
    warnings.filterwarnings("ignore")
    weights = str(arguments.data / "weights" / "mobilenetv2_100.imagenet1k.safetensors")
    sources = {"miml2000": f"table:{arguments.data}/miml2000/labels.csv", "coco604": f"coco:{arguments.data}/coco604"}
    print("| data | head | test mAP | regularization | seconds | Cotag / scikit-learn | mAP difference |")
    print("|---|---|---|---|---|---|---|")
    for name, source in sources.items():
        parts, index = parts_of(read(source), weights)
        own, own_seconds, strength = ours(parts, index, arguments.repeats)
        print(
            f"| {name} | Cotag | {own:.4f} | strength {strength:g}, cross-validated | {own_seconds:.2f} | | |",
            flush=True,
        )
        for standardize, title in ((False, "as they are"), (True, "standardized")):
            found, seconds, best = peer(parts, standardize, arguments.repeats)
            print(
                f"| {name} | scikit-learn, features {title} | {found:.4f} | C {best:g}, best on test | {seconds:.2f} | "
                f"{own_seconds / seconds:.3f} | {own - found:+.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
