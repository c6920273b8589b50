"""The ablation of ML-GCN as one sweep on frozen features, and what it would take end to end.

    python benchmarks/sweep.py --shared ../shared/data --data coco604 miml2000

One key at a time: 10 thresholds tau, 10 shares p, 3 other label vectors, 3 other depths, with the recipe as it is 27
settings, 5 seeds each: 135 trainings. For the labels of miml2000 no published vectors lie there: one tau more instead.
The features are computed before. Some trials are then trained alone, by ``cotag.train``, and compared; one epoch of
training end to end is measured, and multiplied.
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
from cotag.recipe import Recipe
from cotag.run.fitting import fit_end_to_end
from cotag.run.folder import RunFolder
from cotag.run.model import label_knowledge, make_tagger
from cotag.run.sweep.folder import SweepFolder, Trial
from cotag.run.sweep.plan import parse_grid, plan
from cotag.run.sweep.sections import brief
from cotag.run.sweep.sweep import sweep
from cotag.run.train import train
from cotag.types.progress import Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

DATA = {"coco604": "coco:{shared}/coco604", "miml2000": "table:{shared}/miml2000/labels.csv"}
EPOCHS = 20
TAUS = "0.0,0.1,0.2,0.3,0.5,0.6,0.7,0.8,0.9,1.0"
SHARES = "0.0,0.1,0.3,0.4,0.5,0.6,0.7,0.8,0.9,0.95"
DEPTHS = "[],[1024,1024],[1024,1024,1024]"
GRID = {
    "coco604": [f"graph.tau={TAUS}", "vectors.source=random,learned,{shared}/mlgcn/coco_glove_word2vec.pkl"],
    "miml2000": [f"graph.tau={TAUS},0.05", "vectors.source=random,learned"],
}
# The published vectors are in alphabetical order.
READ = {"coco604": ["data.read={order: name}"], "miml2000": []}


def settings(name: str, shared: Path) -> list[str]:
    """The recipe as changes of ``quick``."""
    weights = shared / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    return [
        "model.backbone=mobilenetv2_100", "model.backbone_args={pad_type: same}", f"model.weights={weights}",
        "data.image_size=224", "data.mean=[0.5, 0.5, 0.5]", "data.std=[0.5, 0.5, 0.5]",
        "model.head=gcn", "model.head_args={widths: [1024], pooling: max}",
        "train.optimizer=adamw", "train.learning_rate=1e-3", "train.weight_decay=0.01", f"train.epochs={EPOCHS}",
        "train.batch_size=128", "train.warmup_epochs=1", "train.clip_norm=10", *READ[name],
    ]  # fmt: skip


def grid(name: str, shared: Path) -> list[str]:
    """What is varied, one key at a time."""
    own = [text.format(shared=shared) for text in GRID[name]]
    return [*own, f"graph.p={SHARES}", f"model.head_args.widths={DEPTHS}"]


def one_epoch(data: str, overrides: list[str], out: Path) -> float:
    """Seconds of one epoch of training the whole network."""
    changed = ["train.mode=end_to_end", "train.epochs=1", "train.warmup_epochs=0", "train.batch_size=32"]
    recipe = Recipe.load("quick", [*overrides, *changed])
    index = read(data, **recipe.data.read)
    roles = assign_roles(index)
    tagger = make_tagger(recipe, index.label_space, label_knowledge(recipe, index, roles.train, Silent()))
    fitted = fit_end_to_end(tagger, index, roles, recipe, RunFolder(out), Silent(), False)
    return float(fitted.history[-1]["seconds"])


def furthest(data: str, name: str, shared: Path, folder: Path, count: int) -> float:
    """The largest difference in mAP of some trials to training each of them alone."""
    base = Recipe.load("quick", settings(name, shared))
    planned = plan(base, parse_grid(grid(name, shared)), one_at_a_time=True)
    chosen = random.Random(0).sample([Trial(one, seed) for one in planned for seed in range(5)], count)
    found = []
    for number, trial in enumerate(chosen):
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
    try:
        train(data, "quick", out / "features", [*settings(name, shared), "train.epochs=1"])
        started = time.perf_counter()
        found = sweep(
            data, "quick", grid(name, shared), 5, True, out=out / "sweep", overrides=settings(name, shared),
            progress=TerminalProgress(),
        )  # fmt: skip
        seconds = time.perf_counter() - started
        print_sections([found.sections[0], brief(found.sections[1])])
        if given.report:
            shutil.copy(found.report, Path(given.report) / f"{name}.html")
        trainings = sum(len(row.values) for row in found.rows)
        difference = furthest(data, name, shared, out / "sweep", given.alone) if given.alone else None
        epoch = one_epoch(data, settings(name, shared), out / "epoch")
        estimate = epoch * EPOCHS * trainings
        return [
            name, trainings, len(found.failed), found.seconds["fitting"], found.seconds["comparing"], seconds,
            difference, epoch, estimate / 3600, estimate / seconds,
        ]  # fmt: skip
    finally:
        shutil.rmtree(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", choices=sorted(DATA), nargs="+", default=sorted(DATA))
    parser.add_argument("--alone", type=int, default=3, help="trials that are trained alone too")
    parser.add_argument("--report", help="folder for the reports")
    given = parser.parse_args()
    columns = (
        "data", "trainings", "failed", "fitting, s", "comparing, s", "together, s", "largest difference to alone, mAP",
        "an epoch end to end, s", "all end to end, h", "times longer",
    )  # fmt: skip
    rows = [measured(name, given.shared.resolve(), given) for name in given.data]
    text = "End to end: one measured epoch of training the whole network, times epochs, times trainings."
    print_sections(
        [Section(f"The ablation of ML-GCN, {EPOCHS} epochs each", text, columns, np.array(rows, object).tolist())]
    )


if __name__ == "__main__":
    main()
