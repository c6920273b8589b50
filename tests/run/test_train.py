"""A run, top to bottom: what it leaves, what judges, what chooses, and that seeds decide."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cotag.data.read import read
from cotag.errors import CotagError, DataError, ImageError, OutputExists, SettingError, WeightsError
from cotag.evaluation.metrics import evaluate
from cotag.inference.predictor import load
from cotag.inference.scoring import score_index
from cotag.recipe import Recipe
from cotag.run.folder import RunFolder
from cotag.run.judge import score_model
from cotag.run.train import Run, train
from cotag.types.progress import Silent
from cotag.types.scores import Scores

ALWAYS = {
    *("recipe.yaml", "data.json", "splits.csv", "environment.json", "metrics.jsonl", "result.json", "report.html"),
    *("scores/choose.parquet", "scores/test.parquet", "model/settings.json", "model/weights.safetensors"),
}
CHECKPOINTS = {
    *("checkpoints/best/model.safetensors", "checkpoints/best/sha256sums"),
    *(
        f"checkpoints/{folder}/{name}"
        for folder in ("last", "before")
        for name in ("model.safetensors", "optimizer.pt", "state.json", "sha256sums")
    ),
}
ADAMW = ["train.optimizer=adamw", "train.epochs=3", "train.batch_size=16", "train.learning_rate=0.01"]
END_TO_END = ["train.epochs=2", "train.batch_size=16", "train.warmup_epochs=0"]
VIEWS = ["data.augment=[crop, flip]", "data.views=2"]
WAYS = {
    "lbfgs": ("quick", []),
    "lbfgs, one strength, a part chooses": ("quick", ["train.weight_decay=0.1", "train.folds=1"]),
    "adamw, strength chosen": ("quick", ADAMW),
    "adamw, gem": ("quick", [*ADAMW, "train.weight_decay=0.01", "model.head_args.pooling=gem"]),
    "lbfgs, views": ("quick", VIEWS),
    "adamw, views": ("quick", [*ADAMW, *VIEWS, "train.weight_decay=0.01"]),
    "end to end": ("scenes-tiny", END_TO_END),
}


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module")
def runs(
    pictures: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Run, list[str]]]:
    """A finished run of each way, and what it said; each is trained once."""
    made: dict[str, tuple[Run, list[str]]] = {}
    folder = tmp_path_factory.mktemp("ways")

    def run(way: str) -> tuple[Run, list[str]]:
        if way not in made:
            recipe, settings = WAYS[way]
            said = Said()
            out = folder / str(len(made))
            made[way] = train(pictures, recipe, out, [*tiny, *settings], progress=said), said.lines
        return made[way]

    return run


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(folder / "model" / "weights.safetensors")
    return found


def same_weights(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    assert set(one) == set(other)
    return all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("way", WAYS)
def test_the_folder_holds_what_it_says_and_nothing_else(way: str, runs: Callable[[str], tuple[Run, list[str]]]) -> None:
    run, _ = runs(way)
    assert files(run.folder) == ALWAYS | (CHECKPOINTS if way == "end to end" else set())
    place = RunFolder(run.folder)
    assert Recipe.load(place.recipe).train.mode == ("end_to_end" if way == "end to end" else "features")
    history = [json.loads(line) for line in place.history.read_text().splitlines()]
    key = "weight_decay" if way.startswith("lbfgs") else "epoch"
    assert all({key, "val_mAP", "val_loss"} <= set(row) for row in history)
    about = json.loads(place.environment.read_text())
    assert about["seed"] == 0
    assert about["parts"]["torch"]
    assert "Test" in place.report.read_text()


@pytest.mark.parametrize("way", WAYS)
def test_the_pictures_are_learned_and_the_result_is_that_of_the_saved_scores(
    way: str, pictures: Path, runs: Callable[[str], tuple[Run, list[str]]]
) -> None:
    run, _ = runs(way)
    place = RunFolder(run.folder)
    result = json.loads(place.result.read_text())
    scores = Scores.load(place.scores("test"))
    rows = [row for row in csv.DictReader(pictures.open(newline="")) if row["split"] == "train"]
    chose = (
        () if way != "end to end" else {r["id"] for r in csv.DictReader(place.splits.open()) if r["role"] != "train"}
    )
    trained = [row["labels"].split("|") for row in rows if row["image"] not in chose]
    counts = [sum(name in labels for labels in trained) for name in scores.label_space.names]
    assert evaluate(scores, train_counts=counts).to_json() == result["test"] == run.test.to_json()
    assert {label["group"] for label in result["test"]["labels"]} <= {"middle", "tail"}
    assert len(scores) == 20
    assert result["test"]["metrics"]["mAP"] > result["test"]["metrics"]["chance_mAP"] + 0.1
    found = score_model(str(run.folder), str(pictures), {}, None, False, Silent())
    again, decision = found.scores, found.decision
    assert (found.training_counts == counts).all()
    assert again.ids == scores.ids
    np.testing.assert_allclose(again.scores_NK, scores.scores_NK, atol=1e-4)
    for name, value in evaluate(again, decision, train_counts=counts).metrics.items():
        if value is None:
            assert result["test"]["metrics"][name] is None
            continue
        assert value == pytest.approx(result["test"]["metrics"][name], abs=1e-4)


def test_what_trains_chooses_and_judges_is_said_as_it_was_done(runs: Callable[[str], tuple[Run, list[str]]]) -> None:
    said = {way: runs(way)[1] for way in WAYS}
    folds = "trains and chooses: 40 images, in 5 stratified folds, seed 0"
    assert said["lbfgs"][:2] == [folds, "judges: split test, 20 images"]
    part = said["lbfgs, one strength, a part chooses"]
    assert part[0] == "trains: 33 images"
    assert part[1].startswith("chooses: 7 of the 40 training images")
    assert part[1].endswith("they train too once they have chosen")
    assert not said["end to end"][1].endswith("they train too once they have chosen")
    roles = list(csv.DictReader((runs("lbfgs")[0].folder / "splits.csv").open(newline="")))
    assert {role: sum(row["role"] == role for row in roles) for role in ("train", "choose", "test")} == {
        "train": 33,
        "choose": 7,
        "test": 20,
    }


@pytest.mark.parametrize("way", ["lbfgs", "adamw, strength chosen", "end to end"])
def test_the_images_that_judge_choose_nothing(
    way: str,
    pictures: Path,
    tiny: list[str],
    table: Callable[..., Path],
    tmp_path: Path,
    runs: Callable[[str], tuple[Run, list[str]]],
) -> None:
    rows = list(csv.reader(pictures.open(newline="")))[1:]
    test = [row for row in rows if row[2] == "test"]
    labels = [row[1] for row in test]
    moved = [[row[0], label, row[2]] for row, label in zip(test, labels[3:] + labels[:3], strict=True)]
    assert moved != test
    # Beside the pictures, so that the paths of the images stay what they were.
    other = table(pictures.parent / f"{tmp_path.name}.csv", [row for row in rows if row[2] != "test"] + moved)
    recipe, settings = WAYS[way]
    run, _ = runs(way)
    changed = train(read(other).subset(order(pictures, other)), recipe, tmp_path / "run", [*tiny, *settings])
    assert same_weights(run.folder, changed.folder)
    assert changed.test.metrics != run.test.metrics


def order(first: Path, second: Path) -> list[int]:
    """The rows of the second table in the order of the first."""
    place = {name: row for row, name in enumerate(read(second).ids)}
    return [place[name] for name in read(first).ids]


@pytest.mark.parametrize("settings", [[], ["train.folds=1"]], ids=["in folds", "on a part"])
def test_the_scores_that_choose_are_of_a_head_that_was_not_fitted_on_them(
    settings: list[str], pictures: Path, tiny: list[str], table: Callable[..., Path], tmp_path: Path
) -> None:
    """Labels by chance can be learned by heart and not be generalized."""
    random = np.random.default_rng(0)
    rows = [row[:2] for row in csv.reader(pictures.open(newline=""))][1:]
    noise = [[name, "|".join(label for label in "abcdef" if random.random() < 0.5)] for name, _ in rows]
    noisy = table(pictures.parent / f"{tmp_path.name}.csv", noise)
    run = train(noisy, "quick", tmp_path / "run", [*tiny, "train.weight_decay=0.0001", *settings])
    choose = Scores.load(run.folder / "scores" / "choose.parquet")
    assert evaluate(choose).metrics["mAP"] < 0.8
    index = read(noisy)
    fitted, _ = score_index(
        load(run.folder), index, np.array([index.ids.index(name) for name in choose.ids]), Silent(), workers=0
    )
    assert evaluate(fitted).metrics["mAP"] > 0.95


@pytest.mark.parametrize("settings", [ADAMW, ["train.folds=1"]], ids=["adamw", "lbfgs"])
def test_fitting_once_more_leaves_the_scores_that_chose(
    settings: list[str], pictures: Path, tiny: list[str], tmp_path: Path
) -> None:
    settings = [*tiny, *settings, "train.weight_decay=0.01"]
    runs = [train(pictures, "quick", tmp_path / f, [*settings, f"train.refit={f}"]).folder for f in ("true", "false")]
    refitted, first = (Scores.load(run / "scores" / "choose.parquet") for run in runs)
    assert np.array_equal(refitted.scores_NK, first.scores_NK)
    assert not same_weights(*runs)
    index = read(pictures)
    rows = np.array([index.ids.index(name) for name in first.ids])
    as_saved = [score_index(load(run), index, rows, Silent(), workers=0)[0].scores_NK for run in runs]
    np.testing.assert_allclose(as_saved[1], first.scores_NK, atol=1e-4)
    assert np.abs(as_saved[0] - first.scores_NK).max() > 1e-2


@pytest.mark.parametrize("way", ["lbfgs", "end to end"])
def test_a_seed_decides_everything(way: str, draw: Callable[..., Path], tiny: list[str], tmp_path: Path) -> None:
    data = draw(tmp_path / "pictures", splits=False)
    recipe, settings = WAYS[way]

    def run(name: str, seed: int) -> Path:
        return train(data, recipe, tmp_path / name, [*tiny, *settings, f"train.seed={seed}"]).folder

    first, again, other = run("first", 3), run("again", 3), run("other", 4)
    assert same_weights(first, again)
    assert (first / "splits.csv").read_text() == (again / "splits.csv").read_text()
    assert not same_weights(first, other)
    assert (first / "splits.csv").read_text() != (other / "splits.csv").read_text()


def test_a_second_run_computes_no_features(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    news = []
    for name in ("first", "second"):
        said = Said()
        train(pictures, "quick", tmp_path / name, [*tiny, "train.seed=11"], progress=said)
        news.append([line for line in said.lines if "through the backbone" in line])
    assert news == [
        ["features: 60 images through the backbone, 0 at hand"],
        ["features: 0 images through the backbone, 60 at hand"],
    ]


@pytest.mark.parametrize(
    ("settings", "augmented"),
    [(["train.refit=false"], 40), (["train.folds=1"], 40), (["train.folds=1", "train.refit=false"], 33)],
)
def test_the_images_that_train_at_some_time_have_views(
    settings: list[str],
    augmented: int,
    pictures: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    news = []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        said = Said()
        train(pictures, "quick", tmp_path / name, [*tiny, *VIEWS, *settings, f"train.seed={seed}"], progress=said)
        news.append([line for line in said.lines if line.startswith(("trains on", "features: "))])
    told = f"trains on {augmented} images and 2 augmented views of each; what chooses and judges is not augmented"
    total = 60 + 2 * augmented
    assert news[0][0].startswith(f"features: {total} images x ")
    assert news[0][1:] == [told, f"features: {total} images and augmented views through the backbone, 0 at hand"]
    assert news[1] == [told, f"features: 0 images and augmented views through the backbone, {total} at hand"]
    assert news[2][-1].endswith("through the backbone, 0 at hand")
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_runs_are_numbered_where_no_folder_is_given(
    pictures: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = [train(pictures, overrides=tiny).folder for _ in range(2)]
    assert made == [Path("runs/quick-1"), Path("runs/quick-2")]


def test_a_folder_that_holds_something_is_not_touched(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists, match="--force"):
        train(pictures, "quick", tmp_path, tiny)
    assert files(tmp_path) == {"notes.txt"}


def test_force_replaces_a_run_once_the_new_one_can_begin(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    train(pictures, "scenes-tiny", tmp_path, [*tiny, *END_TO_END])
    (tmp_path / "notes.txt").write_text("mine")
    before = files(tmp_path)
    for wrong in ("model.weights=missing.safetensors", "model.backbone=resnett", "train.loss=bca", "data.train=x"):
        with pytest.raises(CotagError):
            train(pictures, "quick", tmp_path, [*tiny, wrong], force=True)
    assert files(tmp_path) == before
    assert Recipe.load(tmp_path / "recipe.yaml").train.mode == "end_to_end"
    train(pictures, "quick", tmp_path, tiny, force=True)
    assert files(tmp_path) == ALWAYS | {"notes.txt"}


def test_images_that_cannot_be_read_stop_or_are_counted(
    draw: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    data = draw(tmp_path / "pictures")
    for name in ("p01.png", "p04.png", "p05.png"):
        (data.parent / name).write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"p0\d\.png \(row \d\): is no image .*data\.bad_images=skip"):
        train(data, "quick", tmp_path / "stopped", tiny)
    for way in ("lbfgs", "end to end"):
        recipe, settings = WAYS[way]
        run = train(data, recipe, tmp_path / way, [*tiny, *settings, "data.bad_images=skip"])
        result = json.loads((run.folder / "result.json").read_text())
        assert sorted(result["skipped"]) == ["1", "4", "5"]
        assert "p04.png (row 4)" in result["skipped"]["4"]
        assert len(Scores.load(run.folder / "scores" / "test.parquet")) == 19
        assert "3 images could not be read and were left out" in (run.folder / "report.html").read_text()


@pytest.mark.parametrize("way", ["lbfgs", "end to end"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_role_whose_images_cannot_be_read_is_named(
    way: str, split: str, draw: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    data = draw(tmp_path / "pictures")
    for name, _, part in list(csv.reader(data.open(newline="")))[1:]:
        if part == split:
            (data.parent / name).write_bytes(b"no picture" + name.encode())
    recipe, settings = WAYS[way]
    with pytest.raises(CotagError) as caught:
        train(data, recipe, tmp_path / "run", [*tiny, *settings, "data.bad_images=skip"])
    said = str(caught.value)
    assert "judge" in said if split == "test" else ("train" in said or "choose" in said)
    assert "\n" not in said


def test_a_role_without_labels_is_named(pictures: Path, tiny: list[str], table: Callable[..., Path]) -> None:
    rows = [row if row[2] == "train" else [row[0], "", row[2]] for row in csv.reader(pictures.open(newline=""))][1:]
    with pytest.raises(DataError, match="none of the 20 images that judge has a label"):
        train(table(pictures.parent / "unlabeled.csv", rows), "quick", None, tiny)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (["model.backbone=test_vit_relpos"], "does not take 48 x 48 pixels"),
        (["model.backbone=test_coatnet"], "does not take it"),
        (["model.head_args.num_labels=7"], "num_labels comes from the backbone and the data"),
        (["model.head_args.dropout=lots"], "dropout='lots'"),
        (["model.head_args.pooling=gem"], "choose adamw or sgd"),
        (["train.folds=100"], "100 folds"),
        (["train.optimizer=adamw", "train.optimizer_args.eps=lots"], "eps='lots'"),
        (["train.optimizer=adamw", "train.schedule_args.floor=lots"], "floor='lots'"),
        (["data.choose=0.99"], "leaves none"),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    settings: list[str], part: str, pictures: Path, tiny: list[str], tmp_path: Path
) -> None:
    with pytest.raises((SettingError, DataError)) as caught:
        train(pictures, "quick", tmp_path / "run", [*tiny, *settings])
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_list_their_keys(
    pictures: Path, tiny: list[str], tmp_path: Path, trained: Path
) -> None:
    path = trained / "model" / "weights.safetensors"
    with pytest.raises(WeightsError) as caught:
        train(pictures, "quick", tmp_path / "run", [*tiny, "model.backbone=test_efficientnet", f"model.weights={path}"])
    assert str(path) in str(caught.value)
    assert "missing: " in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_threshold_of_the_recipe_judges_and_is_kept(
    pictures: Path, tiny: list[str], tmp_path: Path, runs: Callable[[str], tuple[Run, list[str]]]
) -> None:
    run = train(pictures, "quick", tmp_path, [*tiny, "decide.threshold=0.9"])
    assert "probability >= 0.9" in run.test.protocol
    assert load(tmp_path).decision.threshold == 0.9
    usual = runs("lbfgs")[0].test.metrics
    assert run.test.metrics["mAP"] == usual["mAP"]
    assert run.test.metrics["OR"] < usual["OR"]


def test_a_split_of_its_own_chooses(
    pictures: Path, tiny: list[str], table: Callable[..., Path], tmp_path: Path
) -> None:
    rows = list(csv.reader(pictures.open(newline="")))[1:]
    data = table(
        pictures.parent / "three.csv", [[*row[:2], "val" if n % 4 == 0 else row[2]] for n, row in enumerate(rows)]
    )
    said = Said()
    run = train(data, "quick", tmp_path / "run", tiny, progress=said)
    assert said.lines[:3] == [
        "trains: 30 images",
        "chooses: split val, 15 images; they train too once they have chosen",
        "judges: split test, 15 images",
    ]
    assert len(Scores.load(run.folder / "scores" / "choose.parquet")) == 15
    with pytest.raises(SettingError, match=r"train\.folds = 3: a split of its own chooses"):
        train(data, "quick", tmp_path / "other", [*tiny, "train.folds=3"])
