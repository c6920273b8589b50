from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cotag.errors import ResumeError, SettingError, StorageError, TrainingError
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.repeated import compare_repeated
from cotag.run.folder import RunFolder
from cotag.run.sweep import fitting
from cotag.run.sweep.folder import Record, SweepFolder
from cotag.run.sweep.sections import chosen_each_time
from cotag.run.sweep.sweep import Sweep, resume_sweep, sweep
from cotag.run.train import train
from cotag.types.scores import Scores

LOOP = ["train.optimizer=adamw", "train.weight_decay=0.01", "train.epochs=3", "train.batch_size=16"]


@pytest.fixture
def swept(pictures: Path, tiny: list[str], tmp_path: Path) -> Any:
    """Sweeps the pictures."""

    def run(*grid: str, settings: Sequence[str] = LOOP, seeds: int = 2, **options: Any) -> Sweep:
        out = options.pop("out", tmp_path / "sweep")
        return sweep(pictures, "quick", grid, seeds, out=out, overrides=[*tiny, *settings], **options)

    return run


def records(found: Sweep) -> list[Record]:
    return [Record(**json.loads(path.read_text())) for path in sorted((found.folder / "trials").glob("*.json"))]


def scores(found: Sweep) -> dict[tuple[str, int], Scores]:
    loaded = [Scores.load(path) for path in (found.folder / "trials").glob("*.parquet")]
    return {(one.origin["setting"], one.origin["seed"]): one for one in loaded}


@pytest.mark.parametrize(
    ("settings", "setting", "together"),
    [
        ([*LOOP, "model.head=gcn", "model.head_args.widths=[9]"], "graph.tau=0.1", True),
        ([*LOOP, "model.head=linear"], "train.learning_rate=0.05", True),
        ([*LOOP, "model.head=linear", "model.head_args.dropout=0.2"], "train.learning_rate=0.05", False),
        ([], "model.head_args.pooling=max", False),
        (["train.folds=1", "data.mean=data", "data.std=data"], "model.head_args.pooling=max", False),
        (["data.augment=[crop]", "data.views=1"], "data.views=2", False),
        ([*LOOP, "data.augment=[crop, flip]", "data.views=2"], "train.learning_rate=0.05", True),
    ],
)
def test_a_trial_is_what_training_alone_gives(
    swept: Any, pictures: Path, tiny: list[str], tmp_path: Path, settings: list[str], setting: str, together: bool
) -> None:
    found = swept(setting, settings=settings)
    assert [record.together > 1 for record in records(found)] == [together] * 4
    own = scores(found)
    key, _, value = setting.partition("=")
    name = f"{key.rpartition('.')[2]}={value}"
    for changed, seed in (("recipe", 0), (name, 1)):
        overrides = [*tiny, *settings, f"train.seed={seed}", *([setting] if changed == name else [])]
        alone = train(pictures, "quick", tmp_path / f"{changed}-{seed}", overrides)
        expected = Scores.load(RunFolder(alone.folder).scores("test"))
        assert own[changed, seed].ids == expected.ids
        np.testing.assert_allclose(own[changed, seed].scores_NK, expected.scores_NK, atol=1e-4)


def test_the_table(swept: Any) -> None:
    found = swept("train.learning_rate=0.1,0.3", "head=linear,gcn", seeds=3)
    assert [row.setting for row in found.rows] == [
        "recipe", *(f"learning_rate={rate}, head={head}" for rate in (0.1, 0.3) for head in ("linear", "gcn")),
    ]  # fmt: skip
    table = pq.read_table(found.folder / "table.parquet").to_pylist()
    assert table == [row.to_json() for row in found.rows]
    assert json.loads((found.folder / "result.json").read_text())["settings"] == table
    for row, line in zip(found.rows[1:], table[1:], strict=True):
        assert line["test"] == pytest.approx(np.mean(row.values))
        assert line["difference"] == pytest.approx(np.mean(np.subtract(row.values, found.rows[0].values)))
        assert line["low"] < line["difference"] < line["high"]
    assert table[0]["verdict"] == "baseline"
    page = found.report.read_text("utf-8")
    assert "learning_rate=0.3, head=gcn" in page
    assert "by the seconds of fitting" in page


