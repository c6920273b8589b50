"""Fitted decisions on real pictures: what they promise, and what they keep on the images that judge.

    .venv/bin/python benchmarks/decisions.py

Needs ../shared/data (or --data). For each data set a linear head is trained on frozen features as by the recipe
`quick`; its out-of-fold scores of the training images fit each decision, and the test images, which nothing was fitted
on, judge it beside the threshold 0.5 and the 3 highest labels. `naive` is measured on the images that the decision was
fitted on, `cross-fitted` by five folds. Differences are paired, with 95 % bootstrap intervals over images: cross-fitted
minus 0.5 and minus top 3 on the training images.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from cotag.evaluation.cross_fit import PLAIN, Value, cross_fit
from cotag.evaluation.decision import Decision
from cotag.evaluation.decision_fit import DecisionFit, totals
from cotag.evaluation.objective import Objective
from cotag.run.train import train
from cotag.types.scores import Scores

FITS = (
    ("CF1, label thresholds", DecisionFit(Objective("CF1"))),
    ("CF1, label thresholds, not shrunk", DecisionFit(Objective("CF1"), shrinkage=0)),
    ("CF1, one threshold", DecisionFit(Objective("CF1"), "threshold")),
    ("OF1, label thresholds", DecisionFit(Objective("OF1"))),
    ("OF1, one threshold", DecisionFit(Objective("OF1"), "threshold")),
    ("macro_F1, label thresholds", DecisionFit(Objective("macro_F1"))),
    ("mR@3, label offsets", DecisionFit(Objective("mR"), "label_offsets", 3)),
    ("mR@3, group offset", DecisionFit(Objective("mR"), "group_offset", 3)),
)


def scores_of(source: str, weights: str) -> dict[str, Scores]:
    """The out-of-fold scores of the training images, and those of the test images."""
    settings = [
        "model.backbone=mobilenetv2_100",
        "model.backbone_args={pad_type: same}",
        f"model.weights={weights}",
        "data.mean=[0.5,0.5,0.5]",
        "data.std=[0.5,0.5,0.5]",
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = train(source, "quick", Path(folder) / "run", settings)
        return {role: Scores.load(run.folder / "scores" / f"{role}.parquet") for role in ("choose", "test")}


def tested(decision: Decision, objective: Objective, test: Scores) -> float:
    return float(objective.value(totals(decision.apply(test), test.targets_NK)))


def difference(value: Value) -> str:
    assert value.difference is not None
    middle, low, high = value.difference
    return f"{middle:+.4f} ({low:+.4f} to {high:+.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"{arguments.data}: there is no such folder; give --data")
    weights = str(arguments.data / "weights" / "mobilenetv2_100.imagenet1k.safetensors")
    sources = {"miml2000": f"table:{arguments.data}/miml2000/labels.csv", "coco604": f"coco:{arguments.data}/coco604"}
    print("| data | objective, rule | naive | cross-fitted | gap | minus 0.5 | minus top 3 | test | 0.5 | top 3 |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, source in sources.items():
        scores = scores_of(source, weights)
        for title, how in FITS:
            found = cross_fit(scores["choose"], how)
            minus = " | ".join(difference(found.plain[plain]) for plain in PLAIN)
            decisions = (found.decision, *PLAIN.values())
            kept = " | ".join(f"{tested(decision, how.objective, scores['test']):.4f}" for decision in decisions)
            print(
                f"| {name} | {title} | {found.naive.value:.4f} | {found.cross_fitted.value:.4f} | {found.gap:+.4f} | "
                f"{minus} | {kept} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
