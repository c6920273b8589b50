"""What a training says to TensorBoard, MLflow or Weights & Biases, through Accelerate's trackers."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers
from accelerate.utils import ProjectConfiguration

from cotag.errors import CotagWarning, MissingExtra, TrainingError
from cotag.storage import write_json

PROJECT = "cotag"
# Package and, to install it, what pip takes.
PACKAGES = {"tensorboard": "'cotag[track]'", "mlflow": "mlflow", "wandb": "wandb"}
IDS = "ids.json"


class Tracking:
    """Trackers of one run; none by default, which costs nothing.

    Args:
        names: of ``tensorboard``, ``mlflow`` and ``wandb``.
        folder: where they write what they keep in files, and where the run's number in each is kept, so that a run
            that is resumed goes on in the same place.
        settings: of the run, in groups; shown by the trackers beside the curves.
        every: steps from one report of the running loss to the next.

    Raises:
        MissingExtra: a tracker's package is not installed.
    """

    def __init__(
        self, names: tuple[str, ...] = (), folder: Path | None = None, settings: Mapping[str, Any] | None = None,
        every: int = 50,
    ) -> None:  # fmt: skip
        for name in names:
            if importlib.util.find_spec(name) is None:
                raise MissingExtra(f"train.trackers = [{name}]: is not installed; run pip install {PACKAGES[name]}")
        self.names, self.folder, self.every = names, folder or Path(), every
        self._settings = flat(settings or {})
        self._accelerator: Accelerator | None = None
        self._length = 0

    @contextmanager
    def open(self, accelerator: Accelerator, length: int) -> Iterator[None]:
        """The trackers listen inside to a training whose epochs have ``length`` steps.

        Raises:
            TrainingError: one does not start; the message says why.
        """
        if not self.names:
            yield
            return
        accelerator.project_configuration = ProjectConfiguration(str(self.folder), str(self.folder))
        accelerator.log_with = filter_trackers(list(self.names), str(self.folder))
        try:
            accelerator.init_trackers(PROJECT, self._settings, self._arguments())
        # They raise exceptions of every kind.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TrainingError(
                f"train.trackers = [{', '.join(self.names)}]: did not start ({reason}); leave it out, or see to its "
                "settings, such as MLFLOW_TRACKING_URI or WANDB_MODE=offline"
            ) from error
        self._accelerator, self._length = accelerator, length
        if accelerator.is_main_process:
            self._keep_ids(accelerator)
        try:
            yield
        finally:
            # Accelerate's end_training would end the processes' connection with them; the model is yet to be judged.
            for tracker in accelerator.trackers:
                tracker.finish()
            accelerator.trackers.clear()
            self._accelerator = None

    def step(self, number: int, loss: float, rate: float) -> None:
        """Tell, now and then, the running loss and the learning rate after a step, from 1 over all epochs."""
        if self._accelerator is not None and number % self.every == 0:
            self._log({"step/loss": loss, "step/learning_rate": rate}, number)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Tell an epoch's line of ``metrics.jsonl``, at its last step."""
        if self._accelerator is not None:
            told = {f"epoch/{'number' if name == 'epoch' else name}": value for name, value in row.items()}
            self._log(told, int(row["epoch"]) * self._length)

    def _log(self, values: dict[str, float], number: int) -> None:
        assert self._accelerator is not None
        try:
            self._accelerator.log(values, step=number)
        # A server that went away must not take hours of training with it.
        except Exception as error:
            self._accelerator = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(
                f"train.trackers: fell silent at step {number} ({reason}); training goes on, and metrics.jsonl has "
                "every epoch",
                CotagWarning,
                stacklevel=2,
            )

    def _arguments(self) -> dict[str, dict[str, Any]]:
        """What the trackers are started with: the run's name, and its number where it had one already."""
        path, name = self.folder / IDS, self.folder.resolve().parent.name
        ids: dict[str, str] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        wandb: dict[str, Any] = {"dir": str(self.folder), "name": name}
        if "wandb" in ids:
            wandb |= {"id": ids["wandb"], "resume": "allow"}
        mlflow = {"run_id": ids["mlflow"]} if "mlflow" in ids else {"run_name": name}
        return {"wandb": wandb, "mlflow": mlflow}

    def _keep_ids(self, accelerator: Accelerator) -> None:
        found = {}
        for tracker in accelerator.trackers:
            if tracker.name == "wandb":
                found["wandb"] = str(tracker.tracker.id)
            elif tracker.name == "mlflow":
                found["mlflow"] = str(tracker.tracker.info.run_id)
        if found:
            write_json(self.folder / IDS, found)


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, bool | int | float | str]:
    """Groups of settings as one, as trackers take them.

    >>> flat({"train": {"epochs": 3, "freeze": ["stem"], "ema": None}})
    {'train.epochs': 3, 'train.freeze': '["stem"]', 'train.ema': 'null'}
    """
    found: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{before}{key}.")
        else:
            found[before + key] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return found
