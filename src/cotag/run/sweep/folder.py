"""The folder of a sweep: one record for each trial that ended, so that a sweep that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cotag.errors import LabelSpaceError, ResumeError
from cotag.recipe import Recipe
from cotag.run.sweep.plan import Setting
from cotag.storage import write_json
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


@dataclass(frozen=True)
class Trial:
    """One setting with one seed.

    Attributes:
        setting: what is changed of the recipe.
        seed: of the images that choose, the first weights and the order.
    """

    setting: Setting
    seed: int

    @property
    def recipe(self) -> Recipe:
        """The setting's recipe with this seed."""
        assert self.setting.recipe is not None
        return Recipe.load(self.setting.recipe, [f"train.seed={self.seed}"])

    @property
    def key(self) -> str:
        """A name for its files, which trials share exactly where the same is trained: decisions are made after."""
        if self.setting.recipe is None:
            text = f"{self.setting.name} {self.seed}"
        else:
            text = self.recipe.model_dump_json(exclude={"decide"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """What became of a trial.

    Attributes:
        setting, seed: of the trial.
        message: why it failed; empty where it did not.
        chosen: the number of the images that choose, of the epoch or strength that they chose.
        seconds: its share of the time that fitting took.
        parameters: of its head.
        together: how many heads were fitted in the same pass.
        weight_decay: the strength that was used.
    """

    setting: str
    seed: int
    message: str = ""
    chosen: float | None = None
    seconds: float = 0.0
    parameters: int = 0
    together: int = 0
    weight_decay: float = 0.0


class SweepFolder:
    """Paths of a sweep's files.

    Args:
        folder: ``sweep.json`` (what was asked for), ``recipe.yaml``, ``trials/*.json`` and ``*.parquet`` (records and
            test scores), ``trials/choose/*.parquet`` (scores of the images that choose),
            ``trials/history/*.json`` (of each epoch), ``table.parquet``, ``report.html``, ``result.json``; of a
            search ``study.log`` and ``trials.parquet``.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.asked = self.folder / "sweep.json"
        self.recipe = self.folder / "recipe.yaml"
        self.trials = self.folder / "trials"
        self.table = self.folder / "table.parquet"
        self.report = self.folder / "report.html"
        self.result = self.folder / "result.json"
        self.study = self.folder / "study.log"
        self.searched = self.folder / "trials.parquet"

    def clear(self) -> None:
        """Remove what an earlier sweep left; other files stay."""
        shutil.rmtree(self.trials, ignore_errors=True)
        files = (self.asked, self.recipe, self.study, self.table, self.searched, self.report, self.result)
        for file in files:
            file.unlink(missing_ok=True)

    def begin(self, asked: dict[str, Any], recipe: Recipe, space: LabelSpace, images: int) -> None:
        """Write what was asked for."""
        recipe.save(self.recipe)
        write_json(self.asked, {**asked, "label_space": space.to_json(), "images": images})

    def load_asked(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            ResumeError: the folder holds no sweep.
        """
        try:
            found: dict[str, Any] = json.loads(self.asked.read_text("utf-8"))
        except (OSError, ValueError):
            raise ResumeError(f"{self.folder}: holds no sweep that can be resumed; sweep without --resume") from None
        return found

    def require_same_data(self, space: LabelSpace, images: int) -> None:
        """Refuse to go on with other data than the sweep was begun with.

        Raises:
            LabelSpaceError, ResumeError: other labels, or another number of images.
        """
        asked = self.load_asked()
        try:
            LabelSpace.from_json(asked["label_space"]).require_same(space, f"{self.folder} cannot be resumed")
        except LabelSpaceError as error:
            raise LabelSpaceError(f"{error}; resume with the data that it began with, or give another --out") from None
        if asked["images"] != images:
            raise ResumeError(
                f"{self.folder}: began with {asked['images']} images, now there are {images}; resume with the same "
                "data, or give another --out"
            )

    def scores(self, trial: Trial, role: str = "test") -> Path:
        """The scores of a trial's images that judge, or of those that choose."""
        return (self.trials if role == "test" else self.trials / role) / f"{trial.key}.parquet"

    def keep(
        self, trial: Trial, record: Record, scores: Mapping[str, Scores] | None = None,
        history: Sequence[Mapping[str, float]] = (),
    ) -> None:  # fmt: skip
        """Write a trial that ended, with its scores by role and its history; its record last, so that what has one is
        complete."""
        for role, own in (scores or {}).items():
            own.save(self.scores(trial, role))
        if history:
            write_json(self._history(trial), list(history))
        write_json(self.trials / f"{trial.key}.json", asdict(record))

    def history(self, trial: Trial) -> list[dict[str, float]]:
        """Numbers of each epoch of a trial, or of each strength where its head was solved; none where it failed."""
        path = self._history(trial)
        found: list[dict[str, float]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
        return found

    def _history(self, trial: Trial) -> Path:
        return self.trials / "history" / f"{trial.key}.json"

    def ended(self, trial: Trial) -> Record | None:
        """The record of a trial, None where it has not ended."""
        path = self.trials / f"{trial.key}.json"
        try:
            return Record(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ResumeError(f"{path}: is no record of a trial ({error}); remove it and resume") from None
