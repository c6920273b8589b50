"""Losses and samplers on a long tail: mAP and macro F1 of head, middle and tail, against plain cross-entropy.

    python benchmarks/longtail.py --shared ../shared/data --data coco604 --seeds 5
    python benchmarks/longtail.py --shared ../shared/data --data miml2000 --end-to-end --seeds 2 --epochs 2

On frozen features a linear head is fitted by the training loop. Every method's learning rate and weight decay are
chosen among six pairs by the mAP of the images that choose for seed 0; for each seed other images choose the epoch,
and the head is fitted again on all training images. Epochs have the same length for all samplers, so that all
methods take the same number of steps. End to end the whole network is trained by the recipe ``finetune``, with its
rates.

Labels are grouped by terciles of their training images. macro F1 is given twice: at the threshold 0.5, and at one
threshold for all labels that makes it largest on the images that choose. A difference to plain cross-entropy is the
mean over seeds; its 95 % interval counts the images that judge and the seeds (``compare_repeated``) and is corrected
for the number of methods.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cotag.cli.terminal import TerminalProgress
from cotag.data.read import read
from cotag.evaluation.decision_fit import DecisionFit
from cotag.evaluation.objective import Objective
from cotag.evaluation.repeated import compare_repeated
from cotag.recipe import Recipe
from cotag.run.sweep.fitting import Trials
from cotag.run.sweep.folder import SweepFolder, Trial
from cotag.run.sweep.plan import Setting
from cotag.types.frequency import Groups, frequency_groups
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

BASE = "bce"
DATA = {
    "coco604": ("coco:{shared}/coco604", 40, ["data.test=val", "balance.infrequent=half"]),
    # Five labels: the two rarest are infrequent.
    "miml2000": ("table:{shared}/miml2000/labels.csv", 12, ["balance.infrequent=rarest:2"]),
}
# On labels that are all known, assume_negative and large_loss are plain cross-entropy.
LOSSES = {
    BASE: [],
    "bce, infrequent labels x 2": ["train.loss_args={infrequent_weight: 2}"],
    "bce, positive weights": ["train.loss_args={positive_weight: balanced}"],
    "bce, smoothing 0.1": ["train.loss_args={smoothing: 0.1}"],
    "focal": ["train.loss=focal"],
    "asymmetric": ["train.loss=asymmetric"],
    "class_balanced": ["train.loss=class_balanced"],
    "distribution_balanced": ["train.loss=distribution_balanced"],
    "zlpr": ["train.loss=zlpr"],
    "two_way": ["train.loss=two_way"],
    "soft_margin": ["train.loss=soft_margin"],
    "hill": ["train.loss=hill"],
    "expected_positives": ["train.loss=expected_positives", "train.loss_args={labels_per_image: LABELS}"],
}
SAMPLERS = {
    f"sampler {name}": [f"balance.sampler={name}", "balance.epoch=same"]
    for name in ("under", "over", "under_over", "repeat_factor", "class_aware", "square_root")
}
BOTH = {
    "over and positive weights": [*SAMPLERS["sampler over"], *LOSSES["bce, positive weights"]],
    "repeat_factor and asymmetric": [*SAMPLERS["sampler repeat_factor"], *LOSSES["asymmetric"]],
}
METHODS = {**LOSSES, **SAMPLERS, **BOTH}
END_TO_END = (BASE, "asymmetric", "sampler over", "sampler class_aware")
LOOP = ("train.optimizer=adamw", "train.epochs=40", "train.warmup_epochs=1", "train.clip_norm=10")
RATES, DECAYS = (3e-4, 1e-3, 3e-3), (1e-2, 3.0)
PARTS = ("all", "head", "middle", "tail")
METRICS = ("mAP", "macro_F1 at 0.5", "macro_F1 at a fitted threshold")


@dataclass(frozen=True)
class Bench:
    """What all methods share.

    Attributes:
        index: the images.
        recipe: to which a method is a change.
        folder: where trials are kept; one that ended is not fitted again.
        groups: of the labels, by the images that train in the end.
    """

    index: Index
    recipe: Recipe
    folder: SweepFolder
    groups: Groups

    def trials(self, changes: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> dict[str, dict[int, Trial]]:
        """Fit each change with each seed.

        Raises:
            RuntimeError: a trial failed; says why.
        """
        found: dict[str, dict[int, Trial]] = {}
        for name, overrides in changes.items():
            setting = Setting(name, tuple(overrides), Recipe.load(self.recipe, list(overrides)))
            found[name] = {seed: Trial(setting, seed) for seed in seeds}
        trials = [trial for own in found.values() for trial in own.values()]
        todo = [trial for trial in trials if self.folder.ended(trial) is None]
        Trials(self.index, self.recipe, self.folder, TerminalProgress()).fit(todo)
        for trial in trials:
            record = self.folder.ended(trial)
            if record is None or record.message:
                raise RuntimeError(f"{trial.setting.name}: {record.message if record else 'did not end'}")
        return found

    def tuned(self, methods: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Each method with the rate and decay that choose best for seed 0."""
        pairs = [[f"train.learning_rate={r}", f"train.weight_decay={d}"] for r, d in itertools.product(RATES, DECAYS)]
        tried = {
            f"{name} {place}": [*changes, *pair, "train.refit=false"]
            for name, changes in methods.items()
            for place, pair in enumerate(pairs)
        }
        fitted = self.trials(tried, [0])
        chosen = {}
        for name, changes in methods.items():
            records = [self.folder.ended(fitted[f"{name} {place}"][0]) for place in range(len(pairs))]
            best = max(range(len(pairs)), key=lambda place: records[place].chosen)  # type: ignore[union-attr]
            chosen[name] = [*changes, *pairs[best]]
        return chosen

    def scores(self, trial: Trial, metric: str) -> Scores:
        """The test scores, for a fitted threshold moved so that it lies at 0.5."""
        test = Scores.load(self.folder.scores(trial))
        if metric != METRICS[2]:
            return test
        choose = Scores.load(self.folder.scores(trial, "choose"))
        limits = DecisionFit(Objective("macro_F1"), "threshold").fit(choose).logit_thresholds
        assert limits is not None
        moved_NK = test.scores_NK.astype(np.float64) - np.array(limits)
        return replace(test, scores_NK=moved_NK.astype(np.float32))

    def members(self, part: str) -> np.ndarray:
        """bool (K,): the labels of a part."""
        return np.ones(len(self.index.label_space), dtype=bool) if part == "all" else self.groups.members(part)

    def table(self, fitted: Mapping[str, Mapping[int, Trial]], metric: str) -> str:
        """Each method's number for all labels and for each group, and its difference to plain cross-entropy."""
        loaded = {name: {s: self.scores(t, metric) for s, t in own.items()} for name, own in fitted.items()}
        cells: dict[str, list[str]] = {name: [] for name in fitted}
        columns = ["method"]
        for part in PARTS:
            members_K = self.members(part)
            columns.append(f"{part} ({int(members_K.sum())})")
            if not members_K.any():
                continue
            named = {name: {s: only(scores, members_K) for s, scores in own.items()} for name, own in loaded.items()}
            compared = compare_repeated(named, BASE, metric.partition(" ")[0])
            cells[BASE].append(f"{compared.baseline_value:.4f}")
            for one in compared.differences:
                low, high = one.interval
                told = f"{one.value:.4f}, {one.difference:+.4f} ({low:+.4f} to {high:+.4f})"
                cells[one.name].append(f"**{told}**" if one.verdict in ("better", "worse") else told)
        rows = [[name, *cells[name]] for name in fitted]
        lines = [columns, ["---"] * len(columns), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def only(scores: Scores, members_K: np.ndarray) -> Scores:
    """The scores of some labels."""
    names = [name for name, member in zip(scores.label_space.names, members_K, strict=True) if member]
    space = LabelSpace(tuple(names))
    return Scores(
        scores.ids, scores.scores_NK[:, members_K], scores.targets_NK[:, members_K], scores.kind, space, scores.origin
    )


def begin(place: str, base: str, settings: Sequence[str], folder: Path) -> Bench:
    """The images, their groups and the recipe, which is ``base`` with other settings."""
    recipe = Recipe.load(base, settings)
    index = read(place, **recipe.data.read)
    rows = Trials(index, recipe, SweepFolder(folder), TerminalProgress()).roles(recipe)
    counts = index.subset(np.sort(np.concatenate([rows.train, rows.choose]))).counts()
    groups = frequency_groups(counts, "terciles")
    print(f"\n{groups.told}; from {int(counts.max())} to {int(counts.min())} training images of a label")
    return Bench(index, recipe, SweepFolder(folder), groups)


def methods_for(index: Index, names: Sequence[str]) -> dict[str, list[str]]:
    """The changes of some methods, with what they must know of the data."""
    labels = f"{len(index.lists('positives')[1]) / len(index):.3f}"
    return {name: [change.replace("LABELS", labels) for change in METHODS[name]] for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", choices=sorted(DATA), default="coco604")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="40 for coco604, 12 for miml2000; end to end 3")
    parser.add_argument("--end-to-end", action="store_true", help="train the whole network at 96 pixels")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], metavar="NAME", help="as the table prints them")
    parser.add_argument("--folder", type=Path, help="where trials are kept, to go on after an interruption")
    given = parser.parse_args()
    place, epochs, own = DATA[given.data]
    weights = given.shared.resolve() / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    settings = [
        "model.backbone=mobilenetv2_100", "model.backbone_args={pad_type: same}", f"model.weights={weights}",
        "data.mean=[0.5, 0.5, 0.5]", "data.std=[0.5, 0.5, 0.5]", "train.weight_decay=0.01", *own,
    ]  # fmt: skip
    if given.end_to_end:
        settings += ["data.image_size=96", "data.workers=0"]
    else:
        settings += ["data.image_size=224", *LOOP]
    settings += [f"train.epochs={given.epochs or (3 if given.end_to_end else epochs)}"]
    folder = given.folder or Path(tempfile.mkdtemp(prefix="longtail-"))
    print(f"trials are kept in {folder}; give --folder {folder} to go on")
    base = "finetune" if given.end_to_end else "quick"
    bench = begin(place.format(shared=given.shared.resolve()), base, settings, folder)
    names = given.methods or (END_TO_END if given.end_to_end else METHODS)
    methods = methods_for(bench.index, [BASE, *(name for name in names if name != BASE)])
    if not given.end_to_end:
        methods = bench.tuned(methods)
    for name, changes in methods.items():
        print(f"{name}: {' '.join(changes)}")
    fitted = bench.trials(methods, range(given.seeds))
    for metric in METRICS:
        print(f"\n{metric}, {given.seeds} seeds: its value, and the difference to {BASE} with its 95 % interval\n")
        print(bench.table(fitted, metric))


if __name__ == "__main__":
    main()
