"""The batches of several fits at once, each in the order that it has alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cotag.data.loader import BatchOrder
from cotag.training.head_fit import Part

# What trains, the images in a step, and the seed of their order.
Course = tuple[Part, int, int]


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
    """Makes the batches; keeps the features of each part as one tensor."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def epoch(self, courses: Sequence[Course], number: int) -> Iterator[StackedBatch]:
        """The batches of one epoch, as ``FeatureBatches`` orders them for each of the courses alone.

        Args:
            courses: of the R fits, all with the same number of batches.
        """
        keys = [(id(part), size, seed) for part, size, seed in courses]
        different = dict(zip(keys, courses, strict=True))
        places = {key: place for place, key in enumerate(different)}
        of_R = [places[key] for key in keys]
        for rows in zip(*(_order(course, number) for course in different.values()), strict=True):
            longest = max(len(own) for own in rows)
            parts = [
                self._filled(course[0], number, own, longest)
                for course, own in zip(different.values(), rows, strict=True)
            ]
            chosen = [0] if len(parts) == 1 else of_R
            features, targets = (torch.stack([parts[place][which] for place in chosen]) for which in (0, 1))
            sizes_R = torch.tensor([float(len(rows[place])) for place in of_R])
            yield StackedBatch(features, (targets == 1).float(), targets >= 0, sizes_R)

    def _filled(self, part: Part, epoch: int, rows: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
        """Features and targets of some images, in the view of this epoch, then of none up to ``length``."""
        key = (id(part), epoch % part.features.views)
        if key not in self._tensors:
            self._tensors[key] = (inputs(part, epoch), torch.from_numpy(part.targets_NK))
        features, targets = (tensor[torch.from_numpy(rows)] for tensor in self._tensors[key])
        below = (0, 0, 0, length - len(rows))
        return functional.pad(features, below), functional.pad(targets, below, value=-1)


def inputs(part: Part, view: int = 0) -> Tensor:
    """The features of a view of a part's images, as heads take them, float32."""
    return torch.from_numpy(part.features.view(view)).float()


def _order(course: Course, epoch: int) -> Iterator[np.ndarray]:
    part, size, seed = course
    order = BatchOrder(np.arange(len(part.targets_NK)), size, shuffle=True, seed=seed)
    order.epoch = epoch
    for places in order:
        yield np.array([row for _, row in places])
