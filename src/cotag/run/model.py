"""An untrained tagger from a recipe, with what its head needs to know of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cotag.errors import LabelSpaceError, SettingError
from cotag.labels.embeddings import LabelVectors, label_vectors
from cotag.labels.graph import LabelGraph, build_graph
from cotag.labels.graph_files import check_suffix, load_graph
from cotag.labels.graph_sections import graph_sections
from cotag.models.backbone_parts import freeze_parts
from cotag.models.tagger import Tagger, build_tagger, head_needs
from cotag.recipe import Recipe
from cotag.run.normalization import given_numbers
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Progress
from cotag.types.section import Section


@dataclass(frozen=True)
class LabelKnowledge:
    """What a head needs to know of the labels.

    Attributes:
        supplies: ``graph`` and ``vectors``, as ``build_tagger`` takes them.
        head_args: settings of the head that follow from them.
        sections: what was built, for the report.
    """

    supplies: Mapping[str, torch.Tensor] = field(default_factory=dict)
    head_args: Mapping[str, Any] = field(default_factory=dict)
    sections: Sequence[Section] = ()


def label_knowledge(
    recipe: Recipe, index: Index, rows: np.ndarray, progress: Progress, pictured: bool = True
) -> LabelKnowledge:
    """Build the graph and the vectors that the recipe's head needs, and say what was built.

    Args:
        rows: the images that train; others do not tell which labels come together.
        pictured: whether the sections of the report are wanted, which take longer than the graph itself.

    Raises:
        CotagError: the graph or the vectors cannot be made with these settings.
    """
    needs = head_needs(recipe.model.head)
    supplies: dict[str, torch.Tensor] = {}
    head_args: dict[str, Any] = {}
    sections: list[Section] = []
    if "graph" in needs:
        graph = label_graph(recipe, index, rows)
        for line in (graph.describe(), *graph.notes()):
            progress.say(line)
        supplies["graph"] = as_tensor(graph)
        sections += graph_sections(graph) if pictured else []
    if "vectors" in needs:
        given = recipe.vectors
        vectors = label_vectors(
            index.label_space, given.source, given.size, given.fallback, recipe.train.seed, progress
        )
        for line in (_said(vectors), *vectors.notes):
            progress.say(line)
        supplies["vectors"] = torch.from_numpy(vectors.vectors_KE)
        if vectors.learned:
            head_args["learn_vectors"] = True
        sections.append(Section("Label vectors", "\n\n".join([_said(vectors), *vectors.notes])))
    return LabelKnowledge(supplies, head_args, sections)


def label_graph(recipe: Recipe, index: Index, rows: np.ndarray) -> LabelGraph:
    """The graph of the images that train, or of the counts in a file."""
    settings = recipe.graph.model_dump(exclude={"file"})
    file, space = recipe.graph.file, index.label_space
    if file is None:
        return build_graph(index, rows, **settings)
    del settings["unknown"]
    check_suffix(file)
    try:
        load_graph(file)
    except SettingError:
        # The file names no labels, as those that are published: theirs stand in alphabetical order.
        ordered = sorted(space.names)
        if list(space.names) != ordered:
            raise LabelSpaceError(
                f"{file}: names no labels, so they must be in alphabetical order, and {space.names[0]} is the first "
                f"here and not {ordered[0]}; read COCO with order=name, or give a file of cotag graph --save"
            ) from None
    return load_graph(file, space).with_settings(**settings)


def as_tensor(graph: LabelGraph) -> torch.Tensor:
    """The normalized matrix of a graph as heads take it: float32, sparse, (K, K)."""
    found = graph.normalized().tocoo()
    places = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    return torch.sparse_coo_tensor(
        places, torch.from_numpy(found.data.astype(np.float32)), found.shape, check_invariants=True
    ).coalesce()


def _said(vectors: LabelVectors) -> str:
    labels, size = vectors.vectors_KE.shape
    return f"vectors: {labels} labels x {size}, {vectors.source}"


def make_tagger(recipe: Recipe, label_space: LabelSpace, knowledge: LabelKnowledge | None = None) -> Tagger:
    """An untrained tagger as a recipe describes it.

    Args:
        knowledge: what the head needs to know of the labels; nothing where it needs none.

    Raises:
        SettingError: an unknown name, a wrong setting, or an image size that the backbone does not take.
        WeightsError: weights that do not fit.
    """
    preprocessing: dict[str, Any] = {
        "image_size": recipe.data.image_size,
        "resize": recipe.data.resize,
        "interpolation": None if recipe.data.interpolation == "model" else recipe.data.interpolation,
        "mean": given_numbers(recipe, "mean"),
        "std": given_numbers(recipe, "std"),
        "decode": recipe.data.decode,
    }
    model, known = recipe.model, knowledge or LabelKnowledge()
    tagger = build_tagger(
        label_space,
        model.backbone,
        model.head,
        model.backbone_args,
        model.weights,
        {**model.head_args, **known.head_args},
        preprocessing,
        known.supplies,
    )
    freeze_parts(tagger.backbone, recipe.train.freeze)
    _require_size(tagger)
    return tagger


def _require_size(tagger: Tagger) -> None:
    """Try one picture: not every backbone takes every size, and none says so before."""
    size = tagger.preprocessing.image_size
    try:
        with torch.inference_mode():
            tagger.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    except (RuntimeError, ValueError) as error:
        raise SettingError(
            f"data.image_size = {size}: backbone {tagger.settings['backbone']} does not take it "
            f"({str(error).splitlines()[0]}); leave it null, or choose another"
        ) from error
    tagger.train()
