"""The experiments: the same numbers as their parts, on the images that were never seen, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cotag.data.read import read
from cotag.errors import DataError, LabelSpaceError, SettingError
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.retrieval import nearest, relevance
from cotag.inference.retrieval import FEATURES, tagger_spaces
from cotag.models.bundle import load_tagger
from cotag.run.reproduce.classifiers import classifiers
from cotag.run.reproduce.comparison import comparison
from cotag.run.reproduce.mlgcn_coco import mlgcn_coco
from cotag.run.reproduce.retrieval import CHANCE, PLAIN, retrieval
from cotag.run.train import train
from cotag.types.progress import Silent
from cotag.types.scores import Scores


@pytest.fixture(scope="module")
def tuned(pictures: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose backbone was trained."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    settings = ["train.mode=end_to_end", "train.epochs=1", "train.optimizer=sgd", "train.weight_decay=0"]
    train(str(pictures), "quick", out, [*tiny, *settings, "train.batch_size=16"], progress=Silent())
    return out


def values(found: object, measure: str) -> dict[str, float]:
    """space -> value of one measure."""
    rows = found.sections[2].rows  # type: ignore[attr-defined]
    return {row[0]: row[2] for row in rows if row[1] == measure}


@pytest.mark.parametrize("gallery", ["queries", "others", "all"])
def test_numbers_are_those_of_the_parts(gallery: str, trained: Path, pictures: Path) -> None:
    found = retrieval(str(pictures), [str(trained)], gallery=gallery, k=[3], progress=Silent())
    index = read(str(pictures))
    queries = index.rows_of("test")
    searched = {"queries": queries, "others": index.rows_of("train"), "all": np.arange(60)}[gallery]
    _, spaces, _ = tagger_spaces(load_tagger(trained / "model")[0], index, np.arange(60), Silent())
    own = np.array([np.flatnonzero(searched == row)[0] if row in searched else -1 for row in queries])
    rows, _ = nearest(spaces[FEATURES][queries], spaces[FEATURES][searched], 3, own_Q=own)
    expected = relevance(rows, index.targets(queries), index.targets(searched), own).at(3)
    assert values(found, "mAP@3")[PLAIN] == pytest.approx(float(np.nanmean(expected["mAP"])))
    assert values(found, "jaccard@3")[PLAIN] == pytest.approx(float(np.nanmean(expected["jaccard"])))
    assert list(values(found, "mAP@3")) == [PLAIN, "features the classifiers see", "label scores", CHANCE]
    text = found.sections[0].text
    assert f"({gallery}): {len(searched)} images" in text
    assert ("40 of them trained the model" in text) == (gallery != "queries")
    assert "The plain backbone is the model's" in text
    assert found.sections[1].pictures


def test_a_trained_backbone_stands_beside_the_one_that_it_was(tuned: Path, pictures: Path) -> None:
    found = retrieval(str(pictures), [str(tuned)], k=[3], progress=Silent())
    assert list(values(found, "mAP@3"))[:2] == [PLAIN, FEATURES]
    assert "test_resnet with random weights" in found.sections[0].text


def test_a_model_without_its_run_needs_the_plain_weights(tuned: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned / "model", tmp_path / "model")
    with pytest.raises(SettingError, match="does not say what its backbone was before training"):
        retrieval(str(pictures), [str(tmp_path / "model")], progress=Silent())
    found = retrieval(str(pictures), [str(tmp_path / "model")], k=[1], weights="none", progress=Silent())
    assert "split test, 20 images" in found.sections[0].text


def test_images_that_cannot_be_read_are_left_out_where_the_run_did(
    draw: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    data = draw(tmp_path / "photos")
    run = tmp_path / "run"
    train(str(data), "quick", run, [*tiny, "data.bad_images=skip"], progress=Silent())
    (data.parent / "p02.png").write_bytes(b"no picture")
    found = retrieval(str(data), [str(run)], k=[1], progress=Silent())
    assert "(queries): 19 images" in found.sections[0].text


def test_what_cannot_be_searched_is_refused(trained: Path, pictures: Path) -> None:
    for settings, message in (
        ({"gallery": "other"}, r"'other' is not known; did you mean others\?"),
        ({"metric": "l2"}, "'l2' is not known"),
        ({"k": [20]}, "k = 20: must be 1 to 19"),
        ({"split": "all", "gallery": "others"}, "every image is a query"),
    ):
        with pytest.raises(SettingError, match=message):
            retrieval(str(pictures), [str(trained)], **settings, progress=Silent())  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="2 models are given"):
        retrieval(str(pictures), ["a", "b"], progress=Silent())


def test_classifiers_are_the_weights_of_linear_heads(
    trained: Path, tuned: Path, pictures: Path, tiny: list[str], draw: Callable[..., Path], tmp_path: Path
) -> None:
    found = classifiers([str(trained), str(tuned)], progress=Silent())
    assert [section.title for section in found.sections][1:] == [f"Classifiers of {run}" for run in (trained, tuned)]
    out = tmp_path / "query"
    head = ["model.head=query", "model.head_args={}", "train.optimizer=adamw", "train.weight_decay=0"]
    train(str(pictures), "quick", out, [*tiny, *head, "train.epochs=1"], progress=Silent())
    with pytest.raises(SettingError, match="head query has no one vector for each label"):
        classifiers([str(out)], progress=Silent())


def test_classifiers_of_other_labels_are_not_laid_side_by_side(
    trained: Path, table: Callable[..., Path], draw: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    data = draw(tmp_path / "photos", 30)
    table(data, [[f"p{n:02}.png", "cat" if n % 2 else "dog"] for n in range(30)])
    train(str(data), "quick", tmp_path / "run", tiny, progress=Silent())
    with pytest.raises(LabelSpaceError, match="only in the first"):
        classifiers([str(trained), str(tmp_path / "run")], progress=Silent())


def test_comparison_shows_what_evaluate_finds_and_says_what_it_is_of(trained: Path) -> None:
    found = comparison([str(trained)], progress=Silent())
    scores = Scores.load(trained / "scores" / "test.parquet")
    every, top, relative = found.sections
    expected = evaluate(scores, protocol="mlgcn").metrics["mAP"]
    assert expected is not None
    assert every.rows[-1][:2] == [str(trained), pytest.approx(100 * expected)]
    top_3 = evaluate(scores, protocol="mlgcn-top3").metrics["OF1@3"]
    assert top_3 is not None
    assert top.rows[-1][6] == pytest.approx(100 * top_3)
    assert relative.rows[0][-1] == pytest.approx(100 * (100 * expected - 83.0) / 83.0)
    assert "is not of COCO 2014" in every.text
    of_file = comparison([str(trained / "scores" / "test.parquet")], progress=Silent())
    assert of_file.sections[0].rows[-1][1:] == every.rows[-1][1:]


def test_comparison_needs_scores(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "model")
    with pytest.raises(DataError, match="holds no scores of a run"):
        comparison([str(tmp_path / "model")], progress=Silent())


def test_the_full_version_says_what_to_download_and_runs_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"train2014\.zip.*glove\.6B\.zip.*--small"):
        mlgcn_coco(progress=Silent())
    with pytest.raises(DataError, match=r"glove\.6B\.300d\.txt: there is no such file.*--small"):
        mlgcn_coco(str(pictures), progress=Silent())
    (tmp_path / "glove.6B.300d.txt").write_text("red 0.1\n", "utf-8")
    with pytest.raises(
        DataError, match=r"is not the whole of COCO 2014 \(train 40, test 20; .*train2014\.zip.*--small"
    ):
        mlgcn_coco(str(pictures), progress=Silent())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["glove.6B.300d.txt"]


def test_the_small_version_trains_both_and_compares_them(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    found = mlgcn_coco(str(pictures), settings=[*tiny, "train.epochs=2"], runs=str(runs), small=True, progress=Silent())
    assert sorted(path.name for path in runs.iterdir()) == ["ML-GCN", "maximum-pooling"]
    assert found.sections[0].title == "Comparison"
    assert [row[0] for row in found.sections[0].rows] == ["maximum pooling", "ML-GCN"]
    assert [row[0] for row in found.sections[1].rows][-2:] == ["maximum pooling, own", "ML-GCN, own"]
