"""Resuming: a run that was killed goes on as if it had not been."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cotag.errors import CotagError, LabelSpaceError, NonFiniteLoss, ResumeError, SettingError
from cotag.run.train import train
from cotag.storage import seal
from cotag.training.checkpoint import Checkpoints
from cotag.types.progress import Silent
from cotag.types.scores import Scores

EPOCHS = 10
# Dropout and a decoding process draw random numbers, whose state must go on too.
SETTINGS = [
    *("model.backbone=test_resnet", "data.image_size=48", "data.workers=1", "data.augment=[flip, crop]"),
    *("data.mix=cutmix", "data.mix_args.chance=0.5"),
    *(f"train.epochs={EPOCHS}", "train.batch_size=8", "model.head_args.dropout=0.3"),
]


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in another order would differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def state(folder: Path) -> dict[str, Any]:
    """How far the last checkpoint is, or the one before where a kill came just as they were exchanged."""
    for name in ("last", "before"):
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((folder / "checkpoints" / name / "state.json").read_text())
            return found
    raise FileNotFoundError(folder)


def kill_after_epoch(epoch: int, data: Path, out: Path, *more: str) -> int:
    """Train in another process and kill it soon after an epoch is done; the epoch that it had reached."""
    settings = [part for setting in (*SETTINGS, *more) for part in ("--set", setting)]
    command = ["train", str(data), "--recipe", "scenes-tiny", "--out", str(out), *settings]
    code = "import sys; from cotag.cli.main import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None:
            try:
                found = state(out)
            except (OSError, ValueError):
                found = {"epoch": -1}
            if found["epoch"] >= epoch and found["unfinished"]["step"] > 1:
                break
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    return int(str(state(out)["epoch"]))


def assert_same(first: Path, second: Path) -> None:
    weights = [load_file(folder / "model" / "weights.safetensors") for folder in (first, second)]
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in {**weights[0], **weights[1]})
    for role in ("choose", "test"):
        scores = [Scores.load(folder / "scores" / f"{role}.parquet") for folder in (first, second)]
        assert scores[0].ids == scores[1].ids
        assert np.array_equal(scores[0].scores_NK, scores[1].scores_NK)
    histories = []
    for folder in (first, second):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        histories.append([{key: value for key, value in row.items() if not key.startswith("seconds")} for row in rows])
    assert histories[0] == histories[1]


def test_a_killed_run_goes_on_bit_for_bit(pictures: Path, tmp_path: Path) -> None:
    whole = train(pictures, "scenes-tiny", tmp_path / "whole", SETTINGS).folder
    killed = tmp_path / "killed"
    reached = kill_after_epoch(2, pictures, killed, "train.checkpoint_minutes=0.00001")
    assert 2 <= reached < EPOCHS
    assert not (killed / "result.json").exists()
    step = state(killed)["unfinished"]["step"]
    said = Said()
    train(pictures, resume=killed, progress=said)
    within = f" and {step} of 5 steps" if step else ""
    assert f"resumed after epoch {reached} of {EPOCHS}{within}" in said.lines
    assert_same(whole, killed)
    assert {path.relative_to(killed) for path in killed.rglob("*")} == {
        path.relative_to(whole) for path in whole.rglob("*")
    }


def until(process: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    while not done():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_sigterm_to_all_its_processes_within_an_epoch(pictures: Path, tmp_path: Path) -> None:
    """With pictures that cannot be read, and are met before it and behind it."""
    data = tmp_path / "data" / "labels.csv"
    shutil.copytree(pictures.parent, data.parent)
    for name in ("p00.png", "p01.png", "p03.png"):
        (data.parent / name).write_bytes(b"no picture")
    settings = [*SETTINGS, "data.bad_images=skip", "train.epochs=3", "train.batch_size=2"]
    whole = train(data, "scenes-tiny", tmp_path / "whole", settings).folder
    out = tmp_path / "cut"
    options = [part for setting in settings for part in ("--set", setting)]
    code = "import sys; from cotag.cli.main import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", str(data), "--recipe", "scenes-tiny", "--out", str(out), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(process, lambda: (out / "checkpoints" / "last").is_dir() and state(out)["epoch"] == 1)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.splitlines()[-2:] == [
        f"what was finished is kept; to go on give --resume {out}",
        "cotag: terminated; what was finished is kept",
    ]
    assert "Traceback" not in said
    reached = state(out)
    assert reached["epoch"] == 1
    assert reached["skipped"]
    train(data, resume=out)
    assert_same(whole, out)
    skipped = [json.loads((folder / "result.json").read_text())["skipped"] for folder in (whole, out)]
    assert skipped[0] == skipped[1]
    assert len(skipped[0]) == 3


def stopped(
    data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, error: BaseException, *settings: str
) -> list[str]:
    """Train until ``error`` is raised where the checkpoint of an epoch should be written; what was said."""
    save = Checkpoints.save_last

    def save_until(self: Checkpoints, model: object, optimizer: object, state: object, *average: object) -> None:
        if state.epoch == epoch:  # type: ignore[attr-defined]
            raise error
        save(self, model, optimizer, state, *average)  # type: ignore[arg-type]

    said = Said()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_last", save_until)
        with pytest.raises(type(error)):
            train(data, "scenes-tiny", out, [*SETTINGS, "data.workers=0", *settings], progress=said)
    return said.lines


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NonFiniteLoss("the loss became nan")], ids=["Ctrl-C", "error"])
def test_whoever_is_interrupted_is_told_how_to_go_on(
    error: BaseException, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stopped(pictures, tmp_path / "run", monkeypatch, 2, error)
    assert said[-1] == f"what was finished is kept; to go on give --resume {tmp_path / 'run'}"
    assert state(tmp_path / "run")["epoch"] == 1


def test_a_run_that_finished_no_epoch_begins_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*SETTINGS, "data.workers=0", "train.epochs=2"]
    whole = train(pictures, "scenes-tiny", tmp_path / "whole", settings).folder
    stopped(pictures, tmp_path / "run", monkeypatch, 0, KeyboardInterrupt(), "train.epochs=2")
    news = Said()
    train(pictures, resume=tmp_path / "run", progress=news)
    assert any("holds no checkpoint yet; begins at the first epoch" in line for line in news.lines)
    assert_same(whole, tmp_path / "run")


@pytest.mark.parametrize("recipe", ["scenes-tiny", "quick"])
def test_resuming_a_finished_run_changes_nothing(recipe: str, pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = [*tiny, "train.epochs=2"] if recipe == "scenes-tiny" else tiny
    train(pictures, recipe, out, settings)
    kept = ("recipe.yaml", "splits.csv", "data.json", "model/weights.safetensors", "model/settings.json")
    before = {name: (out / name).read_bytes() for name in kept}
    metrics = json.loads((out / "result.json").read_text())["test"]
    train(pictures, resume=out)
    assert {name: (out / name).read_bytes() for name in kept} == before
    assert json.loads((out / "result.json").read_text())["test"] == metrics


@pytest.fixture(scope="module")
def begun(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch of two; only to be read."""
    out = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stopped(pictures, out, patch, 1, KeyboardInterrupt(), "train.epochs=2")
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_does_not_fit_is_refused_and_changes_nothing(
    begun: Path, pictures: Path, table: Callable[..., Path], tmp_path: Path
) -> None:
    rows = list(csv.reader(pictures.open(newline="")))[1:]
    crimson = [[name, labels.replace("red", "crimson"), split] for name, labels, split in rows]
    before = contents(begun)
    cases: list[tuple[list[list[str]], type[CotagError], str]] = [
        (crimson, LabelSpaceError, "only in the second: crimson"),
        (rows[:-2], ResumeError, r"the images changed since the run began \(2: p58\.png, p59\.png\)"),
    ]
    for place, (changed, kind, part) in enumerate(cases):
        data = table(pictures.parent / f"changed{place}.csv", changed)
        with pytest.raises(kind, match=part):
            train(data, resume=begun)
    with pytest.raises(SettingError, match="--set"):
        train(pictures, resume=begun, overrides=["train.epochs=3"])
    assert contents(begun) == before


