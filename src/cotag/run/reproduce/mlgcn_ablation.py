"""ML-GCN's ablation on any data: the graph, tau, p, the label vectors and the depth, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cotag.data.splits import assign_roles
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.published import ALL, TOP_3
from cotag.labels.graph import LabelGraph
from cotag.recipe import Recipe
from cotag.run.model import label_graph
from cotag.run.reproduce.ablation_plan import Plan, ablation_plan
from cotag.run.reproduce.ablation_sections import (
    Measures,
    ablation_sections,
    benchmark_of,
    not_run_sections,
    published_sections,
)
from cotag.run.reproduce.comparison import PROTOCOL, measures, unlike
from cotag.run.reproduce.experiment import Experiment
from cotag.run.reproduce.mlgcn_coco import require_vectors
from cotag.run.reproduce.study import Study
from cotag.run.reproduce.trials import fit_trials, read_data, read_options
from cotag.run.sweep.folder import SweepFolder, Trial
from cotag.run.sweep.sweep import Sweep
from cotag.types.index import Index
from cotag.types.progress import Progress
from cotag.types.scores import Scores
from cotag.types.section import Section

SEEDS = 5
# The head of the paper on frozen features; rate, decay and epochs as docs/heads.md found them.
FROZEN = (
    "quick",
    (
        *("model.head=gcn", "model.head_args={widths: [1024], pooling: max}"),
        *("train.optimizer=adamw", "train.learning_rate=3e-3", "train.weight_decay=0.01", "train.epochs=20"),
        *("train.batch_size=128", "train.warmup_epochs=1", "train.clip_norm=10"),
    ),
)
WHOLE: tuple[str, tuple[str, ...]] = ("mlgcn-coco", ())


def ablation_recipe(settings: Sequence[str] = (), end_to_end: bool = False) -> Recipe:
    """What the ablation changes one thing of at a time: ML-GCN's head on frozen features, or all of it as published."""
    preset, own = WHOLE if end_to_end else FROZEN
    return Recipe.load(preset, [*own, *settings])


def mlgcn_ablation(
    data: str,
    options: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    grid: Sequence[str] = (),
    vectors: Sequence[str] = (),
    seeds: int = SEEDS,
    end_to_end: bool = False,
    runs: str | None = None,
    force: bool = False,
    *,
    progress: Progress,
) -> Experiment:
    """ML-GCN's ablation of any data: graph, tau, p, label vectors and depth, one at a time.

    Args:
        data: as ``cotag.read`` takes it.
        options: of the reader.
        settings: ``key=value``, changes of what the ablation begins with.
        grid: ``key=value,value``, other values of ``graph.kind``, ``graph.tau``, ``graph.p`` or ``depth``.
        vectors: ``NAME=FILE`` of ``glove``, ``word2vec``, ``fasttext`` or ``text``.
        seeds: trainings of each setting.
        end_to_end: the whole network as published, in place of its head on frozen features.
        runs: the folder of the trainings, in which it goes on; the next free sweeps/mlgcn-ablation-N where not given.

    Raises:
        DataError: the label vectors of the published version are not there; says what to download.
        CotagError: whatever else is wrong, in one line; trainings that ended stay in the folder.
    """
    recipe = ablation_recipe([*settings, *read_options(options)], end_to_end)
    if end_to_end:
        require_vectors(recipe, "to begin with vectors that need no file add --set vectors.source=one_hot")
    plan = ablation_plan(recipe, grid, vectors)
    index = read_data(data, recipe)
    found = fit_trials("mlgcn-ablation", data, index, recipe, plan.settings, seeds, runs, force, progress)
    return Experiment(
        "Ablation of ML-GCN", f"{data}; trainings in {found.folder}", sections_of(plan, found, index, recipe)
    )


def sections_of(plan: Plan, found: Sweep, index: Index, recipe: Recipe) -> list[Section]:
    """The page of an ablation whose trainings ended."""
    rows = {row.setting: row for row in found.rows}
    scores = {
        setting.name: [
            Scores.load(SweepFolder(found.folder).scores(Trial(setting, record.seed)))
            for record in rows[setting.name].records
        ]
        for setting in plan.settings
    }
    measured, note = measures_of(scores)
    graph = _graph_of(recipe, index)
    notes = [found.comparison.method, *note, f"Of the recipe: {graph.describe()}.", *graph.notes()]
    tau = next((study for study in plan.studies if study.key == "graph.tau"), None)
    edges = {} if tau is None else edges_of(tau, graph)
    sections = ablation_sections(plan, rows, measured, edges, notes)
    known = benchmark_of(len(index.label_space))
    if known is not None:
        first = next(own[0] for own in scores.values() if own)
        sections += published_sections(known, measured, unlike({"This": first}, known))
    return [*sections, *not_run_sections(plan, found.failed)]


def measures_of(scores: Mapping[str, Sequence[Scores]]) -> tuple[dict[str, Measures], list[str]]:
    """The means over seeds of each setting's measures All and Top-3, by the protocol of ML-GCN's program, and notes."""
    targets = [one.targets_NK for own in scores.values() for one in own]
    absent = any(not (targets_NK == 1).any(0).all() for targets_NK in targets)
    changes = {"no_positives": "skip"} if absent else {}
    found: dict[str, Measures] = {}
    for name, own in scores.items():
        each = list(measures({str(number): one for number, one in enumerate(own)}, **changes).values())
        if each:
            found[name] = {key: _mean([one.get(key) for one in each]) for key in (*ALL, *TOP_3)}
    told = protocol_of(PROTOCOL).changed(**changes).describe()
    return found, [f"Measures: means over seeds; labels at a probability of 0.5 or more. Protocol: {told}."]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def edges_of(tau: Study, graph: LabelGraph) -> dict[str, int]:
    """How many edges the graph has at each value of tau, by name."""
    recipes = {name: setting.recipe for name, setting in tau.settings.items()}
    return {
        name: int(graph.with_settings(tau=recipe.graph.tau).edges().nnz) for name, recipe in recipes.items() if recipe
    }


def _graph_of(recipe: Recipe, index: Index) -> LabelGraph:
    """The graph of the recipe with its own seed."""
    data = recipe.data
    roles = assign_roles(index, data.train, data.choose, data.test, recipe.train.seed)
    return label_graph(recipe, index, roles.train)
