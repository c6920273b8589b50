"""The waterfall of the PSG report on drawn scenes with 50 relations, and what three of its techniques bring alone.

    python benchmarks/waterfall.py --shared ../shared/data --images 5000 --seeds 3

``scenes:psg`` draws pictures, writes them as PSG files and reads these; a linear head is fitted on features of a small
pretrained backbone. Judged by mR@3 of the 50 relations that are evaluated, one without an image counting 0. Second
table: balance, weights and multiplier, each alone, against plain binary cross-entropy.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from cotag.cli.terminal import TerminalProgress, print_sections
from cotag.data.read import read
from cotag.recipe import Recipe
from cotag.run.sweep.folder import SweepFolder
from cotag.run.sweep.plan import BASELINE, Setting, setting_of
from cotag.run.sweep.sections import brief
from cotag.run.sweep.steps import Step
from cotag.run.sweep.sweep import finish, sweep
from cotag.run.sweep.waterfall import brief_steps
from cotag.types.index import Index
from cotag.types.section import Section

METRIC, PROTOCOL = "mR@3", "psg"
# The scenes have 96 pixels.
START = [
    "model.backbone=mobilenetv2_100", "model.backbone_args={pad_type: same}", "data.image_size=96",
    "train.optimizer=adamw", "train.learning_rate=1e-3", "train.weight_decay=0", "train.epochs=30",
    "train.batch_size=32", "train.refit=false", "balance.infrequent=half",
]  # fmt: skip
RAW, NORMAL = ["data.mean=[0,0,0]", "data.std=[1,1,1]"], ["data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]"]
BALANCE, WEIGHTS = ("balance.sampler=under_over",), ("train.loss_args.positive_weight=balanced",)
MULTIPLIER = ("decide.rule=group_multiplier", "decide.objective=mR@3")
RATE = "train.learning_rate=3e-3"


def steps() -> list[Step]:
    """The techniques in the order of the report; its change of the backbone is left out: only one is at hand."""
    return [
        Step("normalization", tuple(NORMAL)),
        Step("balance", BALANCE),
        Step("augmentation", ("data.augment=[flip, color]", "data.views=1")),
        Step("learning rate", (RATE,)),
        Step("weight decay", ("train.weight_decay=0.01",)),
        Step("weights", WEIGHTS),
        Step("multiplier", MULTIPLIER),
        Step("union", ("train.refit=true",)),
    ]


def alone(recipe: Recipe) -> list[Setting]:
    """Plain binary cross-entropy, and each technique alone."""
    return [
        Setting(BASELINE, (), recipe),
        setting_of(recipe, "balance (under_over)", BALANCE),
        setting_of(recipe, "balance (repeat_factor)", ("balance.sampler=repeat_factor",)),
        setting_of(recipe, "balance (class_aware)", ("balance.sampler=class_aware",)),
        setting_of(recipe, "weights (positives)", WEIGHTS),
        # The report's, of a label as a whole: Adam does not feel it where each label has weights of its own.
        setting_of(recipe, "weights (1.2)", ("train.loss_args.infrequent_weight=1.2",)),
        setting_of(recipe, "multiplier", MULTIPLIER),
    ]


def about(index: Index) -> Section:
    """How many images there are, and how the evaluated labels are spread over those that train."""
    counts_K = (index.targets(index.rows_of("train")) == 1).sum(0)[index.label_space.evaluated]
    most, least = int(counts_K.max()), int(counts_K[counts_K > 0].min())
    row = [
        len(index),
        len(index.rows_of("train")),
        len(counts_K),
        most,
        least,
        most / least,
        int((counts_K == 0).sum()),
    ]
    columns = ("images", "train", "labels", "most images", "fewest", "ratio", "labels without an image")
    return Section("The data", "", columns, [row])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", help="folder for the two reports")
    given = parser.parse_args()
    started = time.perf_counter()
    weights = given.shared.resolve() / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    start = [*START, f"model.weights={weights}"]
    index, out = read("scenes:psg", images=given.images, progress=TerminalProgress()), Path(tempfile.mkdtemp())
    try:
        fell = sweep(
            index, "quick", (), given.seeds, metric=METRIC, protocol=PROTOCOL, out=out / "waterfall",
            overrides=[*start, *RAW], progress=TerminalProgress(), steps=steps(),
        )  # fmt: skip
        recipe, folder = Recipe.load("quick", [*start, *NORMAL, RATE]), SweepFolder(out / "alone")
        asked = {"seeds": given.seeds, "folds": None, "metric": METRIC, "protocol": PROTOCOL}
        folder.begin(asked, recipe, index.label_space, len(index))
        single = finish(folder, index, recipe, alone(recipe), asked, TerminalProgress())
        print_sections([about(index), fell.sections[0], brief_steps(fell.sections[2]), brief(single.sections[1])])
        for name, found in (("waterfall", fell), ("alone", single)):
            if given.report:
                shutil.copy(found.report, Path(given.report) / f"{name}.html")
            spread = np.mean([np.std(row.values, ddof=1) for row in found.rows if len(row.values) > 1])
            print(f"{name}: spread over seeds {spread:.4f}; fitting {found.seconds['fitting']:.0f} s")
        print(f"in all {time.perf_counter() - started:.0f} s")
    finally:
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
