"""A whole run on PSG files that the drawn scenes write: stats, train, decide, the union, and the submission."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cotag as package
from cotag.data.psg import VAGUE
from cotag.types.scores import Scores

Command = Callable[..., Any]
COUNT, SIDE, SEED = 100, 64, 3
SMALL = (
    *("model.backbone=resnet10t", "model.weights=none", "data.image_size=64", "data.workers=0", "train.epochs=1"),
    *("train.batch_size=16", "train.learning_rate=1e-3", "train.warmup_epochs=0", "data.augment=[flip]"),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the PSG files of 100 scenes."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTAG_CACHE", str(tmp_path_factory.mktemp("cache")))
        package.read("scenes:psg", images=COUNT, size=SIDE, seed=SEED, out=str(folder))
    return folder / "psg"


@pytest.fixture(scope="module")
def run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run by the recipe psg-swin-b, made small; only to be read."""
    out = tmp_path_factory.mktemp("runs") / "psg"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTAG_CACHE", str(tmp_path_factory.mktemp("cache")))
        package.train(f"psg:{files}/psg_cls_basic.json", "psg-swin-b", out, SMALL)
    return out


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def submitted(text: str) -> list[list[int]]:
    return [[int(number) for number in line.split(" ")] for line in text.splitlines()]


def mean_recall(answers: list[list[int]], files: Path) -> float:
    """mR@3 with absent labels as 0, by plain loops over the file that holds the truth."""
    whole = read_json(files / "psg.json")
    names = whole["predicate_classes"]
    true = {record["image_id"]: {one[2] for one in record["relations"]} for record in whole["data"]}
    recalls = []
    for number, name in enumerate(names):
        if name in VAGUE:
            continue
        holding = [place for place, image in enumerate(whole["test_image_ids"]) if number in true[image]]
        hits = sum(number in answers[place] for place in holding)
        recalls.append(hits / max(1, len(holding)))
    assert len(recalls) == 50
    return sum(recalls) / 50


def submit(cotag: Command, run: Path, data: str, files: Path, *options: object) -> Any:
    return cotag("predict", run, data, "--format", "psg-submission", "--read", f"images={files.parent}", *options)


def test_from_the_files_to_the_submission(cotag: Command, files: Path, run: Path, tmp_path: Path) -> None:
    """The commands of docs/psg.md."""
    given = f"psg:{files}/psg_cls_basic.json"
    shown = cotag("stats", given, "--no-pixels")
    assert shown.code == 0, shown.err
    assert "repeating" in shown.out
    saved = read_json(run / "model" / "settings.json")["decision"]
    assert saved["k"] == 3
    assert set(saved["multipliers"].values()) == {1.0, 1.2}
    assert sorted(saved["excluded"]) == sorted(VAGUE)
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    choosing = copy / "scores" / "choose.parquet"
    options = ("--objective", "mR@3", "--rule", "group_multiplier", "--evaluated-only", "--folds", "3")
    fitted = json.loads(cotag("decide", choosing, *options, "--model", copy, "--json").out)
    assert read_json(copy / "model" / "settings.json")["decision"] == fitted["decision"]
    assert set(fitted["decision"]["excluded"]) == set(VAGUE)
    final = cotag("train", given, "--final", copy, "--out", tmp_path / "final")
    assert final.code == 0, final.err
    assert read_json(tmp_path / "final" / "model" / "settings.json")["decision"] == fitted["decision"]
    out = tmp_path / "submission.txt"
    told = cotag("predict", tmp_path / "final", given, "--format", "psg-submission", "--out", out)
    assert (told.code, told.out) == (0, ""), told.err
    answers = submitted(out.read_text())
    asked = read_json(files / "psg_cls_basic.json")
    assert len(answers) == len(asked["test_image_ids"])
    judged = json.loads(
        cotag(
            *("evaluate", tmp_path / "final", f"psg:{files}/psg.json", "--split", "test", "--protocol", "psg"),
            *("--no-intervals", "--json"),
        ).out
    )
    assert judged["metrics"]["mR@3"] == pytest.approx(mean_recall(answers, files))
    assert len(judged["labels"]) == 50


