"""The learning curves of several settings: what is varied, and that the curves are those of training alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.run.checks import check_recipe
from cotag.run.folder import RunFolder
from cotag.run.reproduce.experiment import Experiment
from cotag.run.reproduce.psg_tuning import FROZEN, psg_tuning, tuning_plan
from cotag.run.reproduce.study import settings_of
from cotag.run.train import train
from cotag.types.progress import Silent

# One value of each key, the recipe's own where there is nothing to change.
FEW = [
    "train.learning_rate=0.1", "train.batch_size=32", "train.optimizer=adamw", "train.schedule=cosine",
    "train.optimizer_args.momentum=0.9", "train.l1=0", "train.weight_decay=0.01",
]  # fmt: skip


@pytest.fixture
def tuned(pictures: Path, tiny: list[str], tmp_path: Path) -> Callable[..., Experiment]:
    """Runs a small tuning of the pictures."""

    def run(grid: Sequence[str] = FEW, settings: Sequence[str] = (), **given: Any) -> Experiment:
        given = {"seeds": 2, "runs": str(tmp_path / "runs"), "progress": Silent(), **given}
        return psg_tuning(str(pictures), None, [*tiny, "train.epochs=2", *settings], grid, **given)

    return run


def test_curves_are_the_means_of_training_alone(
    tuned: Callable[..., Experiment], pictures: Path, tiny: list[str], tmp_path: Path
) -> None:
    found = tuned([*FEW[:4], "train.l1=0.01", FEW[6]])
    titles = ["Learning rate", "Batch size", "Optimizer", "Momentum", "Schedule", "L1 penalty", "Weight decay"]
    assert [one.title for one in found.sections] == ["Verdict", *titles]
    alone = []
    for seed in (0, 1):
        changes = [*FROZEN[1], *tiny, "train.epochs=2", "train.l1=0.01", f"train.seed={seed}"]
        run = train(str(pictures), Recipe.load(FROZEN[0], changes), tmp_path / f"alone-{seed}")
        alone.append([json.loads(line) for line in RunFolder(run.folder).history.read_text("utf-8").splitlines()])
    penalty = found.sections[6]
    assert [row[0] for row in penalty.rows] == ["0 (recipe)", "0.01"]
    figure = penalty.figure
    assert figure is not None
    panels = {
        key[1:5] + key[5:]: axis["title"]["text"] for key, axis in figure["layout"].items() if key.startswith("y")
    }
    lines = {(line["legendgroup"], panels[f"axis{line['yaxis'][1:]}"]): line["y"] for line in figure["data"]}
    for key, title in (("val_loss", "validation loss"), ("train_loss", "training loss"), ("val_mAP", "validation mAP")):
        expected = np.mean([[row[key] for row in history if key in row] for history in alone], axis=0)
        np.testing.assert_allclose(lines["0.01", title], expected, atol=1e-5)
    cells = dict(zip(penalty.columns, penalty.rows[1], strict=True))
    best = [max(row["val_mAP"] for row in history) for history in alone]
    assert cells["chosen mAP"] == pytest.approx(np.mean(best), abs=1e-5)
    lowest = [min(row["val_loss"] for row in history) for history in alone]
    assert cells["val loss"] == pytest.approx(np.mean(lowest), abs=1e-5)
    assert cells["spread"] == pytest.approx(np.std(best, ddof=1), abs=1e-5)


def test_a_curve_is_kept_for_a_sweep_that_goes_on(tuned: Callable[..., Experiment], tmp_path: Path) -> None:
    first = tuned(seeds=1)
    again = tuned(seeds=1)
    assert [one.figure for one in again.sections] == [one.figure for one in first.sections]
    assert [one.rows for one in again.sections] == [one.rows for one in first.sections]
    assert len(list((tmp_path / "runs" / "trials" / "history").glob("*.json"))) == 3  # The recipe, a rate, a momentum.


def test_another_key_has_a_picture_of_its_own_and_end_to_end_is_varied_alike(tuned: Callable[..., Experiment]) -> None:
    whole = ["train.epochs=1", "data.augment=[]", "train.optimizer=sgd", "train.learning_rate=0.01"]
    found = tuned([*FEW[1:3], "train.learning_rate=0.01", "train.schedule=cosine", "train.optimizer_args.momentum=0.5",
                   "train.l1=0", "train.weight_decay=0.01", "train.clip_norm=0.5,nonsense"],
                  whole, seeds=1, end_to_end=True)  # fmt: skip
    titles = [one.title for one in found.sections]
    assert titles[-2:] == ["Clip norm", "Failed"]
    clipped = found.sections[-2]
    assert [row[0] for row in clipped.rows] == ["1 (recipe)", "0.5", "nonsense"]
    assert clipped.rows[1][1] is not None
    assert clipped.rows[2][1] is None
    assert clipped.figure is not None
    momentum = next(one for one in found.sections if one.title == "Momentum")
    assert [row[0] for row in momentum.rows] == ["as it is (recipe)", "0.5"]


@pytest.mark.parametrize("changes", [[], ["train.optimizer=sgd", "train.optimizer_args={momentum: 0.5}"]])
def test_the_usual_values_are_all_settings_that_can_be(changes: list[str]) -> None:
    base = Recipe.load(FROZEN[0], [*FROZEN[1], *changes])
    studies = tuning_plan(base)
    assert [study.key.rpartition(".")[2] for study in studies] == [
        "learning_rate", "batch_size", "optimizer", "momentum", "schedule", "l1", "weight_decay",
    ]  # fmt: skip
    for setting in settings_of(studies):
        assert setting.recipe is not None, setting.message
        check_recipe(setting.recipe)
    rates = {study.key: study for study in studies}["train.learning_rate"]
    assert list(rates.names) == ["3e-05", "0.0001", "0.0003", "0.001", "0.003", "0.01"]
    optimizer = {study.key: study for study in studies}["train.optimizer"]
    of_sgd, of_adam = (optimizer.settings[name].recipe for name in ("sgd", "adam"))
    assert of_sgd is not None
    assert of_adam is not None
    assert of_sgd.train.learning_rate == pytest.approx(100 * of_adam.train.learning_rate)
    assert optimizer.base == ("adamw" if not changes else "sgd")


def test_what_has_no_epochs_has_no_curves() -> None:
    with pytest.raises(SettingError, match="solves a head without epochs"):
        tuning_plan(Recipe.load("quick"))
    with pytest.raises(
        SettingError, match=r"--grid train\.epoch: there is no such setting; did you mean train\.epochs"
    ):
        tuning_plan(Recipe.load("finetune"), ["train.epoch=3"])
