"""Checkpoints: all that is needed to go on with a training, in folders that are whole or are not read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cotag.errors import LabelSpaceError, ResumeError, StorageError
from cotag.models.tensor_files import save_tensors
from cotag.storage import require_sealed, seal, whole_folder, write_json
from cotag.training.ema import ExponentialAverage
from cotag.training.processes import this_process
from cotag.training.random_state import random_state, restore_random
from cotag.types.batch import Batch
from cotag.types.progress import Progress, Silent

MODEL, OPTIMIZER, STATE, AVERAGE = "model.safetensors", "optimizer.pt", "state.json", "average.safetensors"
LOSS = "loss.safetensors"
LAST, BEFORE, BEST = "last", "before", "best"


@dataclass
class Unfinished:
    """How far an epoch is that is not done; places, losses and times are those of this process.

    Attributes:
        step: steps that are done.
        place: batches of its order that are done, those among them of which no image could be read.
        total, samples: the sum of the losses of their images, and the number of these.
        seconds, waited: how long they took, and how much of that was waiting for batches.
        skipped_steps: see ``Steps.skipped``.
    """

    step: int = 0
    place: int = 0
    total: float = 0.0
    samples: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    skipped_steps: int = 0

    def passed(self, batches: Iterable[tuple[Batch, bool]]) -> Iterator[tuple[Batch, bool]]:
        """The batches of a step, which are counted."""
        for batch, last in batches:
            self.place = 1 + (self.place if batch.place is None else batch.place)
            yield batch, last


@dataclass
class TrainingState:
    """How far a training is.

    Attributes:
        epoch: epochs that are done.
        best_epoch: the one that validation chose so far.
        best_value: what it reached; higher is better.
        history: one dictionary of numbers for each epoch, from 0 (before training).
        label_hash: of the label space that is trained.
        unfinished: how far the next epoch is.
        skipped: rows of images that could not be read so far, with the reason.
    """

    label_hash: str
    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -float("inf")
    history: list[dict[str, float]] = field(default_factory=list)
    unfinished: Unfinished = field(default_factory=Unfinished)
    skipped: dict[str, str] = field(default_factory=dict)

    def end_epoch(self, number: int) -> None:
        """Note that an epoch is done, and judged."""
        self.epoch, self.unfinished = number, Unfinished()


def own_share(state: TrainingState) -> dict[str, Any]:
    """What each of several processes has for itself in a checkpoint."""
    done = state.unfinished
    return {"random": random_state(), "place": done.place, "total": done.total, "samples": done.samples}


class Stateful(Protocol):
    """What gives its state and takes it back, such as an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, saved: dict[str, Any], /) -> object: ...