def test_the_lines_are_those_of_the_decision_in_the_order_of_the_test_ids(
    cotag: Command, files: Path, run: Path, tmp_path: Path
) -> None:
    """In another file, with predicates and test images in another order, by multipliers that tell images apart."""
    asked = read_json(files / "psg_cls_basic.json")
    random = np.random.default_rng(0)
    order = random.permutation(56)
    names = [asked["predicate_classes"][number] for number in order]
    asked["test_image_ids"] = [asked["test_image_ids"][n] for n in random.permutation(len(asked["test_image_ids"]))]
    for record in asked["data"]:
        record["relations"] = [int(np.flatnonzero(order == number)[0]) for number in record["relations"]]
    asked["predicate_classes"] = names
    place = tmp_path / "turned.json"
    place.write_text(json.dumps(asked))
    file_of = {record["image_id"]: files.parent / record["file_name"] for record in asked["data"]}
    found = [one.scores for one in package.load(run).predict([file_of[name] for name in asked["test_image_ids"]])]
    factors = {name: 1 / float(np.mean([scores[name] for scores in found])) for name in names}
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    about = read_json(copy / "model" / "settings.json")
    own = about["label_space"]
    multipliers = {name: factors[name] for name in own["names"]}
    about["decision"] = {
        "rule": "top_k", "k": 3, "label_space": own["hash"], "multipliers": multipliers, "excluded": list(VAGUE),
    }  # fmt: skip
    (copy / "model" / "settings.json").write_text(json.dumps(about))
    ran = submit(cotag, copy, f"psg:{place}", files, "--batch-size", "7")
    assert ran.code == 0, ran.err
    answers = submitted(ran.out)
    assert len({tuple(answer) for answer in answers}) > len(answers) / 2
    for scores, answer in zip(found, answers, strict=True):
        allowed = [name for name in names if name not in VAGUE]
        best = sorted(allowed, key=lambda name: -scores[name] * factors[name])[:3]
        assert [names[number] for number in answer] == best


# What cannot be submitted or judged


@pytest.fixture
def spoiled(files: Path, tmp_path: Path) -> Callable[..., str]:
    """Writes the file with changes beside the pictures; gives its place."""

    def write(**changes: Any) -> str:
        value = read_json(files / "psg_cls_basic.json") | changes
        place = tmp_path / "spoiled.json"
        place.write_text(json.dumps(value))
        return f"psg:{place}"

    return write


def test_a_predicate_that_is_spelled_otherwise(
    cotag: Command, files: Path, run: Path, spoiled: Callable[..., str]
) -> None:
    names = read_json(files / "psg_cls_basic.json")["predicate_classes"]
    names[names.index("kissing")] = "kising"
    error = submit(cotag, run, spoiled(predicate_classes=names), files).error
    assert "label 'kissing' of the model is not among the 56 predicate classes; did you mean kising?" in error


def test_test_images_that_are_missing_unknown_or_named_twice(
    cotag: Command, files: Path, run: Path, spoiled: Callable[..., str], tmp_path: Path
) -> None:
    asked = read_json(files / "psg_cls_basic.json")
    ids = asked["test_image_ids"]
    error = submit(cotag, run, spoiled(test_image_ids=[*ids, "777"]), files).error
    assert "image id 777 is in 'test_image_ids' and has no record in 'data'" in error
    error = submit(cotag, run, spoiled(test_image_ids=[*ids, ids[0]]), files).error
    assert f"image id {ids[0]} stands twice in 'test_image_ids'" in error
    error = submit(cotag, run, spoiled(test_image_ids=[]), files).error
    assert "'test_image_ids' is []; a submission answers these images" in error
    broken = [
        {**record, "file_name": "images/none.png"} if record["image_id"] == ids[1] else record
        for record in asked["data"]
    ]
    out = tmp_path / "submission.txt"
    error = submit(cotag, run, spoiled(data=broken), files, "--out", out).error
    assert "none.png" in error
    assert not out.exists()


def test_a_record_that_stands_twice_is_answered_once_and_noted(
    cotag: Command, files: Path, run: Path, spoiled: Callable[..., str]
) -> None:
    asked = read_json(files / "psg_cls_basic.json")
    again = next(record for record in asked["data"] if record["image_id"] == asked["test_image_ids"][0])
    data = spoiled(data=[*asked["data"], again])
    answers = submitted(submit(cotag, run, data, files).out)
    assert len(answers) == len(asked["test_image_ids"])
    index = package.read(data, images=files.parent)
    assert any("have several records; each is a row of its own" in note for note in index.notes)