def test_the_hashes_of_another_label_space_are_named(begun: Path, pictures: Path, table: Callable[..., Path]) -> None:
    rows = [[name, labels.replace("red", ""), split] for name, labels, split in list(csv.reader(pictures.open()))[1:]]
    rows = [[name, "|".join(filter(None, labels.split("|"))), split] for name, labels, split in rows]
    mine = json.loads((begun / "data.json").read_text())["label_space"]["hash"]
    with pytest.raises(LabelSpaceError) as caught:
        train(table(pictures.parent / "fewer.csv", rows), resume=begun)
    assert mine in str(caught.value)
    assert str(begun) in str(caught.value)
    assert "--out" in str(caught.value)


def test_a_checkpoint_of_another_label_space_is_refused(begun: Path, pictures: Path, tmp_path: Path) -> None:
    for name, content in contents(begun).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "checkpoints" / "last" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "label_hash": "0" * 16}))
    seal(path.parent)
    with pytest.raises(LabelSpaceError, match="0000000000000000"):
        train(pictures, resume=tmp_path)


@pytest.mark.parametrize("there", [[], ["recipe.yaml"], ["data.json", "splits.csv"]], ids=["nothing", "recipe", "data"])
def test_a_folder_that_holds_no_run_is_refused(begun: Path, pictures: Path, tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).write_bytes((begun / name).read_bytes())
    with pytest.raises(ResumeError, match="holds no run that can be resumed; train without --resume"):
        train(pictures, resume=tmp_path)
    assert sorted(contents(tmp_path)) == there


def test_a_damaged_checkpoint_is_refused(begun: Path, pictures: Path, tmp_path: Path) -> None:
    for damaged in ("model.safetensors", "optimizer.pt", "state.json"):
        for name, content in contents(begun).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content[: len(content) // 2] if name.endswith(f"last/{damaged}") else content)
        with pytest.raises(ResumeError, match=damaged) as caught:
            train(pictures, resume=tmp_path)
        assert "\n" not in str(caught.value)
