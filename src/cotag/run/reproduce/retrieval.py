"""ML-GCN's image retrieval: neighbors by a backbone's features against those by what was learned of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cotag.data.read import read
from cotag.errors import SettingError, suggestion
from cotag.evaluation.retrieval import METRICS, measure, nearest, random_order, relevance
from cotag.evaluation.sections.retrieval import SHOWN_FOUND, Pictured, picture_section, retrieval_sections
from cotag.inference.retrieval import FEATURES, tagger_spaces
from cotag.models.backbone import fingerprint
from cotag.models.bundle import load_tagger
from cotag.models.settings import model_folder
from cotag.models.tagger import Tagger, build_tagger
from cotag.recipe import Recipe
from cotag.run.folder import RunFolder
from cotag.run.judge import rows_to_judge
from cotag.run.reproduce.experiment import Experiment
from cotag.run.thumbnails import thumbnails
from cotag.types.index import Index
from cotag.types.progress import Progress

KS = (1, 5, 10)
GALLERIES = ("all", "others", "queries")
TOO_GOOD = (
    "trained the model or chose its settings and lie nearer to their labels than unseen images would, so what was "
    "learned looks too good; gallery queries is without them."
)
PLAIN, CHANCE = "plain backbone", "chance"


def retrieval(
    data: str,
    models: Sequence[str],
    options: Mapping[str, Any] | None = None,
    split: str | None = None,
    gallery: str = "queries",
    k: Sequence[int] = KS,
    metric: str = "cosine",
    weights: str | None = None,
    *,
    progress: Progress,
) -> Experiment:
    """Image retrieval by plain features and by what a model learned of the labels.

    Args:
        data: as ``cotag.read`` takes it; its labels need not be those of the model.
        models: one run or model folder.
        options: of the reader.
        split: the queries; as in ``score_model`` where not given.
        gallery: what is searched: the other ``queries``, ``others`` (images that are no queries), or ``all`` besides
            the query itself. Images that trained the model lie nearer to their labels than unseen ones, which makes
            the numbers of what was learned too good; among the queries there are none.
        k: how many of the nearest are looked at; each gives numbers of its own.
        metric: ``cosine`` or ``euclidean``.
        weights: of the plain backbone: hub or a safetensors file; what the run began with where not given.

    Raises:
        SettingError: more than one model, a setting out of range, or weights that cannot be known.
        CotagError: the data or the model cannot be read, or they do not fit.
    """
    model = _checked(models, gallery, metric)
    run = RunFolder.of_model(model)
    tagger, _ = load_tagger(model_folder(model))
    index = read(data, **(options or {}))
    roles = run.saved_roles()
    queries, told = rows_to_judge(roles, index, split)
    searched = _searched(index, queries, gallery)
    rows = np.union1d(queries, searched)
    vectors, notes, rows = _vectors(tagger, run, weights, index, rows, progress)
    queries, searched = (part[np.isin(part, rows)] for part in (queries, searched))
    found, own_Q = _found(vectors, rows, queries, searched, max(k), metric)
    targets_NK = index.targets()
    judged = {
        name: relevance(rows_Qk, targets_NK[queries], targets_NK[searched], own_Q) for name, rows_Qk in found.items()
    }
    alone = int((judged[PLAIN].relevant_Q == 0).sum())
    trained = 0 if roles is None else len(np.intersect1d(searched, roles.rows_of(("train", "choose"), index)))
    lines = [
        f"Queries: {told}, {len(queries):,} images"
        + (f"; {alone:,} share no label with any image searched and are left out." if alone else "."),
        f"Searched ({gallery}): {len(searched):,} images, by {metric} distance, exactly; a query never finds itself."
        + (f" {trained:,} of them {TOO_GOOD}" if trained else ""),
        *notes,
    ]
    sections = retrieval_sections(measure(judged, k), " ".join(lines))
    names = [name for name in found if name != CHANCE]
    about = Pictured(index.ids, targets_NK, index.label_space.names, thumbnails(index))
    pictures = picture_section(queries, {name: searched[found[name]] for name in names[:2]}, about)
    return Experiment("Image retrieval", f"{model} on {data}", [sections[0], pictures, *sections[1:]])


def _checked(models: Sequence[str], gallery: str, metric: str) -> str:
    """The one model; what is wrong with the settings is said before anything is computed."""
    if len(models) != 1:
        raise SettingError(f"experiment retrieval: {len(models)} models are given; give one --model")
    if gallery not in GALLERIES:
        raise SettingError(f"gallery {gallery!r} is not known{suggestion(gallery, GALLERIES)}")
    if metric not in METRICS:
        raise SettingError(f"metric {metric!r} is not known{suggestion(metric, METRICS)}")
    return models[0]


def _searched(index: Index, queries: np.ndarray, gallery: str) -> np.ndarray:
    everything = np.arange(len(index))
    if gallery == "all":
        return everything
    found = queries if gallery == "queries" else np.setdiff1d(everything, queries)
    if not len(found):
        raise SettingError("gallery others: every image is a query; give --split, or search all")
    return found


def _vectors(
    tagger: Tagger, run: RunFolder, weights: str | None, index: Index, rows: np.ndarray, progress: Progress
) -> tuple[dict[str, np.ndarray], list[str], np.ndarray]:
    """The vectors of the rows in every space, notes, and the rows that could be read."""
    plain, note = plain_tagger(tagger, run, weights)
    bad_images = Recipe.load(run.recipe).data.bad_images if run.recipe.is_file() else "stop"
    kept, learned, skipped = tagger_spaces(tagger, index, rows, progress, bad_images)
    if skipped:
        progress.say(f"left out, since they could not be read: {len(skipped)} of {len(rows)} images")
    if fingerprint(plain.backbone) == fingerprint(tagger.backbone):
        vectors = {PLAIN: learned.pop(FEATURES)}
        note += (
            " It was not trained, so its features are also the model's; what was learned is in the spaces of labels."
        )
    else:
        _, untrained, _ = tagger_spaces(plain, index, kept, progress, bad_images)
        vectors = {PLAIN: untrained[FEATURES]}
    return {**vectors, **learned}, [note], kept


def plain_tagger(tagger: Tagger, run: RunFolder, weights: str | None) -> tuple[Tagger, str]:
    """The tagger's backbone as it was before training, with the tagger's preprocessing, and what it is in words.

    Raises:
        SettingError: the folder does not say which weights the run began with.
        WeightsError: they cannot be had.
    """
    recipe = Recipe.load(run.recipe) if run.recipe.is_file() else None
    if weights is None and recipe is None:
        raise SettingError(
            f"{run.folder}: does not say what its backbone was before training; give the run's folder, or --weights"
        )
    if weights is None and recipe is not None and recipe.train.mode == "features":
        return tagger, "The plain backbone is the model's."
    given = weights or (recipe.model.weights if recipe else "hub")
    settings = tagger.settings
    torch.manual_seed(recipe.train.seed if recipe else 0)
    plain = build_tagger(
        tagger.label_space,
        settings["backbone"],
        "linear",
        settings["backbone_args"],
        given,
        {"pooling": "max" if tagger.head.reads == "max" else "avg"},
        settings["preprocessing"],
    ).eval()
    what = "random weights" if given == "none" else f"weights {given}"
    return plain, f"The plain backbone: {settings['backbone']} with {what}."


def _found(
    vectors: Mapping[str, np.ndarray],
    rows: np.ndarray,
    queries: np.ndarray,
    searched: np.ndarray,
    k: int,
    metric: str,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The nearest images in each space and by chance, as places in ``searched``; and each query's own place there."""
    place = {int(row): number for number, row in enumerate(searched)}
    own_Q = np.array([place.get(int(row), -1) for row in queries], dtype=np.int64)
    # The pictures show a few more than a small k, where there are so many.
    k = max(k, min(SHOWN_FOUND, len(searched) - 1))
    at_Q, at_N = np.searchsorted(rows, queries), np.searchsorted(rows, searched)
    found = {name: nearest(of[at_Q], of[at_N], k, metric, own_Q)[0] for name, of in vectors.items()}
    found[CHANCE] = random_order(len(queries), len(searched), k, own_Q)
    return found, own_Q
