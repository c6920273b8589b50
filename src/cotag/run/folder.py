"""The folder of a run: what lies where, and what makes a run continue as it began."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from cotag.data.splits import ROLES, Roles
from cotag.errors import LabelSpaceError, ResumeError, listing
from cotag.run.saved_roles import SavedRoles
from cotag.storage import require_free, write_json
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

RUNS = Path("runs")
AGAIN = "resume with the same data, or train with another --out"


class RunFolder:
    """Paths of a run's files.

    Args:
        folder: ``recipe.yaml`` (resolved), ``data.json`` (source and label space), ``splits.csv`` (role of each
            image), ``environment.json``, ``metrics.jsonl`` (one line per epoch or strength), ``checkpoints``,
            ``tracking`` (what trackers keep),
            ``scores/*.parquet``, ``model``, ``report.html``, ``result.json``; ``final.json`` of a run on the union
            of training and validation images: what it took from the run that chose.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.recipe = self.folder / "recipe.yaml"
        self.data = self.folder / "data.json"
        self.splits = self.folder / "splits.csv"
        self.environment = self.folder / "environment.json"
        self.history = self.folder / "metrics.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.tracking = self.folder / "tracking"
        self.model = self.folder / "model"
        self.report = self.folder / "report.html"
        self.result = self.folder / "result.json"
        self.final = self.folder / "final.json"

    @classmethod
    def of_model(cls, model: str | os.PathLike[str]) -> RunFolder:
        """The run that a model belongs to, of the run's folder or of the model's folder in it."""
        run = cls(model)
        outer = cls(run.folder.resolve().parent)
        return outer if outer.splits.is_file() and outer.model == run.folder.resolve() else run

    def clear(self) -> None:
        """Remove what an earlier run left here, so that nothing of two runs lies side by side; other files stay."""
        about = (self.recipe, self.data, self.splits, self.environment, self.final)
        for file in (*about, self.history, self.report, self.result):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.tracking, self.model, self.folder / "scores"):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint that training can go on from."""
        return any((self.checkpoints / name).is_dir() for name in ("last", "before"))

    def scores(self, role: str) -> Path:
        """The Scores of a role's images."""
        return self.folder / "scores" / f"{role}.parquet"

    def save_data(self, index: Index, roles: Roles, source: str) -> None:
        """Write where the data come from, their label space and the role of every image."""
        write_json(
            self.data,
            {
                "source": source,
                "images": len(index),
                "label_space": index.label_space.to_json(),
                "roles": list(roles.told),
                "split_off": roles.split_off,
            },
        )
        SavedRoles(index.table["id"], roles.codes(len(index))).save(self.splits)

    def saved_roles(self) -> SavedRoles | None:
        """The role of each image by its id; None where the folder does not say."""
        return SavedRoles.load(self.splits) if self.splits.is_file() else None

    def require_same_labels(self, space: LabelSpace) -> None:
        """Refuse to continue with other labels than the run was begun with.

        Raises:
            ResumeError: the folder holds no run.
            LabelSpaceError: the hashes differ.
        """
        try:
            about: dict[str, Any] = json.loads(self.data.read_text("utf-8"))
            began = LabelSpace.from_json(about["label_space"])
        except (OSError, ValueError, KeyError):
            raise ResumeError(f"{self.folder}: holds no run that can be resumed; train without --resume") from None
        try:
            began.require_same(space, f"{self.folder} cannot be resumed with these data")
        except LabelSpaceError as error:
            raise LabelSpaceError(
                f"{error}; resume with the data that it began with, or train with another --out"
            ) from None

    def load_roles(self, index: Index, advice: str = AGAIN) -> Roles:
        """The roles that the run began with.

        Args:
            advice: what to do where the images are others.

        Raises:
            ResumeError: the images are not those that the run began with.
        """
        saved = SavedRoles.load(self.splits)
        changed = saved.changed(index)
        if changed:
            raise ResumeError(
                f"{self.folder}: the images changed since the run began ({len(changed)}: {listing(changed, 3)}); "
                f"{advice}"
            )
        about = json.loads(self.data.read_text("utf-8"))
        train, choose, test = (saved.rows_of((role,), index) for role in ROLES)
        return Roles(train, choose, test, tuple(about["roles"]), about["split_off"])


def new_folder(out: str | os.PathLike[str] | None, name: str, force: bool) -> RunFolder:
    """A folder for a new run: ``out``, or the next free ``runs/NAME-N``.

    Raises:
        OutputExists: ``out`` holds something and ``force`` was not given.
    """
    if out is not None:
        require_free(out, force)
        return RunFolder(out)
    number = 1
    while (RUNS / f"{name}-{number}").exists():
        number += 1
    return RunFolder(RUNS / f"{name}-{number}")
