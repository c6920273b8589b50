"""Samplers: how many times an epoch takes each image, so that rare labels are seen more often.

One image holds several labels, so what repeats a rare label repeats the frequent ones beside it; each sampler says
what it gives for sure. Unknown labels count neither as present nor as absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cotag.data.holdings import Holdings
from cotag.errors import SettingError

Factors = Callable[[Holdings, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Sampler:
    """How often an epoch takes each image.

    Attributes:
        factors: (holdings, infrequent_K) -> the expected number of times of each image, float64 (N,), 0 or more.
        promise: what that gives, in words.
        needs_infrequent: whether it looks at which labels are infrequent.
        repeats: whether it takes images with rare labels more often, which a label without any image cannot have.
    """

    factors: Factors
    promise: str
    needs_infrequent: bool = False
    repeats: bool = True


def none() -> Sampler:
    """Each image once in each epoch."""
    return Sampler(lambda held, infrequent_K: np.ones(held.images), "each image once", repeats=False)


def under(keep: float = 0.5) -> Sampler:
    """Takes only a share of the images that hold nothing but frequent labels.

    Images with an infrequent label, with one that may be there (unknown), or without any label are taken once.

    Args:
        keep: the share, above 0 and under 1; each epoch takes others.
    """
    _require_keep(keep)

    def factors(held: Holdings, infrequent_K: np.ndarray) -> np.ndarray:
        return np.where(_only_frequent(held, infrequent_K), keep, 1.0)

    promise = f"an image that holds only frequent labels is taken in {keep:g} of the epochs, the others in each"
    return Sampler(factors, promise, needs_infrequent=True, repeats=False)


def over(times: float = 3.0) -> Sampler:
    """Repeats the images that hold an infrequent label.

    Args:
        times: how often each is taken, above 1; 2.5 is twice or three times.
    """
    _require_times(times)

    def factors(held: Holdings, infrequent_K: np.ndarray) -> np.ndarray:
        return np.where(held.holding(infrequent_K), times, 1.0)

    promise = f"an image that holds an infrequent label is taken {times:g} times, the others once"
    return Sampler(factors, promise, needs_infrequent=True)


def under_over(keep: float = 0.5, times: float = 3.0) -> Sampler:
    """Both: fewer images that hold only frequent labels, repeated ones with infrequent labels.

    Args:
        keep, times: of ``under`` and ``over``.
    """
    _require_keep(keep)
    _require_times(times)

    def factors(held: Holdings, infrequent_K: np.ndarray) -> np.ndarray:
        repeated_N = np.where(held.holding(infrequent_K), times, 1.0)
        return np.where(_only_frequent(held, infrequent_K), keep, repeated_N)

    promise = f"an image with an infrequent label is taken {times:g} times, one with only frequent ones {keep:g} times"
    return Sampler(factors, promise, needs_infrequent=True)


def repeat_factor(threshold: float | None = None) -> Sampler:
    """Repeats an image by the rarest of its labels: max(1, sqrt(threshold / share of the label)).

    A label that n images hold, with a share f under the threshold t, is seen at least n sqrt(t / f) times in an epoch
    of natural length; no label is seen less often than without it.

    Args:
        threshold: t, a share of the images in (0, 1); where not given, the share of the rarest label that is not
            infrequent, so that infrequent labels are repeated and no others are.

    Source: Gupta, Dollar, Girshick, LVIS: a dataset for large vocabulary instance segmentation, CVPR 2019, repeat
        factor sampling.
    Differs: a label's share is that of the images where it is known.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise SettingError(f"balance.sampler_args.threshold = {threshold}: a share above 0 and under 1, such as 0.01")

    def factors(held: Holdings, infrequent_K: np.ndarray) -> np.ndarray:
        counts_K, known_K = held.counts(), held.known()
        share_K = np.divide(counts_K, known_K, out=np.ones(held.labels), where=counts_K > 0)
        limit = threshold
        if limit is None:
            frequent_K = (counts_K > 0) & ~infrequent_K
            # Where every label is infrequent, up to the most frequent of them.
            limit = share_K[frequent_K].min() if frequent_K.any() else share_K[counts_K > 0].max(initial=0.0)
        label_K = np.maximum(1.0, np.sqrt(limit / share_K))
        found_N = np.ones(held.images)
        np.maximum.at(found_N, held.rows_P, label_K[held.labels_P])
        return found_N

    told = "the share of the rarest frequent label" if threshold is None else f"{threshold:g}"
    promise = f"an image is taken max(1, sqrt(t / share)) times by the rarest of its labels, t = {told}"
    return Sampler(factors, promise, needs_infrequent=threshold is None)


def class_aware() -> Sampler:
    """Draws a label, each as often, and then an image that holds it.

    Images without any label are drawn as if they had one in common. Each of the C labels with images, this one
    included, is what an image was drawn for in N / C of N draws; as an image brings its other labels along, each
    label is seen at least so often and frequent ones far more.

    Source: Shen, Lin, Huang, Relay backpropagation for effective learning of deep convolutional neural networks, ECCV
        2016, class-aware sampling.
    Differs: an image holds several labels; an epoch takes each image as often as it is to be expected from such draws,
        up to rounding, where the paper goes through shuffled lists.
    """
    return Sampler(lambda held, infrequent_K: _drawn_by_label(held, 0.0), "each label is drawn as often, then an image")


def square_root() -> Sampler:
    """Draws a label by the square root of its number of images, and then an image that holds it.

    Between taking images as they come and ``class_aware``; images without any label as there. A label with n images
    is what an image was drawn for in N sqrt(n) / (sum of all sqrt) of N draws, and is seen at least so often.

    Source: Kang et al., Decoupling representation and classifier for long-tailed recognition, ICLR 2020, eq. 1 with
        q = 1/2.
    Differs: an image holds several labels.
    """
    promise = "each label is drawn by the square root of its images, then an image"
    return Sampler(lambda held, infrequent_K: _drawn_by_label(held, 0.5), promise)


def _drawn_by_label(held: Holdings, power: float) -> np.ndarray:
    """Expected draws of each image in N draws of a label, by its images to the power, and of an image that holds it."""
    empty_N = held.labels_of_each() == 0
    counts_C = np.append(held.counts(), empty_N.sum())
    weights_C = np.where(counts_C > 0, counts_C.clip(min=1).astype(np.float64) ** power, 0.0)
    for_one_C = held.images * weights_C / weights_C.sum() / counts_C.clip(min=1)
    drawn_N: np.ndarray = np.bincount(held.rows_P, weights=for_one_C[held.labels_P], minlength=held.images)
    return drawn_N + np.where(empty_N, for_one_C[-1], 0.0)


def _only_frequent(held: Holdings, infrequent_K: np.ndarray) -> np.ndarray:
    """bool (N,): images with a label, of which none is infrequent or may be."""
    only_N: np.ndarray = (held.labels_of_each() > 0) & ~held.holding(infrequent_K) & ~held.unsure(infrequent_K)
    return only_N


def _require_keep(keep: float) -> None:
    if not 0 < keep < 1:
        raise SettingError(f"balance.sampler_args.keep = {keep}: a share above 0 and under 1, such as 0.5")


def _require_times(times: float) -> None:
    if not 1 < times < math.inf:
        raise SettingError(f"balance.sampler_args.times = {times}: must be above 1, such as 3")
