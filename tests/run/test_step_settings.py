from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cotag.data.table import read_table
from cotag.errors import SettingError
from cotag.models.recompute import recomputing
from cotag.recipe import Recipe
from cotag.run import fitting
from cotag.run.checks import check_recipe
from cotag.run.train import train

GIVEN = ["train.accumulate=2", "train.precision=bf16", "train.compile=true", "train.recompute=true"]


@pytest.mark.parametrize(
    "setting", [*GIVEN, "train.trackers=[tensorboard]", "train.parallel=fsdp", "train.sync_batch_norm=true"]
)
def test_a_head_on_features_refuses_what_is_for_pictures(setting: str) -> None:
    name = setting.split("=")[0]
    with pytest.raises(SettingError, match=rf"^{name}: train.mode = features does not use it; leave it out, or choose"):
        check_recipe(Recipe.load("quick", [setting]))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["train.parallel=fsdp", "train.ema=0.9"], "train.ema: train.parallel = fsdp does not use it"),
        (["train.parallel=fsdp", "train.l1=1e-4"], "train.l1: train.parallel = fsdp does not use it"),
        (["train.parallel=fsdp", "train.compile=true"], "train.compile: train.parallel = fsdp does not use it"),
        (["train.parallel=fsdp", "train.precision=fp16"], "train.precision = fp16: is not for train.parallel = fsdp"),
        (["train.sync_batch_norm=true"], "train.norm_statistics = frozen uses none of a batch"),
    ],
)
def test_what_several_processes_do_not_do(settings: list[str], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        check_recipe(Recipe.load("finetune", settings))


def test_a_run_takes_them_all(draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilation has tests of its own; here it is left out for its minute."""
    twice: list[str] = []
    monkeypatch.setattr(fitting, "recomputing", lambda backbone: twice.append(backbone.name) or recomputing(backbone))
    settings = [
        *("model.backbone=test_resnet", "model.weights=none", "data.image_size=32", "data.workers=0"),
        *("train.mode=end_to_end", "train.optimizer=sgd", "train.weight_decay=0", "train.epochs=2"),
        *("train.batch_size=4", "train.trackers=[tensorboard]", *GIVEN[:2], GIVEN[3]),
    ]
    index = read_table(draw(tmp_path / "pictures", 24))
    run = train(index, recipe=Recipe.load("quick", settings), out=tmp_path / "run")
    assert twice == ["test_resnet"]
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[1]["seconds"] >= rows[1]["seconds_compute"] > 0
    assert list((run.folder / "tracking" / "cotag").glob("events*"))
