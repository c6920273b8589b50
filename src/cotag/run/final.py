"""Training on training and validation images together, as a finished run chose to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cotag.data.splits import Roles
from cotag.errors import LabelSpaceError, ResumeError, SettingError
from cotag.evaluation.calibration import Calibration
from cotag.evaluation.decision import Decision
from cotag.models.settings import read_settings
from cotag.recipe import Recipe
from cotag.run.fitted import Fitted
from cotag.run.folder import RunFolder
from cotag.training.loop_settings import choosing_value
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.section import Section


@dataclass(frozen=True)
class Final:
    """What a training on the union takes from the run that it repeats.

    Attributes:
        run: the folder of that run.
        epoch: the epoch after which training ends; None where a head on features is fitted once more.
        epochs: of the recipe, over which the schedule falls.
        decision: of that run's model, as its settings hold it; fitted on its validation, if at all.
        calibration: the same, None where it has none.
    """

    run: str
    epoch: int | None
    epochs: int
    decision: Mapping[str, Any]
    calibration: Mapping[str, Any] | None

    @classmethod
    def load(cls, folder: RunFolder) -> Final | None:
        """What a folder's run was begun with; None where it is no final run."""
        if not folder.final.is_file():
            return None
        try:
            return cls(**json.loads(folder.final.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise ResumeError(f"{folder.final}: is damaged ({error}); train again") from None

    def to_json(self) -> dict[str, Any]:
        """What ``load`` reads."""
        return asdict(self)

    def judged_by(self, space: LabelSpace) -> tuple[Decision, Calibration | None]:
        """Decision and calibration for the new model."""
        calibration = None if self.calibration is None else Calibration.from_json(self.calibration, space)
        return Decision.from_json(self.decision, space), calibration

    def without_choice(self, fitted: Fitted) -> Fitted:
        """What fitting gave, without what it says of images that trained the model in the end."""
        history = [{key: value for key, value in row.items() if not key.startswith("val_")} for row in fitted.history]
        kept = [row for row in history if "train_loss" in row] if self.epoch is not None else []
        return replace(fitted, scores={"test": fitted.scores["test"]}, history=kept)

    @property
    def told(self) -> str:
        """What is done, and what is therefore not known."""
        carried = "decision and calibration are" if self.calibration else "the decision is"
        fitted = "the head is fitted once more with the images that chose"
        if self.epoch is not None:
            fitted = f"the images that chose train too, for {self.epoch} of {self.epochs} epochs, as they chose"
        return (
            f"final run of {self.run}: {fitted}; no image is left to choose by, so there is no validation score, and "
            f"{carried} carried over from that run's model"
        )

    def section(self) -> Section:
        """For the report."""
        return Section("Retrained on the union", f"This is a {self.told}.")


@dataclass(frozen=True)
class Beginning:
    """Settings, roles and the rest that a final run begins with."""

    recipe: Recipe
    roles: Roles
    final: Final


def finished_run(run: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> RunFolder:
    """The folder of a finished run that can be trained on the union.

    Raises:
        ResumeError: the folder holds no run, or one that is not finished, or a final one.
        SettingError: ``out`` is the folder itself, or the run's model has seen all images already.
    """
    folder = RunFolder(run)
    if not folder.recipe.is_file() or not folder.splits.is_file():
        raise ResumeError(f"{run}: holds no run; give the folder that cotag train filled")
    before = Final.load(folder)
    if before is not None:
        raise ResumeError(f"{run}: is a final run itself; give the run that chose, {before.run}")
    if not folder.result.is_file():
        raise ResumeError(f"{run}: is not finished; finish it with cotag train DATA --resume {run}, then give it again")
    if out is not None and Path(out).resolve() == folder.folder.resolve():
        raise SettingError(f"--out {out}: is the run itself, which a final run does not replace; give another folder")
    recipe = Recipe.load(folder.recipe)
    if recipe.train.mode == "features" and recipe.train.refit:
        raise SettingError(
            f"{run}: nothing to do, its head was fitted once more with the images that chose (train.refit = true), so "
            "its model has been trained on all of them"
        )
    return folder


def source_of(folder: RunFolder) -> str:
    """Where the data of a run lie.

    Raises:
        SettingError: it was trained on an Index.
    """
    source = str(json.loads(folder.data.read_text("utf-8"))["source"])
    if source == "an Index":
        raise SettingError(f"{folder.folder}: was trained on an Index of Python; give the data")
    return source


def begin_final(folder: RunFolder, index: Index) -> Beginning:
    """What a run on the union of training and validation images begins with.

    Args:
        folder: of the run that chose; see ``finished_run``.
        index: its data, read again.

    Raises:
        LabelSpaceError, ResumeError: labels or images are others than those of the run.
        SettingError: validation chose the weights before the first epoch.
    """
    run = str(folder.folder)
    advice = "give the data of that run"
    try:
        folder.require_same_labels(index.label_space)
    except LabelSpaceError as error:
        raise LabelSpaceError(f"{str(error).partition('; resume with')[0]}; {advice}") from None
    roles = folder.load_roles(index, advice)
    recipe = Recipe.load(folder.recipe)
    about = read_settings(folder.model)
    carried = (about["decision"], about.get("calibration"))
    judges = roles.told[-1]
    if recipe.train.mode == "features":
        decay = json.loads(folder.result.read_text("utf-8"))["weight_decay"]
        recipe = recipe.model_copy(
            update={"train": recipe.train.model_copy(update={"refit": True, "weight_decay": decay})}
        )
        final = Final(run, None, recipe.train.epochs, *carried)
        return Beginning(recipe, replace(roles, told=(final.told, judges)), final)
    epoch = chosen_epoch(folder, recipe.train.choose_by)
    if epoch == 0:
        raise SettingError(
            f"{run}: its validation chose the weights before the first epoch; there is nothing to repeat"
        )
    final = Final(run, epoch, recipe.train.epochs, *carried)
    union = np.sort(np.concatenate([roles.train, roles.choose]))
    told = (f"trains: {len(union)} images, those that trained and those that chose in {run}", final.told, judges)
    return Beginning(recipe, Roles(union, roles.choose[:0], roles.test, told, split_off=False), final)


def chosen_epoch(folder: RunFolder, choose_by: str) -> int:
    """The epoch that validation chose in a finished run: of equal ones the first.

    Raises:
        ResumeError: the folder's history is damaged.
    """
    try:
        history = [json.loads(line) for line in folder.history.read_text("utf-8").splitlines()]
        best = max(history, key=lambda row: choosing_value(row, choose_by))
        return int(best["epoch"])
    except (OSError, ValueError, KeyError) as error:
        raise ResumeError(f"{folder.history}: is damaged ({error}); train that run again") from None