def test_one_that_fails_is_recorded_and_the_rest_goes_on(swept: Any) -> None:
    found = swept("train.learning_rate=0.1,1e30,-1", "head=linear,nothing", "train.loss=bce")
    assert [row.setting for row in found.rows if row.values] == ["recipe", "learning_rate=0.1, head=linear, loss=bce"]
    messages = {record.setting: record.message for record in found.failed}
    assert "must be greater than 0" in messages["learning_rate=-1, head=linear, loss=bce"]
    assert "head 'nothing' is not known" in messages["learning_rate=0.1, head=nothing, loss=bce"]
    assert "the loss became nan" in messages["learning_rate=1e30, head=linear, loss=bce"]
    assert [line["verdict"] for line in found.to_json()["settings"]][2:] == ["failed"] * 5
    assert found.sections[-1].title == "Failed"


def test_where_the_recipe_itself_fails_nothing_can_be_compared(swept: Any) -> None:
    with pytest.raises(TrainingError, match="the recipe itself failed with every seed: epoch 1: the loss became"):
        swept("train.learning_rate=0.1", settings=[*LOOP, "train.learning_rate=1e30"])


def test_a_sweep_that_was_stopped_goes_on_where_it_was(
    swept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ("train.learning_rate=0.1,0.3", "head=linear,gcn")
    whole = swept(*grid, out=tmp_path / "whole")
    for stop_after in (1, 5):
        out, kept = tmp_path / f"stopped-{stop_after}", SweepFolder.keep

        def keep(self: Any, *given: Any, kept: Any = kept, stop_after: int = stop_after) -> None:
            if len(list(self.trials.glob("*.json"))) == stop_after:
                # Scores without a record are of a trial that did not end.
                given[2]["test"].save(self.scores(given[0]))
                raise KeyboardInterrupt
            kept(self, *given)

        monkeypatch.setattr(SweepFolder, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            swept(*grid, out=out)
        monkeypatch.setattr(SweepFolder, "keep", kept)
        before = {path: path.stat().st_mtime_ns for path in (out / "trials").glob("*.json")}
        assert len(before) == stop_after
        found = resume_sweep(out)
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert_same(found, whole)
    again: list[int] = []
    monkeypatch.setattr(fitting.Trials, "fit", lambda self, trials: again.append(len(trials)))
    assert_same(resume_sweep(whole.folder), whole)
    assert again == [0]


def assert_same(found: Sweep, expected: Sweep) -> None:
    own, theirs = scores(found), scores(expected)
    assert set(own) == set(theirs)
    for key, one in own.items():
        np.testing.assert_allclose(one.scores_NK, theirs[key].scores_NK, atol=1e-5)
    assert [row.setting for row in found.rows] == [row.setting for row in expected.rows]
    assert [row.test for row in found.rows] == pytest.approx([row.test for row in expected.rows])


def test_what_cannot_be_resumed(swept: Any, tmp_path: Path, draw: Any) -> None:
    with pytest.raises(ResumeError, match="holds no sweep that can be resumed"):
        resume_sweep(tmp_path)
    found = swept("train.learning_rate=0.1")
    with pytest.raises(ResumeError, match="began with 60 images, now there are 30"):
        resume_sweep(found.folder, draw(tmp_path / "others", 30))


def test_all_seeds_are_judged_by_the_same_images(pictures: Path, draw: Any, tiny: list[str], tmp_path: Path) -> None:
    """Without splits, a training alone splits others off for each seed."""
    data = draw(tmp_path / "unsplit", splits=False)
    found = sweep(data, "quick", ["train.learning_rate=0.1"], 3, out=tmp_path / "out", overrides=[*tiny, *LOOP])
    assert len({tuple(one.ids) for one in scores(found).values()}) == 1


def test_whole_models_are_swept_one_after_another(swept: Any) -> None:
    settings = [*LOOP, "train.mode=end_to_end", "train.epochs=1"]
    found = swept("train.backbone_rate=0.1", settings=settings, seeds=1)
    assert [row.test is not None for row in found.rows] == [True, True]
    assert found.to_json()["settings"][1]["verdict"] == "cannot be told apart"
    assert found.to_json()["settings"][1]["low"] is None


def test_what_lies_there_is_overwritten_by_force_alone(swept: Any, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.txt").write_text("x")
    with pytest.raises(SettingError, match="seeds 0"):
        swept("train.learning_rate=0.1", seeds=0)
    with pytest.raises(Exception, match="exists already"):
        swept("train.learning_rate=0.1")
    first = swept("train.learning_rate=0.1", force=True)
    second = swept("train.learning_rate=0.3", force=True)
    assert len(records(first)) == len(records(second)) == 4
    assert (tmp_path / "sweep" / "mine.txt").is_file()
    shutil.rmtree(second.folder)


def test_a_full_disk_keeps_what_ended(swept: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save, count = Scores.save, []

    def full(self: Scores, path: Path) -> None:
        if len(count) == 4:
            raise StorageError(f"{path}: could not be written (No space left on device)")
        count.append(path)
        save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Scores, "save", full)
        with pytest.raises(StorageError, match="No space left"):
            swept("train.learning_rate=0.1,0.3")
    assert len(list((tmp_path / "sweep" / "trials").glob("*.json"))) == 2
    assert not resume_sweep(tmp_path / "sweep").failed


def test_what_is_chosen_by_luck_alone_shows_as_nothing(swept: Any) -> None:
    """Settings that are all the same but for a name: choosing among them is worth nothing."""
    found = swept("train.clip_norm=1e6,1e7,1e8", seeds=3)
    assert "That cannot be told apart from the recipe as it is (+0.0000" in found.sections[0].text


def test_a_metric_is_chosen_by_itself(swept: Any) -> None:
    found = swept("train.learning_rate=0.1", metric="macro_F1", settings=[*LOOP, "decide.threshold=0.3"])
    for row in found.rows:
        for name, numbers in (("choose/", row.chosen_values), ("", row.values)):
            files = [Scores.load(path) for path in (found.folder / "trials").glob(f"{name}*.parquet")]
            own = {one.origin["seed"]: one for one in files if one.origin["setting"] == row.setting}
            expected = [evaluate(own[seed], Decision(threshold=0.3)).metrics["macro_F1"] for seed in (0, 1)]
            assert list(numbers) == pytest.approx(expected)


def test_in_folds_every_image_judges_once(swept: Any) -> None:
    found = swept("train.learning_rate=0.1", "model.head_args.pooling=max", folds=3)
    for name in ("recipe", "learning_rate=0.1, pooling=max"):
        ids = [image for (setting, _), one in scores(found).items() if setting == name for image in one.ids]
        assert len(ids) == len(set(ids)) == 60
    best = {
        seed: max((record for record in records(found) if record.seed == seed), key=lambda record: record.chosen or 0)
        for seed in range(3)
    }
    values = {row.setting: row.values for row in found.rows}
    expected = np.mean([values[record.setting][seed] for seed, record in best.items()])
    assert chosen_each_time(found.rows) == pytest.approx(expected)
    assert f"gives {expected:.4f} on those that judge" in found.sections[0].text
    gain = expected - np.mean(values["recipe"])
    assert f"({gain:+.4f}, interval" in found.sections[0].text
    # The spread over folds weighs 1 / 3 + 1 / 2, so the interval is wider than that of 3 seeds would be.
    named = {name: {seed: one for (setting, seed), one in scores(found).items() if setting == name} for name in values}
    wide = found.comparison.differences[0].interval
    narrow = compare_repeated(named, "recipe").differences[0].interval
    assert wide[1] - wide[0] > narrow[1] - narrow[0]
