from __future__ import annotations

import importlib.util
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from accelerate.utils import LoggerType
from torch import Tensor, nn

from cotag.errors import CotagWarning, MissingExtra, NonFiniteLoss, TrainingError
from cotag.registry import OPTIMIZERS
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.loop_settings import LoopSettings
from cotag.training.losses.bce import BCE
from cotag.training.optim import parameter_groups
from cotag.training.schedules import cosine
from cotag.training.tracking import Tracking
from cotag.training.trainer import Trainer
from cotag.types.batch import Output
from cotag.types.progress import Silent


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, cached: Tensor) -> Output:
        return Output(self.last(cached))


def trained(tracking: Tracking, rate: float = 0.1) -> list[dict[str, float]]:
    """Two epochs of four steps."""
    random = np.random.default_rng(0)
    part = FeatureSet(random.normal(0, 1, (16, 4)).astype(np.float32), np.arange(16), {}, 0)
    batches = FeatureBatches(part, random.integers(0, 2, (16, 2)).astype(np.int8), 4, shuffle=True)
    torch.manual_seed(0)
    model = Flat()
    optimizer = OPTIMIZERS.build("sgd", parameter_groups(model, rate, 1.0, 0.0))
    values = iter([0.5, 0.25, 0.125])
    loop = LoopSettings(2, choose_by="loss")
    fit = Trainer(model, Criterion(BCE()), optimizer, cosine(), loop, lambda model: {"val_loss": next(values)})
    return fit.fit(batches, "", Silent(), tracking=tracking).history


SETTINGS = {"train": {"epochs": 2, "freeze": ["stem"]}, "model": {"head": "linear"}}


# TensorBoard


def test_tensorboard_has_the_curves_and_the_settings(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = trained(Tracking(("tensorboard",), tmp_path / "run" / "tracking", SETTINGS, every=3))
    events = EventAccumulator(str(tmp_path / "run" / "tracking" / "cotag"))
    events.Reload()
    found = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert found["epoch/val_loss"] == [(0, 0.5), (4, 0.25), (8, 0.125)]
    assert found["epoch/number"] == [(0, 0.0), (4, 1.0), (8, 2.0)]
    losses = [row["train_loss"] for row in history[1:]]
    assert [value for _, value in found["epoch/train_loss"]] == pytest.approx(losses, rel=1e-6)
    assert {"epoch/seconds", "epoch/seconds_data", "epoch/seconds_compute", "epoch/learning_rate"} < set(found)
    assert [step for step, _ in found["step/loss"]] == [3, 6]
    assert found["step/learning_rate"][0][1] == pytest.approx(0.1 * (1 + np.cos(np.pi * 2 / 8)) / 2)
    (settings,) = (tmp_path / "run" / "tracking").rglob("hparams.yml")
    assert "train.epochs: 2" in settings.read_text()
    assert not accelerate.Accelerator().trackers


def test_without_trackers_nothing_is_written(tmp_path: Path) -> None:
    trained(Tracking((), tmp_path / "tracking", SETTINGS))
    assert list(tmp_path.iterdir()) == []


# Weights & Biases


class Wandb(ModuleType):
    """What Accelerate uses of it, as it is without the package."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.runs: list[dict[str, Any]] = []
        self.fails, self.fails_at = False, -1
        self.config = SimpleNamespace(update=lambda values, **more: self.runs[-1].update(config=values))

    def init(self, **given: Any) -> Any:
        if self.fails:
            raise RuntimeError("No API key configured.\nUse wandb login.")
        run: dict[str, Any] = {"given": given, "logged": [], "finished": 0}
        self.runs.append(run)

        def finish() -> None:
            run["finished"] += 1

        def log(values: dict[str, float], step: int, **more: Any) -> None:
            if step == self.fails_at:
                raise ConnectionError("gone")
            run["logged"].append((step, values))

        return SimpleNamespace(id=given.get("id", f"run-{len(self.runs)}"), log=log, finish=finish)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    found = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", found)
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: [LoggerType.WANDB])
    return found


def test_a_tracked_run_that_is_resumed_goes_on_in_its_place(tmp_path: Path, wandb: Wandb) -> None:
    folder = tmp_path / "first" / "tracking"
    for _ in range(2):
        trained(Tracking(("wandb",), folder, SETTINGS, every=4))
    first, second = wandb.runs
    assert first["given"] == {"project": "cotag", "dir": str(folder), "name": "first"}
    assert second["given"] == {**first["given"], "id": "run-1", "resume": "allow"}
    assert first["config"] == {"train.epochs": 2, "train.freeze": '["stem"]', "model.head": "linear"}
    assert [step for step, _ in first["logged"]] == [0, 4, 4, 8, 8]
    assert first["finished"] == second["finished"] == 1
    assert json.loads((folder / "ids.json").read_text()) == {"wandb": "run-1"}


def test_a_training_that_fails_ends_its_trackers(tmp_path: Path, wandb: Wandb) -> None:
    with pytest.raises(NonFiniteLoss):
        trained(Tracking(("wandb",), tmp_path), rate=float("inf"))
    assert wandb.runs[0]["finished"] == 1


def test_a_tracker_that_does_not_start_is_one_line(tmp_path: Path, wandb: Wandb) -> None:
    wandb.fails = True
    with pytest.raises(TrainingError) as caught:
        trained(Tracking(("wandb",), tmp_path))
    assert str(caught.value) == (
        "train.trackers = [wandb]: did not start (No API key configured.); leave it out, or see to its settings, such "
        "as MLFLOW_TRACKING_URI or WANDB_MODE=offline"
    )


def test_a_tracker_that_fails_later_leaves_the_training_alone(tmp_path: Path, wandb: Wandb) -> None:
    wandb.fails_at = 4
    with pytest.warns(CotagWarning, match=r"train.trackers: fell silent at step 4 \(gone\); training goes on") as told:
        history = trained(Tracking(("wandb",), tmp_path))
    assert len(told) == 1
    assert len(history) == 3
    assert [step for step, _ in wandb.runs[0]["logged"]] == [0]
    assert wandb.runs[0]["finished"] == 1


# MLflow


def test_mlflow_keeps_one_run_over_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    for _ in range(2):
        trained(Tracking(("mlflow",), tmp_path / "first" / "tracking", SETTINGS))
    ids = json.loads((tmp_path / "first" / "tracking" / "ids.json").read_text())
    run = mlflow.get_run(ids["mlflow"])
    assert run.info.run_name == "first"
    assert run.data.params["train.epochs"] == "2"
    assert run.data.metrics["epoch/val_loss"] == 0.125


# What is not there


def test_a_package_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, command in (("tensorboard", r"pip install 'cotag\[track\]'"), ("wandb", "pip install wandb")):
        with pytest.raises(MissingExtra, match=rf"train.trackers = \[{name}\]: is not installed; run {command}$"):
            Tracking((name,))
