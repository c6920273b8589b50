"""Cached features of an Index's images, and batches of them for the training loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cotag.data.loader import BatchOrder
from cotag.data.sampling import EpochPlan
from cotag.models.features import Features
from cotag.training.stored_rows import Rows, joined_rows, part_of
from cotag.types.batch import Batch


@dataclass(frozen=True)
class FeatureSet:
    """Features of images of an Index.

    Attributes:
        features: float (N, D) pooled, or (N, D, H, W) maps, which lie on disk; of the images themselves.
        rows: the N rows of the Index.
        skipped: rows that could not be read, with the reason.
        computed: how many views went through the backbone now; the others came from the bank.
        more_views: the features of augmented views of the same images.
    """

    features: Rows
    rows: np.ndarray
    skipped: dict[int, str]
    computed: int
    more_views: tuple[Rows, ...] = ()

    @property
    def views(self) -> int:
        """The number of views, the images themselves among them."""
        return 1 + len(self.more_views)

    def view(self, number: int) -> Rows:
        """The features of one view; after the last one the first follows again."""
        return (self.features, *self.more_views)[number % self.views]

    def seen(self, numbers: np.ndarray, views: np.ndarray) -> np.ndarray:
        """The features of some of the N images, each in a view of its own."""
        views = views % self.views
        first: np.ndarray = self.view(int(views[0]))[numbers]
        for view in np.unique(views[views != views[0]]):
            here = np.flatnonzero(views == view)
            first[here] = self.view(int(view))[numbers[here]]
        return first

    def of(self, rows: np.ndarray) -> FeatureSet:
        """The part that belongs to some rows, in their order; rows without features are left out."""
        place = {int(row): number for number, row in enumerate(self.rows)}
        kept = np.array([row for row in rows if int(row) in place], dtype=np.int64)
        numbers = np.array([place[int(row)] for row in kept], dtype=np.int64)
        first, *others = (part_of(self.view(view), numbers) for view in range(self.views))
        return FeatureSet(first, kept, self.skipped, self.computed, tuple(others))

    def joined(self, other: FeatureSet) -> FeatureSet:
        """These images and those of another set; where one has fewer views, its views repeat."""
        views = range(max(self.views, other.views))
        first, *others = (joined_rows(self.view(view), other.view(view)) for view in views)
        rows = np.concatenate([self.rows, other.rows])
        return FeatureSet(first, rows, {**self.skipped, **other.skipped}, self.computed, tuple(others))


class FeatureBatches:
    """Batches of cached features for the training loop, in place of pictures.

    Args:
        part: the features; where it has several views, each epoch takes the next one.
        targets_NK: int8, 1, 0 or -1 for unknown.
        batch_size: rows in a batch; one that a plan repeats is seen in the next view each time.
        shuffle, seed, plan: the order; see ``BatchOrder``.
    """

    def __init__(
        self,
        part: FeatureSet,
        targets_NK: np.ndarray,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        plan: EpochPlan | None = None,
    ) -> None:
        self.part, self.targets_NK = part, targets_NK
        self.order = BatchOrder(np.arange(len(part.rows)), batch_size, shuffle, seed, plan=plan)

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from the one at place ``start``."""
        self.order.epoch, self.order.start = number, start
        for place, places in enumerate(self.order, start):
            numbers = np.array([row for _, row, _ in places])
            views = number + np.array([repetition for _, _, repetition in places])
            targets = torch.from_numpy(self.targets_NK[numbers])
            yield Batch(
                torch.from_numpy(self.part.seen(numbers, views)),
                (targets == 1).float(),
                targets >= 0,
                torch.from_numpy(self.part.rows[numbers]),
                place=place,
            )

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)


def as_features(cached: torch.Tensor, reads: str) -> Features:
    """Cached features as a head takes them."""
    return Features(cached.float()) if reads == "map" else Features(pooled={reads: cached.float()})
