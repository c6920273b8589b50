"""The ablation of ML-GCN as one sweep on frozen features, and what it would take end to end.

    python benchmarks/sweep.py --shared ../shared/data --data coco604 miml2000

What ``cotag reproduce mlgcn-ablation`` does: one thing at a time, 3 kinds of graph, 10 thresholds tau, 11 shares p, 4
kinds of label vectors (3 for miml2000: no published vectors of its labels lie there), 4 (5) depths, 5 seeds each: with
the recipe as it is 28 settings, 140 trainings. The features are computed before. Some trials are then trained alone, by
``cotag.train``, and compared; one epoch of training end to end is measured, and multiplied.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cotag.cli.terminal import TerminalProgress, print_sections
from cotag.data.read import read
from cotag.data.splits import assign_roles
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.repeated import value_of
from cotag.evaluation.report import write_report
from cotag.recipe import Recipe
from cotag.run.fitting import fit_end_to_end
from cotag.run.folder import RunFolder
from cotag.run.model import label_knowledge, make_tagger
from cotag.run.reproduce.ablation_plan import Plan, ablation_plan
from cotag.run.reproduce.mlgcn_ablation import SEEDS, ablation_recipe, sections_of
from cotag.run.reproduce.trials import fit_trials
from cotag.run.sweep.folder import SweepFolder, Trial
from cotag.run.train import train
from cotag.types.progress import Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

DATA = {"coco604": "coco:{shared}/coco604", "miml2000": "table:{shared}/miml2000/labels.csv"}
# The published vectors are in alphabetical order.
READ = {"coco604": ["data.read={order: name}"], "miml2000": []}
VECTORS = {"coco604": ["glove={shared}/mlgcn/coco_glove_word2vec.pkl"], "miml2000": []}
GRID = {"coco604": ["depth=1,2,3,4"], "miml2000": ["depth=1,2,3,4,5"]}


def changes(name: str, shared: Path) -> list[str]:
    """What is changed of the ablation's recipe: the small backbone whose weights lie there."""
    weights = shared / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    return [
        "model.backbone=mobilenetv2_100", "model.backbone_args={pad_type: same}", f"model.weights={weights}",
        "data.image_size=224", "data.mean=[0.5, 0.5, 0.5]", "data.std=[0.5, 0.5, 0.5]", *READ[name],
    ]  # fmt: skip


def one_epoch(data: str, base: Recipe, out: Path) -> float:
    """Seconds of one epoch of training the whole network."""
    changed = ["train.mode=end_to_end", "train.epochs=1", "train.warmup_epochs=0", "train.batch_size=32"]
    recipe = Recipe.load(base, changed)
    index = read(data, **recipe.data.read)
    roles = assign_roles(index)
    tagger = make_tagger(recipe, index.label_space, label_knowledge(recipe, index, roles.train, Silent()))
    fitted = fit_end_to_end(tagger, index, roles, recipe, RunFolder(out), Silent(), False)
    return float(fitted.history[-1]["seconds"])


def furthest(data: str, plan: Plan, folder: Path, count: int) -> float:
    """The largest difference in mAP of some trials to training each of them alone."""
    trials = [Trial(one, seed) for one in plan.settings for seed in range(SEEDS)]
    found = []
    for number, trial in enumerate(random.Random(0).sample(trials, count)):
        alone = train(data, trial.recipe, folder / f"alone-{number}")
        both = [
            Scores.load(path) for path in (RunFolder(alone.folder).scores("test"), SweepFolder(folder).scores(trial))
        ]
        values = [value_of(scores, "mAP", protocol_of("default")) for scores in both]
        found.append(abs(values[0] - values[1]))
    return max(found)


def measured(name: str, shared: Path, given: Any) -> list[Any]:
    """One line of the table."""
    data, out = DATA[name].format(shared=shared), Path(tempfile.mkdtemp())
    base = ablation_recipe(changes(name, shared))
    plan = ablation_plan(base, GRID[name], [text.format(shared=shared) for text in VECTORS[name]])
    try:
        train(data, Recipe.load(base, ["train.epochs=1", "train.warmup_epochs=0"]), out / "features")
        started = time.perf_counter()
        index = read(data, **base.data.read)
        found = fit_trials(
            "mlgcn-ablation", data, index, base, plan.settings, SEEDS, str(out / "sweep"), False, TerminalProgress()
        )
        sections = sections_of(plan, found, index, base)
        seconds = time.perf_counter() - started
        print_sections(sections)
        if given.report:
            write_report(sections, Path(given.report) / f"{name}.html", "Ablation of ML-GCN", data, force=True)
        trainings = sum(len(row.values) for row in found.rows)
        difference = furthest(data, plan, out / "sweep", given.alone) if given.alone else None
        epoch = one_epoch(data, base, out / "epoch")
        estimate = epoch * base.train.epochs * trainings
        return [
            name, trainings, len(found.failed), found.seconds["fitting"], found.seconds["comparing"], seconds,
            None if difference is None else f"{difference:.1e}", epoch, base.train.epochs, estimate / 3600,
            estimate / seconds,
        ]  # fmt: skip
    finally:
        shutil.rmtree(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", choices=sorted(DATA), nargs="+", default=sorted(DATA))
    parser.add_argument("--alone", type=int, default=3, help="trials that are trained alone too")
    parser.add_argument("--report", help="folder for the pages")
    given = parser.parse_args()
    columns = (
        "data", "trainings", "failed", "fitting, s", "comparing, s", "all, s", "furthest from alone, mAP",
        "an epoch end to end, s", "epochs", "all end to end, h", "times longer",
    )  # fmt: skip
    rows = [measured(name, given.shared.resolve(), given) for name in given.data]
    text = "End to end: one measured epoch of training the whole network, times epochs, times trainings."
    print_sections([Section("The ablation of ML-GCN", text, columns, np.array(rows, object).tolist())])


if __name__ == "__main__":
    main()
