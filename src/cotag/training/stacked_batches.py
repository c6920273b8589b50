"""The batches of several fits at once, each in the order that it has alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cotag.data.loader import BatchOrder
from cotag.data.sampling import EpochPlan
from cotag.training.head_fit import HeadLoop, Part

# What trains, and how it is ordered.
Course = tuple[Part, HeadLoop]


@dataclass(frozen=True)
class StackedBatch:
    """A step's images of R fits.

    Attributes:
        features, targets, known: (1, B, ...) where all fits have the same images in the same order, else (R, B, ...),
            the shorter ones filled up with images of which nothing is known.
        sizes_R: how many images each has.
    """

    features: Tensor
    targets: Tensor
    known: Tensor
    sizes_R: Tensor


class StackedBatches:
    """Makes the batches; keeps the features of each part as one tensor, and what was planned for its epochs."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._plans: dict[tuple[int, int], EpochPlan | None] = {}

    def order(self, course: Course) -> BatchOrder:
        """The order that ``FeatureBatches`` has for it alone."""
        part, how = course
        key = (id(part), id(how.balance))
        if key not in self._plans:
            self._plans[key] = how.plan(part)
        rows = np.arange(len(part.targets_NK))
        return BatchOrder(rows, how.batch_size, shuffle=True, seed=how.seed, plan=self._plans[key])

    def epoch(self, courses: Sequence[Course], number: int) -> Iterator[StackedBatch]:
        """The batches of one epoch, as ``FeatureBatches`` orders them for each of the courses alone.

        Args:
            courses: of the R fits, all with the same number of batches.
        """
        keys = [(id(part), how.batch_size, how.seed, id(how.balance)) for part, how in courses]
        different = dict(zip(keys, courses, strict=True))
        places = {key: place for place, key in enumerate(different)}
        of_R = [places[key] for key in keys]
        for rows in zip(*(self._epoch(course, number) for course in different.values()), strict=True):
            longest = max(len(own) for own, _ in rows)
            parts = [
                self._filled(course[0], own, views, longest)
                for course, (own, views) in zip(different.values(), rows, strict=True)
            ]
            chosen = [0] if len(parts) == 1 else of_R
            features, targets = (torch.stack([parts[place][which] for place in chosen]) for which in (0, 1))
            sizes_R = torch.tensor([float(len(rows[place][0])) for place in of_R])
            yield StackedBatch(features, (targets == 1).float(), targets >= 0, sizes_R)

    def _epoch(self, course: Course, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The images of each batch, and the view of each."""
        order = self.order(course)
        order.epoch = number
        for places in order:
            _, rows, repetitions = np.array(places).T
            yield rows, (number + repetitions) % course[0].features.views

    def _filled(self, part: Part, rows: np.ndarray, views: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
        """Features and targets of some images, each in its view, then of none up to ``length``."""
        for view in np.unique(views).tolist():
            if (id(part), view) not in self._tensors:
                self._tensors[id(part), view] = (inputs(part, view), torch.from_numpy(part.targets_NK))
        features, targets = (tensor[torch.from_numpy(rows)] for tensor in self._tensors[id(part), int(views[0])])
        for view in np.unique(views[views != views[0]]).tolist():
            here = torch.from_numpy(np.flatnonzero(views == view))
            features[here] = self._tensors[id(part), view][0][torch.from_numpy(rows)[here]]
        below = (0, 0, 0, length - len(rows))
        return functional.pad(features, below), functional.pad(targets, below, value=-1)


def inputs(part: Part, view: int = 0) -> Tensor:
    """The features of a view of a part's images, as heads take them, float32."""
    return torch.from_numpy(part.features.view(view)).float()
