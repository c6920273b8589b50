"""Final runs: training and validation images together, for the epoch that validation chose."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cotag.data.read import read
from cotag.errors import CotagError, LabelSpaceError, ResumeError, SettingError
from cotag.evaluation.calibration import Calibration
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import evaluate
from cotag.models.settings import read_settings, write_calibration
from cotag.recipe import Recipe
from cotag.run.final import chosen_epoch
from cotag.run.fitting import fit_end_to_end
from cotag.run.folder import RunFolder
from cotag.run.judge import score_model
from cotag.run.train import train
from cotag.training.checkpoint import Checkpoints
from cotag.types.progress import Silent
from cotag.types.scores import Scores

EPOCHS, CHOSEN = 4, 2
SETTINGS = [
    *(f"train.epochs={EPOCHS}", "train.batch_size=16", "train.warmup_epochs=1", "data.augment=[flip]"),
    *("train.ema=0.9", "model.head_args.dropout=0.2", "train.patience=3"),
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


def weights(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(path)
    return found


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(path.open(newline="")))[1:]


@pytest.fixture(scope="module")
def tables(draw: Callable[..., Path], table: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``split.csv``, and ``united.csv``: its validation images train, and six others choose."""
    drawn = draw(tmp_path_factory.mktemp("pictures"), count=60)
    rows = [[row[0], row[1], "val" if n % 5 == 0 else row[2]] for n, row in enumerate(rows_of(drawn))]
    table(drawn.parent / "split.csv", rows[:54])
    united = [[row[0], row[1], "train" if row[2] == "val" else row[2]] for row in rows[:54]]
    table(drawn.parent / "united.csv", united + [[row[0], row[1], "val"] for row in rows[54:]])
    return drawn.parent


@contextmanager
def validation_says(*values: float) -> Iterator[None]:
    """Epoch 0 and those after it have these mAP, whatever they are."""
    said = iter(values)
    scripted = functools.partial(fit_end_to_end, judge=lambda *scores: {"val_mAP": next(said), "val_loss": 0.5})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cotag.run.fitting.fit_end_to_end", scripted)
        yield