def test_relations_that_are_withheld_are_not_judged(cotag: Command, files: Path, run: Path) -> None:
    error = cotag("evaluate", run, f"psg:{files}/psg_cls_basic.json", "--split", "test").error
    assert "judging on split test: all labels of these" in error
    assert "cotag predict" in error


def test_a_relation_outside_the_classes_is_named(cotag: Command, files: Path, spoiled: Callable[..., str]) -> None:
    asked = read_json(files / "psg_cls_basic.json")
    wrong = asked["data"][0] | {"relations": [56]}
    error = cotag("stats", spoiled(data=[wrong, *asked["data"][1:]]), "--no-pixels").error
    assert f"image id {wrong['image_id']}: relation 56 is not a predicate id; allowed: 0 to 55" in error


@pytest.mark.parametrize("rule", ["few or many", "vague", "five"])
def test_a_decision_that_does_not_name_three_is_refused_or_completed(
    cotag: Command, files: Path, run: Path, tmp_path: Path, rule: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    place = copy / "model" / "settings.json"
    about = read_json(place)
    names = about["label_space"]["names"]
    # That give some images many labels and others none; a vague one first; two too many.
    lifted = {"label_space": about["label_space"]["hash"], "multipliers": {n: 1e9 if n == "on" else 1.0 for n in names}}
    decision: dict[str, Any] = {
        "few or many": {"rule": "threshold", "threshold": 0.2},
        "vague": {"rule": "top_k", "k": 3, **lifted},
        "five": {"rule": "top_k", "k": 5},
    }[rule]
    place.write_text(json.dumps(about | {"decision": decision}))
    given = f"psg:{files}/psg_cls_basic.json"
    error = submit(cotag, copy, given, files).error
    assert "a line needs exactly 3 that are evaluated" in error
    assert ("among them 'on', which is not evaluated" in error) == (rule == "vague")
    assert "--complete" in error
    answers = submitted(submit(cotag, copy, given, files, "--complete").out)
    asked = read_json(files / "psg_cls_basic.json")
    file_of = {record["image_id"]: files.parent / record["file_name"] for record in asked["data"]}
    predictor = package.load(copy)
    for image, answer in zip(asked["test_image_ids"], answers, strict=True):
        scores = next(iter(predictor.predict([file_of[image]]))).scores
        best = sorted((name for name in names if name not in VAGUE), key=lambda name: -scores[name])[:3]
        assert [names[number] for number in answer] == best


def test_what_does_not_go_together(cotag: Command, files: Path, run: Path, tmp_path: Path) -> None:
    given = f"psg:{files}/psg_cls_basic.json"
    assert "answers one PSG file; given 2" in submit(cotag, run, given, files, given).error
    error = cotag("predict", run, "scenes:", "--format", "psg-submission").error
    assert "scenes:: a submission answers a PSG file" in error
    picture = next((files.parent / "images").iterdir())
    assert "--complete and --read are for --format psg-submission" in cotag("predict", run, picture, "--complete").error
    out = tmp_path / "mine.txt"
    out.write_text("mine")
    assert "exists already" in submit(cotag, run, given, files, "--out", out).error
    assert out.read_text() == "mine"


@pytest.mark.real
def test_the_sample_of_the_challenge_is_read(shared_data: Path) -> None:
    index = package.read(f"psg:{shared_data}/psg/psg_cls_basic_sample.json", missing="keep")
    assert len(index.label_space) == 56
    assert index.label_space.evaluated.sum() == 50
    assert index.label_space.names[44] == "slicing"
    assert len(index) == 164
    assert index.counts().sum() > 0


def test_scores_that_were_saved_are_judged_by_the_protocol(cotag: Command, run: Path) -> None:
    scores = Scores.load(run / "scores" / "test.parquet")
    found = json.loads(
        cotag(
            *("evaluate", run / "scores" / "test.parquet", "--decision", run, "--protocol", "psg"),
            *("--no-intervals", "--json"),
        ).out
    )
    decision = package.load(run).decision
    kept = scores.label_space.evaluated
    given, true = decision.apply(scores)[:, kept], scores.targets_NK[:, kept] == 1
    recalls = (given & true).sum(0) / np.maximum(true.sum(0), 1)
    assert found["metrics"]["mR@3"] == pytest.approx(recalls.mean())
