"""Drawing the images of an epoch as a sampler wants them: exact in expectation, of fixed length, by the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotag.data.holdings import Holdings
from cotag.data.samplers import Sampler
from cotag.errors import SettingError, listing

EPOCHS = ("natural", "same")


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """How often an epoch takes each of N images.

    Attributes:
        factors_N: the expected number of times, float64; their sum is ``length``.
        length: how many images an epoch has.
    """

    factors_N: np.ndarray
    length: int

    def draw(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The images of one epoch in their order, int64 (T,), and for each how many equal ones stand before it.

        An image with factor r is taken floor(r) or ceil(r) times, in the mean over epochs r times. Nothing but the
        seed and the number of the epoch counts.

        Source: systematic sampling, W. G. Madow, On the theory of systematic sampling II, 1949, over images in random
            order.
        """
        random = np.random.default_rng((seed, epoch, 1))
        order = random.permutation(np.flatnonzero(self.factors_N > 0))
        reached = np.cumsum(self.factors_N[order])
        reached *= self.length / reached[-1]
        points = random.random() + np.arange(self.length)
        # Rounding may leave the last point at the very end.
        drawn = order[np.minimum(np.searchsorted(reached, points, side="right"), len(order) - 1)]
        drawn = random.permutation(drawn)
        return drawn, _repetitions(drawn)


@dataclass(frozen=True, eq=False)
class Balance:
    """A sampler as a run uses it.

    Attributes:
        name: of the sampler.
        sampler: how often it takes an image.
        infrequent_K: bool, the infrequent labels among all images that train in the run.
        epoch: ``natural``: as many images as the sampler gives, ``same``: as many as there are.
    """

    name: str
    sampler: Sampler
    infrequent_K: np.ndarray
    epoch: str = "natural"

    def plan(self, held: Holdings) -> EpochPlan:
        """How often an epoch takes each of these images."""
        factors_N = self.sampler.factors(held, self.infrequent_K)
        natural = max(1, round(float(factors_N.sum())))
        length = natural if self.epoch == "natural" else held.images
        return EpochPlan(factors_N * (length / factors_N.sum()), length)

    def check(self, held: Holdings, names: Sequence[str], without_images: str = "refuse") -> None:
        """Refuse what cannot do what it was asked for.

        Args:
            held: of the images that train.
            names: of the K labels.
            without_images: ``refuse`` labels of which no image can be taken more often, or ``ignore`` them.

        Raises:
            SettingError: such a label, or a sampler that would take each image once.
        """
        asked_K = self.infrequent_K if self.sampler.needs_infrequent else np.ones(held.labels, dtype=bool)
        missing = [names[label] for label in np.flatnonzero(asked_K & (held.counts() == 0)).tolist()]
        if self.sampler.repeats and missing and (without_images == "refuse" or len(missing) == asked_K.sum()):
            raise SettingError(
                f"balance.sampler = {self.name}: {len(missing)} of the labels that it should show more often have no "
                f"image that trains ({listing(missing)}); set balance.labels_without_images=ignore to do without "
                "them, or sampler none"
            )
        factors_N = self.sampler.factors(held, self.infrequent_K)
        if np.allclose(factors_N, 1.0, rtol=0.0, atol=1e-9):
            raise SettingError(
                f"balance.sampler = {self.name}: would take each of the {held.images} images once, as without it "
                f"({self.sampler.promise}); change balance.sampler_args or balance.infrequent, or set sampler none"
            )


def _repetitions(drawn: np.ndarray) -> np.ndarray:
    """For each entry how many equal ones stand before it; int64."""
    order = np.argsort(drawn, kind="stable")
    kinds = drawn[order]
    starts = np.flatnonzero(np.concatenate(([True], kinds[1:] != kinds[:-1])))
    lengths = np.diff(np.append(starts, len(drawn)))
    found = np.empty(len(drawn), dtype=np.int64)
    found[order] = np.arange(len(drawn)) - np.repeat(starts, lengths)
    return found