class Checkpoints:
    """The folder ``checkpoints`` of a run: ``last`` to go on from, ``before`` it, and ``best`` as validation chose.

    Args:
        folder: of the three.
        minutes: after which one is written within an epoch; None for at the end of epochs alone.
    """

    def __init__(self, folder: Path, minutes: float | None = None) -> None:
        self.folder, self.minutes = folder, minutes
        self._last_is_damaged = False

    def clear(self) -> None:
        """Remove what an earlier training left to go on from."""
        for name in (LAST, BEFORE):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def save_last(
        self,
        model: nn.Module,
        optimizer: Stateful,
        state: TrainingState,
        average: ExponentialAverage | None = None,
        criterion: nn.Module | None = None,
        shares: list[dict[str, Any]] | None = None,
    ) -> None:
        """Write model, its average where there is one, optimizer, what losses keep, random states and position.

        When it is whole, the checkpoint that was the last becomes the one before.

        Args:
            shares: ``own_share`` of every process; of this one alone where not given.
        """
        # One that is damaged must not take the place of the one that is not.
        before = None if self._last_is_damaged else self.folder / BEFORE
        with whole_folder(self.folder / LAST, before) as temporary:
            save_tensors(model.state_dict(), temporary / MODEL)
            if average is not None:
                save_tensors(average.state(), temporary / AVERAGE)
            if criterion is not None and criterion.state_dict():
                save_tensors(criterion.state_dict(), temporary / LOSS)
            _save_optimizer(optimizer, shares or [own_share(state)], temporary / OPTIMIZER)
            write_json(temporary / STATE, asdict(state))
            seal(temporary)
        self._last_is_damaged = False

    def save_best(self, model: nn.Module) -> None:
        """Write the weights that validation chose."""
        with whole_folder(self.folder / BEST) as temporary:
            save_tensors(model.state_dict(), temporary / MODEL)
            seal(temporary)

    def load_best(self, model: nn.Module) -> None:
        """Put the weights that validation chose into the model.

        Raises:
            ResumeError: they are damaged.
        """
        try:
            require_sealed(self.folder / BEST)
        except StorageError as error:
            raise ResumeError(f"{error}; train again") from None
        _load_into(model, self.folder / BEST / MODEL)

    def load_last(
        self,
        model: nn.Module,
        optimizer: Stateful,
        label_hash: str,
        average: ExponentialAverage | None = None,
        criterion: nn.Module | None = None,
        progress: Progress | None = None,
    ) -> TrainingState:
        """Put the last checkpoint into model, average, optimizer, losses and random states; returns the position.

        One that was cut or altered is said and not read; the one before is taken in its place.

        Raises:
            ResumeError: there is no checkpoint, none is whole, or it does not fit.
            LabelSpaceError: it was trained for other labels.
        """
        folder = self._whole(progress or Silent())
        state = _read_state(folder, label_hash)
        _load_into(model, folder / MODEL)
        if average is not None:
            _load_average(average, folder / AVERAGE)
        if criterion is not None and criterion.state_dict():
            _load_into(criterion, folder / LOSS)
        path = folder / OPTIMIZER
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            optimizer.load_state_dict(saved["optimizer"])
            if getattr(optimizer, "scaler", None) is not None:
                optimizer.scaler.load_state_dict(saved["scaler"])  # type: ignore[attr-defined]
            shares = saved["processes"]
        except Exception as error:
            raise ResumeError(f"{path}: cannot be read ({str(error).splitlines()[0]}); train again") from None
        _take_share(shares, state, path)
        return state

    def read_state(self, label_hash: str) -> TrainingState:
        """The position of the checkpoint that ``load_last`` takes."""
        return _read_state(self._whole(Silent()), label_hash)

    def _whole(self, progress: Progress) -> Path:
        """The last checkpoint, or the one before where that is damaged."""
        damages = []
        for name in (LAST, BEFORE):
            if (self.folder / name).is_dir():
                try:
                    require_sealed(self.folder / name)
                except StorageError as error:
                    damages.append(str(error))
                    continue
                self._last_is_damaged = bool(damages)
                if damages:
                    progress.say(f"{damages[0]}; goes on from {self.folder / name}")
                return self.folder / name
        if damages:
            raise ResumeError(f"{'; '.join(damages)}; train again")
        raise ResumeError(f"{self.folder}: holds no checkpoint to go on from; train without --resume")


def _read_state(folder: Path, label_hash: str) -> TrainingState:
    path = folder / STATE
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        state = TrainingState(**{**values, "unfinished": Unfinished(**values["unfinished"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResumeError(f"{path}: is damaged ({error}); train again") from None
    if state.label_hash != label_hash:
        raise LabelSpaceError(
            f"{folder.parent}: was trained for another label space (hash {state.label_hash}, the data's is "
            f"{label_hash}); resume with the data that it was trained on, or train anew with another --out"
        )
    return state


def _take_share(shares: list[dict[str, Any]], state: TrainingState, path: Path) -> None:
    """Put into the position, and the random generators, what this process had of its own."""
    process = this_process()
    if state.unfinished.step and len(shares) != process.num_processes:
        raise ResumeError(
            f"{path}: was written within an epoch by {len(shares)} processes, now there are "
            f"{process.num_processes}; resume with {len(shares)}"
        )
    share = shares[process.process_index % len(shares)]
    restore_random(share["random"])
    for name in ("place", "total", "samples"):
        setattr(state.unfinished, name, share[name])


def _save_optimizer(optimizer: Stateful, shares: list[dict[str, Any]], path: Path) -> None:
    saved = {"optimizer": optimizer.state_dict(), "processes": shares}
    scaler = getattr(optimizer, "scaler", None)
    if scaler is not None:
        saved["scaler"] = scaler.state_dict()
    try:
        torch.save(saved, path)
    # So torch reports a full disk.
    except RuntimeError as error:
        raise StorageError(f"{path}: could not be written (is the disk full?); free space and resume") from error


def _load_into(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ResumeError(f"{path}: does not fit or cannot be read ({str(error).splitlines()[0]})") from None


def _load_average(average: ExponentialAverage, path: Path) -> None:
    try:
        average.load(load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise ResumeError(f"{path}: does not fit or cannot be read ({str(error).splitlines()[0]})") from None
