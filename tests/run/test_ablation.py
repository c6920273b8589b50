"""ML-GCN's ablation: what it varies, that its numbers are those of training alone, and that it goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.data.read import read
from cotag.data.splits import assign_roles
from cotag.errors import DataError, OutputExists, ResumeError, SettingError
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.published import benchmark
from cotag.labels.graph import build_graph
from cotag.recipe import Recipe
from cotag.run.folder import RunFolder
from cotag.run.reproduce.ablation_plan import ablation_plan, vector_sources
from cotag.run.reproduce.ablation_sections import published_sections
from cotag.run.reproduce.experiment import Experiment
from cotag.run.reproduce.mlgcn_ablation import ablation_recipe, mlgcn_ablation
from cotag.run.sweep.fitting import Trials
from cotag.run.sweep.plan import BASELINE
from cotag.run.train import train
from cotag.types.progress import Silent
from cotag.types.scores import Scores
from cotag.types.section import Section

SMALL = ["model.head_args={widths: [8], pooling: max}", "train.epochs=2", "train.batch_size=16"]
GRID = ["graph.kind=binary", "graph.tau=0.1", "graph.p=0.5,1", "depth=3"]


@pytest.fixture
def ablated(pictures: Path, tiny: list[str], tmp_path: Path) -> Callable[..., Experiment]:
    """Runs a small ablation of the pictures."""

    def run(grid: Sequence[str] = GRID, seeds: int = 2, settings: Sequence[str] = (), **given: Any) -> Experiment:
        given = {"runs": str(tmp_path / "runs"), "progress": Silent(), **given}
        return mlgcn_ablation(str(pictures), None, [*tiny, *SMALL, *settings], grid, seeds=seeds, **given)

    return run


def section(found: Experiment, title: str) -> Section:
    return next(one for one in found.sections if one.title == title)


def test_the_page_holds_what_training_alone_gives(
    ablated: Callable[..., Experiment], pictures: Path, tiny: list[str], tmp_path: Path
) -> None:
    found = ablated()
    titles = ["Graph", "Threshold tau", "Share p", "Label vectors", "Depth"]
    assert [one.title for one in found.sections] == [
        "Verdict", *(name for title in titles for name in (title, f"{title}: All and top 3")), "Not run", "Failed",
    ]  # fmt: skip
    alone = []
    for seed in (0, 1):
        recipe = ablation_recipe([*tiny, *SMALL, "graph.tau=0.1", f"train.seed={seed}"])
        train(str(pictures), recipe, tmp_path / f"alone-{seed}")
        alone.append(Scores.load(RunFolder(tmp_path / f"alone-{seed}").scores("test")))
    tau, rates = section(found, "Threshold tau"), section(found, "Threshold tau: All and top 3")
    assert [row[0] for row in tau.rows] == ["0.1", "0.4 (recipe)"]
    cells = dict(zip(tau.columns, tau.rows[0], strict=True)) | dict(zip(rates.columns, rates.rows[0], strict=True))
    for name in ("mAP", "CP", "OF1"):
        expected = np.mean([evaluate(one, protocol="mlgcn").metrics[name] for one in alone])  # type: ignore[arg-type]
        assert cells[name] == pytest.approx(expected, abs=1e-4)
    expected = np.mean([evaluate(one, protocol="mlgcn-top3").metrics["CF1@3"] for one in alone])  # type: ignore[arg-type]
    assert cells["CF1@3"] == pytest.approx(expected, abs=1e-4)
    index = read(str(pictures))
    graph = build_graph(index, assign_roles(index).train, tau=0.1)
    assert cells["edges"] == graph.edges().nnz > tau.rows[1][1]
    assert tau.figure is not None
    line, own = tau.figure["data"]
    assert line["x"] == [0.1, 0.4]
    base = own["y"][0]
    assert line["y"] == [pytest.approx(cells["mAP"]), base]
    assert base + cells["low"] == pytest.approx(line["y"][0] - line["error_y"]["arrayminus"][0])
    assert base + cells["high"] == pytest.approx(line["y"][0] + line["error_y"]["array"][0])


def test_what_cannot_be_is_listed_and_the_rest_goes_on(ablated: Callable[..., Experiment]) -> None:
    found = ablated(seeds=1)
    share = section(found, "Share p")
    assert [(row[0], row[1] is None) for row in share.rows] == [("0.2 (recipe)", False), ("0.5", False), ("1", True)]
    assert "less than 1" in section(found, "Failed").rows[0][2]
    assert [row[0] for row in section(found, "Not run").rows] == ["glove", "word2vec", "fasttext", "text"]
    assert "glove.6B.zip" in section(found, "Not run").rows[0][1]


def test_it_goes_on_in_its_folder(
    ablated: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fitted: list[int] = []

    def fit(self: Trials, trials: Any, kept: Any = Trials.fit) -> None:
        fitted.append(len(trials))
        kept(self, trials)

    monkeypatch.setattr(Trials, "fit", fit)
    grid = ["graph.kind=binary", "graph.tau=0.1", "graph.p=0.5", "depth=2"]
    first = ablated(grid, seeds=1)
    again = ablated(grid, seeds=1)
    assert [one.rows for one in first.sections] == [one.rows for one in again.sections]
    ablated([*grid[:2], "graph.p=0.5,0.6", grid[3]], seeds=2)
    # The recipe, its kind, tau, p and two kinds of vectors; then another p, and another seed of all.
    assert fitted == [6, 0, 8]
    with pytest.raises(ResumeError, match="holds mlgcn-ablation with other settings"):
        ablated(grid, settings=["graph.tau=0.3"])
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    with pytest.raises(OutputExists):
        ablated(grid, runs=str(other))


def test_end_to_end_is_the_published_recipe(
    ablated: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"glove\.6B\.300d\.txt: there is no such file.*vectors\.source=one_hot"):
        ablated(end_to_end=True)
    assert not (tmp_path / "runs").exists()
    whole = ["vectors.source=one_hot", "train.epochs=1", "data.augment=[]"]
    grid = ["graph.kind=reweighted", "graph.tau=0.4", "graph.p=0.2", "depth=3"]
    found = ablated(grid, seeds=1, settings=whole, end_to_end=True)
    assert [row[0] for row in section(found, "Depth").rows] == ["2 (recipe)", "3"]
    recipe = Recipe.load(tmp_path / "runs" / "recipe.yaml")
    assert (recipe.train.mode, recipe.train.optimizer) == ("end_to_end", "sgd")


def test_the_plan_is_that_of_the_paper() -> None:
    plan = ablation_plan(ablation_recipe())
    names = {study.key: list(study.names) for study in plan.studies}
    assert names["graph.tau"] == [f"{tenth / 10:g}" for tenth in range(10)]
    assert names["graph.p"] == [*names["graph.tau"], "0.95"]
    assert names["depth"] == ["2", "3", "4"]
    # The recipe, 2 kinds, 9 thresholds, 10 shares, 2 kinds of vectors, 2 depths.
    assert len(plan.settings) == 26
    assert plan.settings[0].name == BASELINE
    deepest = next(setting for setting in plan.settings if setting.name == "depth=4")
    assert deepest.recipe is not None
    assert deepest.recipe.model.head_args["widths"] == [1024, 1024, 1024]


def test_a_value_of_its_own_stands_among_the_others_and_leaves_nothing_unused() -> None:
    plan = ablation_plan(ablation_recipe(["graph.tau=0.25", "vectors.source=random", "vectors.size=7"]))
    studies = {study.key: study for study in plan.studies}
    assert list(studies["graph.tau"].names)[2:4] == ["0.2", "0.25"]
    assert studies["graph.tau"].base == "0.25"
    recipes = {setting.name: setting.recipe for setting in plan.settings}
    identity, one_hot = recipes["kind=identity"], recipes["source=one_hot"]
    assert identity is not None
    assert identity.graph.tau == 0.4
    assert one_hot is not None
    assert one_hot.vectors.size is None
    of_binary = ablation_plan(ablation_recipe(["graph.kind=binary"]))
    assert "graph.p" not in [study.key for study in of_binary.studies]


@pytest.mark.parametrize(
    ("grid", "vectors", "message"),
    [
        (["graph.taus=0.1"], [], r"--grid graph\.taus: is none of what the ablation varies; did you mean graph\.tau"),
        (["depth=2,x"], [], "--grid depth=2,x: expected whole numbers"),
        ([], ["glov=a.txt"], "--vectors glov: is not known; did you mean glove"),
        ([], ["glove"], "--vectors 'glove': expected NAME=FILE"),
        ([], ["glove=nowhere.txt"], r"--vectors glove=nowhere\.txt: there is no such file; download glove\.6B\.zip"),
    ],
)
def test_what_is_refused(grid: list[str], vectors: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ablation_plan(ablation_recipe(), grid, vectors)


def test_files_in_the_current_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(vector_sources([]).values()) == {""}
    (tmp_path / "crawl-300d-2M.vec").write_text("1 2\nred 0.1 0.2\n", "utf-8")
    found = vector_sources(["text=clip:ViT-B-32/weights"])
    assert found == {"glove": "", "word2vec": "", "fasttext": "crawl-300d-2M.vec", "text": "clip:ViT-B-32/weights"}
    plan = ablation_plan(ablation_recipe(), vectors=["text=clip:ViT-B-32/weights"])
    study = next(study for study in plan.studies if study.key == "vectors.source")
    assert list(study.names) == ["one_hot", "random", "learned", "fasttext", "text"]
    assert list(plan.not_run) == ["glove", "word2vec"]


def test_published_rows_stand_beside_the_own() -> None:
    measured = {
        BASELINE: {"mAP": 0.415, "CF1": 0.39, "CF1@3": 0.373},
        "kind=binary": {"mAP": 0.3735},
        "depth=3": {"mAP": 0.42, "CF1": 0.0, "CF1@3": None},
    }
    every, top = published_sections(benchmark("coco2014"), measured, ["First."])
    rows = {(row[0], row[1]): dict(zip(every.columns[2:], row[2:], strict=True)) for row in every.rows}
    assert rows["ML-GCN", "published"]["mAP"] == 83.0
    assert rows["ML-GCN", "own from published, %"]["mAP"] == pytest.approx(-50)
    assert rows["ML-GCN, binary graph", "published"] == {"mAP": 80.3} | dict.fromkeys(every.columns[3:])
    assert rows["ML-GCN, binary graph", "published from ML-GCN, %"]["mAP"] == pytest.approx(100 * (80.3 - 83) / 83)
    assert rows["ML-GCN, binary graph", "own from own ML-GCN, %"]["mAP"] == pytest.approx(-10)
    assert rows["ML-GCN, depth 3", "own"]["CF1"] == 0.0
    assert ("ML-GCN, depth 4", "published") not in rows
    assert ("ML-GCN, binary graph", "own") not in {(row[0], row[1]) for row in top.rows}
    assert every.text.startswith("First.")
