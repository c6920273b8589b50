"""Checkpoints: all that is needed to go on with a training, in one folder that is whole or absent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cotag.errors import LabelSpaceError, ResumeError, StorageError
from cotag.models.tensor_files import save_tensors
from cotag.storage import whole_folder, write_json
from cotag.training.ema import ExponentialAverage

MODEL, OPTIMIZER, STATE, AVERAGE = "model.safetensors", "optimizer.pt", "state.json", "average.safetensors"
LOSS = "loss.safetensors"


@dataclass
class TrainingState:
    """How far a training is.

    Attributes:
        epoch: epochs that are done.
        best_epoch: the one that validation chose so far.
        best_value: what it reached; higher is better.
        history: one dictionary of numbers for each epoch, from 0 (before training).
        label_hash: of the label space that is trained.
    """

    label_hash: str
    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


class Checkpoints:
    """The folder ``checkpoints`` of a run: ``last`` to go on from, ``best`` as validation chose."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_last(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: TrainingState,
        average: ExponentialAverage | None = None,
        criterion: nn.Module | None = None,
    ) -> None:
        """Write model, its average where there is one, optimizer, what losses keep, random state and position.

        The checkpoint before is replaced when this one is whole.
        """
        with whole_folder(self.folder / "last") as temporary:
            save_tensors(model.state_dict(), temporary / MODEL)
            if average is not None:
                save_tensors(average.state(), temporary / AVERAGE)
            if criterion is not None and criterion.state_dict():
                save_tensors(criterion.state_dict(), temporary / LOSS)
            _save_optimizer(optimizer, temporary / OPTIMIZER)
            write_json(temporary / STATE, vars(state))

    def save_best(self, model: nn.Module) -> None:
        """Write the weights that validation chose."""
        with whole_folder(self.folder / "best") as temporary:
            save_tensors(model.state_dict(), temporary / MODEL)

    def load_best(self, model: nn.Module) -> None:
        """Put the weights that validation chose into the model."""
        _load_into(model, self.folder / "best" / MODEL)

    def load_last(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        label_hash: str,
        average: ExponentialAverage | None = None,
        criterion: nn.Module | None = None,
    ) -> TrainingState:
        """Put the last checkpoint into model, average, optimizer, losses and random state; returns the position.

        Raises:
            ResumeError: there is no checkpoint, or it is damaged.
            LabelSpaceError: it was trained for other labels.
        """
        state = self.read_state(label_hash)
        path = self.folder / "last" / OPTIMIZER
        _load_into(model, self.folder / "last" / MODEL)
        if average is not None:
            _load_average(average, self.folder / "last" / AVERAGE)
        if criterion is not None and criterion.state_dict():
            _load_into(criterion, self.folder / "last" / LOSS)
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            optimizer.load_state_dict(saved["optimizer"])
        except Exception as error:
            raise ResumeError(f"{path}: cannot be read ({str(error).splitlines()[0]}); train again") from None
        _restore_random(saved["random"])
        return state

    def read_state(self, label_hash: str) -> TrainingState:
        """The position of the last checkpoint; see ``load_last``."""
        path = self.folder / "last" / STATE
        if not path.is_file():
            raise ResumeError(f"{self.folder}: holds no checkpoint to go on from; train without --resume")
        try:
            values: dict[str, Any] = json.loads(path.read_text("utf-8"))
            state = TrainingState(**values)
        except (ValueError, TypeError) as error:
            raise ResumeError(f"{path}: is damaged ({error}); train again") from None
        if state.label_hash != label_hash:
            raise LabelSpaceError(
                f"{self.folder}: was trained for another label space (hash {state.label_hash}, the data's is "
                f"{label_hash}); resume with the data that it was trained on, or train anew with another --out"
            )
        return state


def _save_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    try:
        torch.save({"optimizer": optimizer.state_dict(), "random": _random_state()}, path)
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


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_random(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
