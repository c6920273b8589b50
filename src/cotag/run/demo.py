"""The demo: a whole run on pictures that are drawn here, beside chance and a model of raw colors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotag.data.colors import color_statistics
from cotag.data.scenes.reader import read_scenes
from cotag.data.splits import stratified_folds
from cotag.evaluation.metrics import average_precisions
from cotag.evaluation.report import write_report
from cotag.models.heads.linear import LinearHead
from cotag.models.scoring import score_batches
from cotag.run.fitting import judge
from cotag.run.folder import RunFolder, new_folder
from cotag.run.roles import FOLDS
from cotag.run.sections import summary_section
from cotag.run.train import Run, train
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.head_fit import CachedHead, Part, Solver, solve_head
from cotag.types.index import Index
from cotag.types.progress import Progress
from cotag.types.section import Section

IMAGE_SIZE = 96


@dataclass(frozen=True)
class Demo:
    """What the demo found.

    Attributes:
        run: the run.
        color_mAP: what a linear model of raw color statistics reaches on the same pictures.
        sections: the test table and one row for each label.
    """

    run: Run
    color_mAP: float
    sections: list[Section]


def demo(out: str | os.PathLike[str] | None, images: int, seed: int, force: bool, progress: Progress) -> Demo:
    """Draw scenes, train ``scenes-tiny`` on them, and put the result beside chance and raw colors.

    Args:
        out: the run's folder; ``runs/demo-N`` where not given.
        images: pictures to draw.
        seed: of the pictures and of training.

    Raises:
        OutputExists: ``out`` holds something and ``force`` was not given.
    """
    folder = new_folder(out, "demo", force)
    index = read_scenes("", images=images, size=IMAGE_SIZE, seed=seed, progress=progress)
    run = train(index, "scenes-tiny", folder.folder, [f"train.seed={seed}"], force=force, progress=progress)
    progress.say("for comparison: a linear model of raw color statistics")
    ap_K = color_baseline(index, folder, seed)
    sections = _sections(run, ap_K)
    write_report([*sections, *run.sections[2:]], run.report, "Cotag demo", f"{len(index)} drawn pictures", True)
    return Demo(run, float(np.nanmean(ap_K)), sections)


def color_baseline(index: Index, folder: RunFolder, seed: int) -> np.ndarray:
    """AP of each label, of a linear model of raw color statistics on the run's own roles; float64 (K,)."""
    roles = folder.load_roles(index)
    parts = {}
    for role in ("train", "choose", "test"):
        rows = getattr(roles, role)
        parts[role] = Part(FeatureSet(color_statistics(index, rows), rows, {}, 0), index.targets(rows))
    head = LinearHead(parts["train"].features.features.shape[1], len(index.label_space))
    both = np.concatenate([roles.train, roles.choose])
    how = Solver("auto", "mAP", refit=True, folds_N=stratified_folds(index, both, FOLDS, seed))
    solve_head(head, parts["train"], parts["choose"], how, judge)
    test = parts["test"]
    _, logits_NK = score_batches(CachedHead(head), FeatureBatches(test.features, test.targets_NK, 1024))
    return average_precisions(logits_NK, test.targets_NK)


def _sections(run: Run, color_ap_K: np.ndarray) -> list[Section]:
    metrics = run.test.metrics
    table: list[list[Any]] = [
        ["chance (label prevalence)", metrics["chance_mAP"]],
        ["linear model of raw color statistics", float(np.nanmean(color_ap_K))],
        ["this run (scenes-tiny)", metrics["mAP"]],
    ]
    comparison = Section("Test: mAP", f"{run.test.coverage}.", ("model", "mAP"), table, bars="mAP")
    rows = [
        [
            label["label"],
            label["positives"],
            label["prevalence"],
            None if np.isnan(color) else float(color),
            label["AP"],
        ]
        for label, color in zip(run.test.labels, color_ap_K, strict=True)
    ]
    rows.sort(key=lambda row: -row[1])
    columns = ("label", "positives", "chance", "colors", "AP")
    return [comparison, summary_section(run.test, run.intervals), Section("Labels", "", columns, rows, bars="AP")]
