"""Classifiers of labels in the plane, and whether labels of one group lie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotag.evaluation.retrieval import nearest

MOST_PERPLEXITY = 30.0
SHUFFLES = 1000


def in_plane(vectors_KD: np.ndarray, seed: int = 0) -> np.ndarray:
    """K vectors as points of the plane by t-SNE of their cosine distances; float64 (K, 2).

    The same vectors and seed give the same points. The perplexity is 30, or a third of the other labels if that is
    less. Up to 3 vectors need no t-SNE: their directions lie in a plane as they are.

    Source: van der Maaten, Hinton, Visualizing Data using t-SNE, JMLR 2008, as scikit-learn computes it, begun from
        the two main directions.
    """
    lengths_K1 = np.linalg.norm(vectors_KD, axis=1, keepdims=True)
    units_KD = np.divide(vectors_KD, lengths_K1, out=np.zeros(vectors_KD.shape), where=lengths_K1 > 0)
    count = len(units_KD)
    if count <= 3 or np.ptp(units_KD, axis=0).max() < 1e-12:
        return _main_directions(units_KD)
    from sklearn.manifold import TSNE

    perplexity = min(MOST_PERPLEXITY, (count - 1) / 3)
    # The exact method is the slower one, and the only one whose sums do not depend on the number of threads.
    method = "exact" if count <= 1000 else "barnes_hut"
    found: np.ndarray = TSNE(
        perplexity=perplexity, init=_spread(_main_directions(units_KD)), random_state=seed, method=method
    ).fit_transform(units_KD)
    return found.astype(np.float64)


def _main_directions(units_KD: np.ndarray) -> np.ndarray:
    """The coordinates along the two directions of most variance, (K, 2); each direction's largest one is positive."""
    centered = units_KD - units_KD.mean(0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    found = np.zeros((len(units_KD), 2))
    kept = min(2, len(sizes))
    found[:, :kept] = left[:, :kept] * sizes[:kept]
    found[:, np.where(sizes[:kept] < 1e-12)[0]] = 0
    sign = np.sign(found[np.abs(found).argmax(0), range(2)])
    return found * np.where(sign == 0, 1, sign)


def _spread(at: np.ndarray) -> np.ndarray:
    """As t-SNE is to begin: with a small standard deviation."""
    return (at / max(at[:, 0].std(), 1e-12) * 1e-4).astype(np.float32)


@dataclass(frozen=True)
class Agreement:
    """How often a label's nearest neighbor is of its own group.

    Attributes:
        share: of the labels whose group has another label.
        chance: the same when groups are given to labels at random.
        p: how often random groups agree as much; one-sided.
        labels: how many labels these are.
    """

    share: float
    chance: float
    p: float
    labels: int


def group_agreement(vectors_KD: np.ndarray, groups: Sequence[str | None], seed: int = 0) -> Agreement | None:
    """Whether classifiers of one group are near each other, by cosine and in all their dimensions.

    Args:
        groups: of the K labels; a label without one is left out.

    Returns:
        None where no group has two labels, or all labels are of one group.
    """
    kept = [k for k, group in enumerate(groups) if group is not None]
    numbers = np.unique([str(groups[k]) for k in kept], return_inverse=True)[1] if kept else np.zeros(0, dtype=int)
    sizes = np.bincount(numbers, minlength=1)
    if sizes.max() < 2 or (sizes > 0).sum() < 2:
        return None
    judged = sizes[numbers] > 1
    own = np.arange(len(kept))
    found = nearest(vectors_KD[kept], vectors_KD[kept], 1, own_Q=own)[0][:, 0]
    share = float((numbers[found] == numbers)[judged].mean())
    chance = float(((sizes[numbers] - 1) / (len(kept) - 1))[judged].mean())
    random = np.random.default_rng(seed)
    reached = 0
    for _ in range(SHUFFLES):
        shuffled = random.permutation(numbers)
        reached += (shuffled[found] == shuffled)[sizes[shuffled] > 1].mean() >= share - 1e-12
    return Agreement(share, chance, (1 + reached) / (1 + SHUFFLES), int(judged.sum()))
