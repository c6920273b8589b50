"""ML-GCN beside its baseline on COCO 2014, from training to the comparison with what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cotag.data.read import read
from cotag.errors import DataError
from cotag.evaluation.comparison import compare
from cotag.evaluation.published import benchmark, comparison_sections
from cotag.recipe import Recipe
from cotag.run.folder import new_folder
from cotag.run.reproduce.comparison import measures, scores_of, unlike
from cotag.run.reproduce.experiment import Experiment
from cotag.run.train import train
from cotag.types.index import Index
from cotag.types.progress import Progress

IMAGES = {"train": 82_783, "val": 40_504}
COCO = (
    "COCO 2014: download train2014.zip, val2014.zip and annotations_trainval2014.zip from cocodataset.org, unpack all "
    "three into one folder, and give coco:FOLDER"
)
GLOVE = (
    "GloVe: download glove.6B.zip from nlp.stanford.edu/projects/glove, unpack glove.6B.300d.txt into the current "
    "folder, or give --set vectors.source=FILE"
)
SMALL = "for a small version on frozen features of any data add --small"
BASELINE, GRAPH = "maximum pooling", "ML-GCN"
LOOP = (
    *("train.optimizer=adamw", "train.learning_rate=1e-3", "train.weight_decay=1e-2", "train.epochs=30"),
    *("train.clip_norm=10", "train.warmup_epochs=1"),
)
# What is trained: the preset and what is changed in it, in full and small.
FULL_RUNS = {BASELINE: ("gmp-resnet101", ("data.choose=0.1",)), GRAPH: ("mlgcn-coco", ())}
SMALL_RUNS = {
    BASELINE: ("quick", ("model.head_args={pooling: max}", *LOOP)),
    GRAPH: ("quick", ("model.head=gcn", "model.head_args={}", *LOOP)),
}


def mlgcn_coco(
    data: str | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    runs: str | None = None,
    small: bool = False,
    force: bool = False,
    *,
    progress: Progress,
) -> Experiment:
    """ML-GCN and maximum pooling trained and judged on COCO 2014, beside what was published.

    Args:
        data: COCO 2014; with ``small`` any data.
        options: of the reader.
        settings: ``key=value``, changed in both recipes.
        runs: the folder that both runs go into; runs/mlgcn-coco-N where not given.
        small: both heads on frozen features of a small backbone, with one-hot label vectors, instead.

    Raises:
        DataError: the data or the label vectors of the full version are not there; says what to download.
    """
    if data is None:
        raise DataError(f"experiment mlgcn-coco needs {COCO}. {GLOVE}; {SMALL}")
    plans = SMALL_RUNS if small else FULL_RUNS
    recipes = {name: Recipe.load(preset, [*own, *settings]) for name, (preset, own) in plans.items()}
    if not small:
        require_vectors(recipes[GRAPH], SMALL)
    index = read(data, **(options or {}))
    if not small:
        _require_coco(index, data)
    folder = new_folder(runs, "mlgcn-coco", force).folder
    trained = {
        name: train(index, recipe, folder / name.replace(" ", "-"), force=force, progress=progress)
        for name, recipe in recipes.items()
    }
    scores = {name: scores_of(str(run.folder)) for name, run in trained.items()}
    known = benchmark("coco2014")
    own = {f"{name}, own": one for name, one in scores.items()}
    sections = comparison_sections(known, GRAPH, measures(own), unlike(own, known))
    return Experiment("ML-GCN", f"{data}; runs in {folder}", [compare(scores).section(), *sections])


def require_vectors(recipe: Recipe, otherwise: str) -> None:
    """Refuse a recipe whose file of label vectors is not there.

    Raises:
        DataError: says what to download, or what to do ``otherwise``.
    """
    source = recipe.vectors.source
    if source.endswith(".txt") and not Path(source).is_file():
        raise DataError(f"{source}: there is no such file. {GLOVE}; {otherwise}")


def _require_coco(index: Index, data: str) -> None:
    found = index.splits()
    counts = {name: sum(n for split, n in found.items() if split.startswith(name)) for name in IMAGES}
    if counts != IMAGES:
        told = ", ".join(f"{name} {count:,}" for name, count in found.items()) or f"{len(index):,} images"
        raise DataError(
            f"{data}: is not the whole of COCO 2014 ({told}; wanted train 82,783, val 40,504). {COCO}; {SMALL}"
        )
