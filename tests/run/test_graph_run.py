"""A run whose head needs the label graph and vectors: what it builds, saves and refuses."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from cotag.data.read import read
from cotag.errors import CotagError, LabelSpaceError
from cotag.labels.graph import build_graph
from cotag.labels.graph_files import save_graph
from cotag.models.bundle import load_tagger
from cotag.models.heads.gcn import GraphHead
from cotag.models.heads.linear import LinearHead
from cotag.recipe import Recipe
from cotag.run.checks import check_recipe
from cotag.run.folder import RunFolder
from cotag.run.model import label_knowledge
from cotag.run.train import train
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent
from cotag.types.scores import Scores

GCN = ["model.head=gcn", "model.head_args={widths: [16]}", "graph.tau=0.3"]
LOOP = ["train.optimizer=adamw", "train.epochs=2", "train.batch_size=16", "train.weight_decay=0.01"]
VECTORS = ["vectors.source=learned", "vectors.size=7"]


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module", params=["features", "end to end"])
def finished(
    request: pytest.FixtureRequest, pictures: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, list[str]]:
    out, said = tmp_path_factory.mktemp("graph") / "run", Said()
    if request.param == "features":
        train(pictures, "quick", out, [*tiny, *GCN, *LOOP], progress=said)
    else:
        settings = ["train.epochs=1", "train.batch_size=16", "train.warmup_epochs=0"]
        train(pictures, "scenes-tiny", out, [*tiny, *GCN, *VECTORS, *settings], progress=said)
    return RunFolder(out), said.lines


def test_the_graph_is_that_of_the_training_images(finished: tuple[RunFolder, list[str]], pictures: Path) -> None:
    folder, said = finished
    index = read(pictures)
    roles = folder.load_roles(index)
    graph = build_graph(index, roles.train, tau=0.3)
    tagger, _ = load_tagger(folder.model, fold=False)
    assert isinstance(tagger.head, GraphHead)
    kept = tagger.head.supplies_of(tagger.head.state_dict())["graph"].to_dense().numpy()
    np.testing.assert_allclose(kept, graph.normalized().toarray(), rtol=1e-6)
    assert graph.edges().nnz > 0
    assert graph.describe() in said
    assert any(line.startswith(f"vectors: {len(graph)} labels x ") for line in said)


def test_the_loaded_model_is_folded_and_scores_the_same(finished: tuple[RunFolder, list[str]], pictures: Path) -> None:
    folder, _ = finished
    folded, _ = load_tagger(folder.model)
    plain, _ = load_tagger(folder.model, fold=False)
    assert isinstance(folded.head, LinearHead)
    assert folded.settings["head"] == "linear"
    images = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(folded(images).logits_BK, plain(images).logits_BK, atol=1e-5, rtol=1e-5)


def test_learned_vectors_were_trained_and_are_loaded(finished: tuple[RunFolder, list[str]]) -> None:
    folder, said = finished
    tagger, about = load_tagger(folder.model, fold=False)
    learned = any(name == "vectors_KE" for name, _ in tagger.head.named_parameters())
    assert learned == bool(about["head_args"].get("learn_vectors", False)) == any("x 7" in line for line in said)


def test_the_report_shows_the_graph(finished: tuple[RunFolder, list[str]]) -> None:
    page = finished[0].report.read_text("utf-8")
    assert "Label vectors" in page
    assert "0.3 or more" in page


def test_a_linear_head_on_the_same_features_is_shown_beside(finished: tuple[RunFolder, list[str]]) -> None:
    folder, said = finished
    lines = [line for line in said if "linear head on the same features (max pooling)" in line]
    on_features = "mode: features" in folder.recipe.read_text("utf-8")
    assert len(lines) == on_features
    page = folder.report.read_text("utf-8")
    assert all(line in page for line in lines)
    assert (">Baseline<" in page) == on_features


def test_scores_are_those_of_the_model(finished: tuple[RunFolder, list[str]]) -> None:
    scores = Scores.load(finished[0].scores("test"))
    assert np.isfinite(scores.scores_NK).all()
    assert scores.scores_NK.std() > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["graph.tau=0.3"], r"graph\.tau: head linear uses no graph; leave it out, or choose gcn"),
        (["vectors.source=random"], r"vectors\.source: head linear uses no vectors; leave it out, or choose gcn"),
        ([*GCN, "graph.kind=identity"], r"graph\.tau: a graph of kind identity does not use it"),
        ([*GCN, "graph.kind=binary", "graph.p=0.5"], r"graph\.p: a graph of kind binary does not use it"),
        ([*GCN, "graph.file=a.npz", "graph.unknown=left_out"], r"graph\.unknown: a graph of a file does not use it"),
        ([*GCN, "graph.file=none.npz"], r"none\.npz: there is no such file"),
        ([*GCN, "graph.file=graph.csv"], r"graph\.csv: a graph's file ends in one of"),
        ([*GCN, "vectors.size=50"], r"vectors\.size = 50: vectors of source one_hot have their own size"),
        ([*GCN, "graph.tau=1.5"], r"graph\.tau = 1\.5: must be less than or equal to 1"),
        (["model.head=gcn", "model.head_args={graph: 1}"], r"head gcn: graph comes from the backbone and the data"),
    ],
)
def test_settings_that_would_not_be_used_are_refused(
    settings: list[str], said: str, pictures: Path, tiny: list[str], tmp_path: Path
) -> None:
    with pytest.raises(CotagError, match=said):
        train(pictures, "quick", tmp_path / "run", [*tiny, *settings, *LOOP])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["reweighted", "binary", "symmetric", "conditional", "identity"])
def test_every_kind_of_graph_passes_as_it_is(kind: str) -> None:
    check_recipe(Recipe.load("quick", ["model.head=gcn", "model.head_args={}", f"graph.kind={kind}", *LOOP]))


def test_counts_of_a_file_take_the_place_of_the_own(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    index = read(pictures)
    graph = build_graph(index)
    save_graph(graph, tmp_path / "all.npz")
    recipe = Recipe.load("quick", [*tiny, *GCN, *LOOP, f"graph.file={tmp_path / 'all.npz'}"])
    known = label_knowledge(recipe, index, np.arange(10), Silent())
    expected = graph.with_settings(tau=0.3).normalized().toarray()
    np.testing.assert_allclose(known.supplies["graph"].to_dense().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("names", [("ant", "bee"), ("bee", "ant")])
def test_counts_without_names_are_taken_in_alphabetical_order_alone(names: tuple[str, str], tmp_path: Path) -> None:
    index = Index.build({"image": ["1.jpg", "2.jpg"], "positives": [[0, 1], [1]]}, LabelSpace(names), tmp_path)
    published = {"nums": np.array([3, 2]), "adj": np.array([[0, 2], [2, 0]])}
    (tmp_path / "adj.pkl").write_bytes(pickle.dumps(published))
    recipe = Recipe.load("quick", [*GCN, *LOOP, f"graph.file={tmp_path / 'adj.pkl'}"])
    if names == ("bee", "ant"):
        with pytest.raises(LabelSpaceError, match="alphabetical order, and bee is the first here and not ant"):
            label_knowledge(recipe, index, np.arange(2), Silent())
    else:
        graph = label_knowledge(recipe, index, np.arange(2), Silent()).supplies["graph"].to_dense()
        assert graph[0, 1] > 0
