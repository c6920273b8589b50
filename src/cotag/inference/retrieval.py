"""The spaces in which images are looked for: a backbone's features, and what a trained head makes of them."""

from __future__ import annotations

import numpy as np
import torch

from cotag.models.heads.linear import LinearHead
from cotag.models.scoring import score_batches
from cotag.models.tagger import Tagger
from cotag.training.features import FeatureBatches, FeatureSet, compute_features
from cotag.training.head_fit import CachedHead
from cotag.types.index import Index
from cotag.types.progress import Progress

FEATURES = "features"
SEEN = "features the classifiers see"
SCORES = "label scores"
BATCH = 1024


def tagger_spaces(
    tagger: Tagger, index: Index, rows: np.ndarray, progress: Progress, bad_images: str = "stop"
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[int, str]]:
    """The vectors that a tagger gives to images, by the name of their space.

    ``features``: pooled as the head pools them, on average where it reads the whole map. ``features the classifiers
    see``: their orthogonal projection on the span of the K classifiers, all that a linear head reads of them, in the
    coordinates of an orthonormal basis; only of a linear head with fewer labels than features, or one that amounts to
    it. ``label scores``: the logits minus their mean over the images, which takes away how frequent a label is.

    With a frozen backbone the first space is that of the plain backbone: what was learned of the labels is in the
    other two alone.

    Args:
        tagger: in evaluation mode.
        rows: N rows of the Index.
        bad_images: ``stop`` or ``skip``.

    Returns:
        the rows that could be read, int64 (M,); name -> float32 (M, ...); why others could not be read.

    Raises:
        ImageError: an image cannot be read and ``bad_images`` is ``stop``, or none can be read.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = compute_features(tagger, index, rows, progress, bad_images, device=device)
    tagger.to("cpu")
    unknown = np.full((len(found.rows), len(tagger.label_space)), -1, dtype=np.int8)
    _, logits_MK = score_batches(CachedHead(tagger.head), FeatureBatches(found, unknown, BATCH))
    spaces = {FEATURES: pooled_features(found)}
    basis_DR = classifier_span(tagger)
    if basis_DR is not None:
        spaces[SEEN] = spaces[FEATURES] @ basis_DR
    spaces[SCORES] = logits_MK - logits_MK.mean(0)
    return found.rows, spaces, found.skipped


def pooled_features(found: FeatureSet) -> np.ndarray:
    """Features as one vector for each image, float32 (N, D): maps on average over their places."""
    if found.features.ndim == 2:
        return np.asarray(found.features, dtype=np.float32)
    parts = range(0, len(found.rows), BATCH)
    return np.concatenate(
        [np.asarray(found.features[start : start + BATCH], dtype=np.float32).mean((2, 3)) for start in parts]
    )


def classifier_span(tagger: Tagger) -> np.ndarray | None:
    """An orthonormal basis of the span of a linear head's K classifiers, float32 (D, R) with R their rank at most K.

    None where the head is not linear or pools with a learned power, or where the classifiers span everything.
    """
    head = tagger.head
    if not isinstance(head, LinearHead) or head.reads == "map":
        return None
    weight_KD = head.classifier.weight.detach().double().cpu().numpy()
    _, sizes, basis = np.linalg.svd(weight_KD, full_matrices=False)
    kept = sizes > sizes.max() * max(weight_KD.shape) * np.finfo(np.float32).eps
    if not kept.any() or kept.sum() == weight_KD.shape[1]:
        return None
    found: np.ndarray = basis[kept].T.astype(np.float32)
    return found
