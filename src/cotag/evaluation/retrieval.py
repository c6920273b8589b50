"""Image retrieval: the nearest images of others, found exactly, and how far they share labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cotag.errors import ScoresError, SettingError, suggestion
from cotag.evaluation.uncertainty import Interval, moved, paired_interval, tail_place

METRICS = ("cosine", "euclidean")
MEASURES = ("precision", "recall", "mAP", "shared", "jaccard")
# Numbers of one block of queries x gallery that are held at once.
MOST_CELLS = 2**24
MOST_ROWS = 8192


def nearest(
    queries_QD: np.ndarray, gallery_ND: np.ndarray, k: int, metric: str = "cosine", own_Q: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest images of the gallery for each query, by exact search.

    All distances are compared, in blocks, so that memory stays bounded. Of equal distances the lower row comes first.

    Args:
        queries_QD, gallery_ND: one vector for each image.
        k: at least 1, at most the images of the gallery besides the query itself.
        metric: ``cosine`` (1 - cosine, in [0, 2]; 1 where a vector is zero) or ``euclidean``.
        own_Q: the row in the gallery that is the query itself and is left out; -1 where there is none.

    Returns:
        rows int64 (Q, k) and distances float64 (Q, k), the nearest first.

    Raises:
        SettingError: an unknown metric, or a k that is out of range.
        ScoresError: a vector that is not finite.
    """
    if metric not in METRICS:
        raise SettingError(f"metric {metric!r} is not known{suggestion(metric, METRICS)}")
    own_Q = np.full(len(queries_QD), -1) if own_Q is None else np.asarray(own_Q)
    _check_k(k, len(gallery_ND), own_Q)
    for name, vectors in (("query", queries_QD), ("gallery", gallery_ND)):
        broken = np.flatnonzero(~np.isfinite(vectors).all(1))
        if len(broken):
            raise ScoresError(f"{name} image {broken[0]}: its vector has a value that is not finite; compute it anew")
    rows_Qk = np.empty((len(queries_QD), k), dtype=np.int64)
    distances_Qk = np.empty((len(queries_QD), k))
    gallery_ND, lengths_N = _prepared(gallery_ND, metric)
    step = max(1, MOST_CELLS // max(len(gallery_ND), 1))
    for start in range(0, len(queries_QD), step):
        block_BD, lengths_B = _prepared(queries_QD[start : start + step], metric)
        rough_BN = _rough_distances(block_BD, gallery_ND, lengths_B, lengths_N)
        own_B = own_Q[start : start + step]
        rough_BN[np.flatnonzero(own_B >= 0), own_B[own_B >= 0]] = np.inf
        # How far a product of matrices may be off: within it the order is decided by exact distances.
        slack_B = 8 * (gallery_ND.shape[1] + 8) * np.finfo(np.float64).eps * (lengths_B + lengths_N.max())
        for place in range(len(block_BD)):
            limit = np.partition(rough_BN[place], k - 1)[k - 1] + slack_B[place]
            rows = np.flatnonzero(rough_BN[place] <= limit)
            exact = _distances(block_BD[place], gallery_ND[rows], metric)
            order = np.lexsort((rows, exact))[:k]
            rows_Qk[start + place], distances_Qk[start + place] = rows[order], exact[order]
    return rows_Qk, distances_Qk


def _check_k(k: int, gallery: int, own_Q: np.ndarray) -> None:
    most = gallery - int((own_Q >= 0).any())
    if not 1 <= k <= most:
        raise SettingError(f"k = {k}: must be 1 to {most}, as many images as can be found")


def _prepared(vectors_ND: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors as float64, of length 1 for the cosine, and their squared lengths."""
    vectors_ND = np.asarray(vectors_ND, dtype=np.float64)
    if metric == "euclidean":
        return vectors_ND, np.einsum("nd,nd->n", vectors_ND, vectors_ND)
    lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    # A zero vector counts as long as the others: its cosine to all is 0.
    units_ND = np.divide(vectors_ND, lengths_N1, out=np.zeros_like(vectors_ND), where=lengths_N1 > 0)
    return units_ND, np.ones(len(units_ND))


def _rough_distances(
    queries_BD: np.ndarray, gallery_ND: np.ndarray, lengths_B: np.ndarray, lengths_N: np.ndarray
) -> np.ndarray:
    """Squared Euclidean distances up to rounding; of unit vectors they rank as the cosine does."""
    found_BN = np.empty((len(queries_BD), len(gallery_ND)))
    for start in range(0, len(gallery_ND), MOST_ROWS):
        part = slice(start, start + MOST_ROWS)
        found_BN[:, part] = lengths_B[:, None] + lengths_N[part] - 2 * (queries_BD @ gallery_ND[part].T)
    return found_BN


def _distances(query_D: np.ndarray, gallery_ND: np.ndarray, metric: str) -> np.ndarray:
    """Distances of some images, each computed in the same order: equal vectors are at equal distances."""
    if metric == "cosine":
        found: np.ndarray = 1 - (gallery_ND * query_D).sum(1)
        return found
    found = np.sqrt(((gallery_ND - query_D) ** 2).sum(1))
    return found


def random_order(count: int, gallery: int, k: int, own_Q: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """What chance finds: k different rows of the gallery for each query, never the query itself; int64 (Q, k)."""
    own_Q = np.full(count, -1) if own_Q is None else np.asarray(own_Q)
    _check_k(k, gallery, own_Q)
    random = np.random.default_rng(seed)
    found_Qk = np.empty((count, k), dtype=np.int64)
    for place, own in enumerate(own_Q):
        drawn = random.permutation(gallery - int(own >= 0))[:k]
        found_Qk[place] = drawn + (drawn >= own if own >= 0 else 0)
    return found_Qk


@dataclass(frozen=True, eq=False)
class Relevance:
    """How far found images share the labels of their queries, and how many could have been found.

    Attributes:
        shared_Qk: how many labels each found image shares with the query; int64, the nearest first.
        jaccard_Qk: the same over the labels that either has, in [0, 1].
        relevant_Q: images of the gallery that share a label with the query, itself not counted; int64.
    """

    shared_Qk: np.ndarray
    jaccard_Qk: np.ndarray
    relevant_Q: np.ndarray

    def at(self, k: int) -> dict[str, np.ndarray]:
        """Measures of the k nearest, float64 (Q,); NaN where no image of the gallery shares a label with the query.

        ``precision``: share of the k that are relevant. ``recall``: share of the relevant that are among the k.
        ``mAP``: average precision at k, the sum over relevant ranks i of precision at i, divided by the smaller of k
        and the number of relevant images. ``shared``: labels shared on average. ``jaccard``: that of the labels.

        Raises:
            SettingError: fewer than k images were found.
        """
        if not 1 <= k <= self.shared_Qk.shape[1]:
            raise SettingError(f"k = {k}: must be 1 to {self.shared_Qk.shape[1]}, as many as were found")
        hits_Qk = self.shared_Qk[:, :k] > 0
        ranked_Qk = np.cumsum(hits_Qk, axis=1) / np.arange(1, k + 1)
        judged_Q = self.relevant_Q > 0
        possible_Q = np.maximum(self.relevant_Q, 1)
        found = {
            "precision": hits_Qk.mean(1),
            "recall": hits_Qk.sum(1) / possible_Q,
            "mAP": (ranked_Qk * hits_Qk).sum(1) / np.minimum(possible_Q, k),
            "shared": self.shared_Qk[:, :k].mean(1),
            "jaccard": self.jaccard_Qk[:, :k].mean(1),
        }
        return {name: np.where(judged_Q, values_Q, np.nan) for name, values_Q in found.items()}


def relevance(
    rows_Qk: np.ndarray, queries_QK: np.ndarray, gallery_NK: np.ndarray, own_Q: np.ndarray | None = None
) -> Relevance:
    """Compare the labels of found images with those of their queries.

    An image is relevant where it shares at least one label with the query. Unknown labels count as absent.

    Args:
        rows_Qk: found rows of the gallery.
        queries_QK, gallery_NK: targets; 1 present, anything else not.
        own_Q: as in ``nearest``.
    """
    queries_QK, gallery_NK = (np.asarray(targets == 1, dtype=np.float32) for targets in (queries_QK, gallery_NK))
    shared_Qk = np.empty(rows_Qk.shape, dtype=np.int64)
    relevant_Q = np.empty(len(rows_Qk), dtype=np.int64)
    step = max(1, MOST_CELLS // max(len(gallery_NK), 1))
    for start in range(0, len(rows_Qk), step):
        part = slice(start, start + step)
        both_BN = queries_QK[part] @ gallery_NK.T
        shared_Qk[part] = np.take_along_axis(both_BN, rows_Qk[part], axis=1)
        relevant_Q[part] = (both_BN > 0).sum(1)
    if own_Q is not None:
        relevant_Q -= (np.asarray(own_Q) >= 0) & (queries_QK > 0).any(1)
    either_Qk = queries_QK.sum(1)[:, None] + gallery_NK.sum(1)[rows_Qk] - shared_Qk
    jaccard_Qk = np.divide(shared_Qk, either_Qk, out=np.zeros(rows_Qk.shape), where=either_Qk > 0)
    return Relevance(shared_Qk, jaccard_Qk, relevant_Q)


@dataclass(frozen=True)
class Measured:
    """A mean over queries.

    Attributes:
        space, measure, k: what was measured.
        value: the mean.
        interval: of it.
        difference: from the same in the first space; None for the first itself.
        difference_interval: of that, query by query; None where the spaces never differ or for the first itself.
        p: two-sided p-value of no difference, not corrected for the number of comparisons.
    """

    space: str
    measure: str
    k: int
    value: float
    interval: Interval
    difference: float | None = None
    difference_interval: Interval | None = None
    p: float | None = None


def measure(
    spaces: Mapping[str, Relevance], ks: Sequence[int], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> list[Measured]:
    """Means over queries in several spaces, with paired differences from the first, and bootstrap intervals.

    The intervals say how far the numbers would vary over other queries; the gallery stays as it is.

    Args:
        spaces: name -> what the same queries found there.
        ks: how many of the nearest are looked at; each gives its own numbers.
        resamples: of the queries, drawn with replacement.

    Raises:
        ScoresError: fewer than two queries share a label with any image.
        SettingError: too few resamples for the level, or a k that is out of range.
    """
    place = tail_place(resamples, level)
    keys = [(space, name, k) for space in spaces for k in ks for name in MEASURES]
    at = {(space, k): found.at(k) for space, found in spaces.items() for k in ks}
    values_QC = np.stack([at[space, k][name] for space, name, k in keys], axis=1)
    values_QC = values_QC[~np.isnan(values_QC).any(1)]
    if len(values_QC) < 2:
        raise ScoresError("fewer than 2 queries share a label with an image of the gallery; give more images")
    means = dict(zip(keys, _resampled_means(values_QC, resamples, seed).T, strict=True))
    first = next(iter(spaces))
    found = []
    for (space, name, k), means_R in means.items():
        sorted_R = np.clip(moved(means_R), 0, None if name == "shared" else 1)
        interval = (float(sorted_R[place]), float(sorted_R[-1 - place]))
        against: tuple[float | None, Interval | None, float | None] = (None, None, None)
        if space != first:
            differences = means_R - means[first, name, k]
            against = (float(differences[0]), *paired_interval(differences, level))
        found.append(Measured(space, name, k, float(means_R[0]), interval, *against))
    return found


def _resampled_means(values_QC: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of the queries themselves, then of each resample; float64 (1 + R, C)."""
    random, count = np.random.default_rng(seed), len(values_QC)
    means = [values_QC.mean(0, keepdims=True)]
    step = max(1, MOST_CELLS // count)
    for start in range(0, resamples, step):
        drawn_RQ = random.multinomial(count, np.full(count, 1 / count), min(step, resamples - start))
        means.append(drawn_RQ @ values_QC / count)
    return np.concatenate(means)