@pytest.fixture(scope="module")
def first(tables: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose validation is made to choose epoch 2, with a fitted decision and calibration."""
    out = tmp_path_factory.mktemp("first") / "run"
    with validation_says(0.1, 0.2, 0.9, 0.4, 0.9):
        train(tables / "split.csv", "scenes-tiny", out, [*tiny, *SETTINGS])
    space = Scores.load(out / "scores" / "choose.parquet").label_space
    calibration = Calibration(space, "platt", np.array([1.5, 0.5, 2.0]), np.array([0.1, -0.2, 0.3]))
    fitted = {"objective": "CF1", "calibration": calibration.name}
    decision = Decision(logit_thresholds=(0.1, -0.3, 0.2), label_space=space, fitted=fitted)
    write_calibration(out / "model", calibration, decision.to_json())
    return out


@pytest.fixture(scope="module")
def done(first: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The final run of ``first``, and what it said."""
    said = Said()
    return train(final=first, out=tmp_path_factory.mktemp("done") / "final", progress=said).folder, said.lines


def stop_after(epoch: int, patch: pytest.MonkeyPatch) -> None:
    """Interrupt training once the checkpoint of an epoch is written."""
    save = Checkpoints.save_last

    def until(self: Checkpoints, model: object, optimizer: object, state: object, *average: object) -> None:
        save(self, model, optimizer, state, *average)  # type: ignore[arg-type]
        if state.epoch == epoch:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    patch.setattr(Checkpoints, "save_last", until)


def test_it_is_what_training_on_both_is_after_the_chosen_epoch(
    done: tuple[Path, list[str]], tables: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run on the same images with the same settings, whose schedule is that of all epochs."""
    stop_after(CHOSEN, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(tables / "united.csv", "scenes-tiny", tmp_path / "united", [*tiny, *SETTINGS])
    for name in ("model.safetensors", "average.safetensors"):
        assert same(tmp_path / "united" / "checkpoints" / "last" / name, done[0] / "checkpoints" / "last" / name)
    average = weights(tmp_path / "united" / "checkpoints" / "last" / "average.safetensors")
    kept = weights(done[0] / "model" / "weights.safetensors")
    assert all(np.array_equal(average[key], kept[key]) for key in kept)


def test_nothing_is_said_of_images_that_chose(done: tuple[Path, list[str]], first: Path, tables: Path) -> None:
    folder, said = done
    assert {path.name for path in (folder / "scores").iterdir()} == {"test.parquet"}
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == [1, 2]
    assert not any(key.startswith("val_") for row in history for key in row)
    assert "val_mAP" not in (folder / "report.html").read_text()
    roles = [row["role"] for row in csv.DictReader((folder / "splits.csv").open(newline=""))]
    splits = [row[2] for row in rows_of(tables / "split.csv")]
    assert roles == [{"train": "train", "val": "train", "test": "test"}[split] for split in splits]
    told = f"final run of {first}: the images that chose train too, for 2 of 4 epochs, as they chose"
    assert [line for line in said if line.startswith(told)]
    assert "there is no validation score" in (folder / "report.html").read_text()
    assert "kept epoch 2" in said
    assert not any("best" in line or "val_" in line for line in said)
    assert Recipe.load(folder / "recipe.yaml") == Recipe.load(first / "recipe.yaml")


def test_decision_and_calibration_are_those_of_the_run(done: tuple[Path, list[str]], first: Path, tables: Path) -> None:
    folder, said = done
    about = [read_settings(run / "model") for run in (first, folder)]
    for key in ("decision", "calibration"):
        assert about[0][key] == about[1][key]
        assert about[0][key]
    assert any("decision and calibration are carried over from that run's model" in line for line in said)
    scores = Scores.load(folder / "scores" / "test.parquet")
    assert scores.origin["calibration"].startswith("platt:")
    result = json.loads((folder / "result.json").read_text())["test"]
    found = score_model(str(folder), str(tables / "split.csv"), {}, None, False, Silent())
    np.testing.assert_allclose(found.scores.scores_NK, scores.scores_NK, atol=1e-4)
    judged = evaluate(found.scores, found.decision, train_counts=found.training_counts).to_json()
    assert judged["metrics"]["CF1"] == pytest.approx(result["metrics"]["CF1"], abs=1e-4)
    trained = [row for row in rows_of(tables / "split.csv") if row[2] in ("train", "val")]
    assert found.training_counts is not None
    names = scores.label_space.names
    assert found.training_counts.tolist() == [sum(name in row[1].split("|") for row in trained) for name in names]


def test_one_that_was_interrupted_goes_on_bit_for_bit(
    done: tuple[Path, list[str]], first: Path, tables: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(final=first, out=tmp_path / "final")
    said = Said()
    train(tables / "split.csv", resume=tmp_path / "final", progress=said)
    assert "resumed after epoch 1 of 2" in said.lines
    assert same(done[0] / "model" / "weights.safetensors", tmp_path / "final" / "model" / "weights.safetensors")
    assert files(tmp_path / "final").keys() == files(done[0]).keys()
    assert read_settings(tmp_path / "final" / "model")["calibration"]


def test_samplers_and_losses_see_the_union(tables: Path, tiny: list[str], tmp_path: Path) -> None:
    """Their counts are those of all images that train now."""
    balance = ["balance.sampler=repeat_factor", "balance.sampler_args.threshold=0.9", "train.loss=class_balanced"]
    once = ["train.epochs=1", "train.batch_size=16", "train.warmup_epochs=0"]
    with validation_says(0.1, 0.2):
        first = train(tables / "split.csv", "scenes-tiny", tmp_path / "first", [*tiny, *once, *balance]).folder
    final = train(final=first, out=tmp_path / "final")
    united = [row for row in rows_of(tables / "split.csv") if row[2] != "test"]
    (section,) = [section for section in final.sections if section.title == "Balance"]
    assert f" {len(united)} images become " in section.text


# Features


@pytest.mark.parametrize("optimizer", ["lbfgs", "adamw"])
def test_a_head_on_features_is_fitted_once_more(optimizer: str, tables: Path, tiny: list[str], tmp_path: Path) -> None:
    settings = [*tiny, f"train.optimizer={optimizer}"]
    settings += ["train.epochs=3", "train.learning_rate=0.01"] if optimizer == "adamw" else []
    refitted = train(tables / "split.csv", "quick", tmp_path / "refitted", settings).folder
    once = train(tables / "split.csv", "quick", tmp_path / "once", [*settings, "train.refit=false"]).folder
    final = train(final=once, out=tmp_path / "final").folder
    places = [folder / "model" / "weights.safetensors" for folder in (refitted, once, final)]
    assert not same(places[0], places[1])
    assert same(places[0], places[2])
    assert {path.name for path in (final / "scores").iterdir()} == {"test.parquet"}
    assert "val_" not in (final / "metrics.jsonl").read_text()
    with pytest.raises(SettingError, match=r"nothing to do, its head was fitted once more .*train\.refit = true"):
        train(final=refitted, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


# What is refused


def copied(first: Path, to: Path) -> Path:
    return Path(shutil.copytree(first, to))


def test_runs_that_cannot_be_repeated(first: Path, done: tuple[Path, list[str]], tables: Path, tmp_path: Path) -> None:
    begun, early, index = (copied(first, tmp_path / name) for name in ("begun", "early", "index"))
    (begun / "result.json").unlink()
    history = [{**json.loads(line), "val_mAP": 0.5} for line in (first / "metrics.jsonl").read_text().splitlines()]
    (early / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    (index / "data.json").write_text(
        json.dumps({**json.loads((first / "data.json").read_text()), "source": "an Index"})
    )
    damaged = copied(first, tmp_path / "damaged")
    (damaged / "metrics.jsonl").write_text("{")
    cases: list[tuple[Path, type[CotagError], str]] = [
        (tmp_path / "nothing", ResumeError, "holds no run; give the folder"),
        (begun, ResumeError, r"begun: is not finished; finish it with cotag train DATA --resume .*begun, then"),
        (done[0], ResumeError, rf"is a final run itself; give the run that chose, {first}"),
        (early, SettingError, "validation chose the weights before the first epoch"),
        (index, SettingError, "was trained on an Index of Python; give the data"),
        (damaged, ResumeError, "metrics.jsonl: is damaged"),
    ]
    for run, kind, part in cases:
        with pytest.raises(kind, match=part) as caught:
            train(final=run, out=tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    train_from_index: Any = read(tables / "split.csv")
    assert train(train_from_index, final=index, out=tmp_path / "out").folder == tmp_path / "out"


def test_other_data_are_refused(first: Path, tables: Path, table: Callable[..., Path], tmp_path: Path) -> None:
    rows = rows_of(tables / "split.csv")
    fewer = table(tables / f"{tmp_path.name}-fewer.csv", rows[:-2])
    crimson = [[name, labels.replace("red", "crimson"), split] for name, labels, split in rows]
    other = table(tables / f"{tmp_path.name}-other.csv", crimson)
    with pytest.raises(ResumeError, match=r"the images changed .*\(2: .*\); give the data of that run$"):
        train(fewer, final=first, out=tmp_path / "out")
    with pytest.raises(LabelSpaceError, match=r"crimson.*; give the data of that run$") as caught:
        train(other, final=first, out=tmp_path / "out")
    assert "resume with" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_run_itself_is_not_replaced(first: Path, tmp_path: Path) -> None:
    run = copied(first, tmp_path / "run")
    before = files(run)
    for out in (run, tmp_path / "other" / ".." / "run"):
        with pytest.raises(SettingError, match="is the run itself"):
            train(final=run, out=out, force=True)
    assert files(run) == before


def test_settings_are_those_of_the_run(first: Path, tables: Path, tmp_path: Path) -> None:
    for more in ({"overrides": ["train.seed=1"]}, {"resume": tmp_path}):
        with pytest.raises(SettingError, match="--final takes the settings of the run as they are"):
            train(tables / "split.csv", final=first, out=tmp_path / "out", **more)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="there are no data to train on"):
        train()


@pytest.mark.parametrize(
    ("choose_by", "values", "epoch"), [("mAP", [0.1, 0.5, 0.5, 0.2], 1), ("loss", [0.9, 0.4, 0.2, 0.2], 2)]
)
def test_of_equal_epochs_the_first_was_chosen(choose_by: str, values: list[float], epoch: int, tmp_path: Path) -> None:
    rows = [{"epoch": n, "val_mAP": 0.5, "val_loss": 0.5, f"val_{choose_by}": value} for n, value in enumerate(values)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert chosen_epoch(RunFolder(tmp_path), choose_by) == epoch
