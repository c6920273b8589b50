"""From rows of an Index to batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cotag.data.augmentations import Augmentation
from cotag.data.contents import read_image
from cotag.data.decoding import prepare_bytes
from cotag.data.empty_batches import require_alone
from cotag.data.images import location
from cotag.data.mixtures import Mixture
from cotag.data.sampling import EpochPlan
from cotag.data.shared_room import room
from cotag.data.square_cache import SquareCache, keeps
from cotag.data.transforms import Preprocessing
from cotag.data.workers import stay_for_main, surviving, worker_count
from cotag.errors import ImageError, SettingError, suggestion
from cotag.types.batch import Batch
from cotag.types.index import Index

BAD_IMAGES = ("stop", "skip", "substitute")
# How many other rows are tried in the place of one that cannot be read.
TRIES = 16
# Keep these random numbers apart from those of rows, which are made of seed, epoch and row.
OF_BATCH, OF_SUBSTITUTE = 1, 2
Place = tuple[int, int, int]
"""Epoch, row, and how many times the epoch took the row before."""
Pictures = tuple[torch.Tensor, torch.Tensor, list[tuple[int, str]]]
"""The pictures of a batch, their rows, and the rows that failed with the reason of each."""


@dataclass
class Skipped:
    """The images that could not be decoded, by row, with the reason of each and what took its place, if anything."""

    reasons: dict[int, str] = field(default_factory=dict)


class ImageRows(Dataset[Pictures]):
    """Pictures of an Index, prepared; a batch at a time, each written once, where the batch lies.

    Args:
        index: names the images.
        preprocessing: makes the tensor.
        augmentations: applied before it, in order, with random numbers that depend on seed, epoch, row and the number
            of the row's repetition only.
        seed: of the augmentations and of the substitutes.
        cache: keeps what is prepared, of the same preprocessing.

    Attributes:
        substitutes: the rows of which one, drawn by seed, epoch and row, takes the place of a picture that cannot be
            read; none where it is left out.
    """

    def __init__(
        self,
        index: Index,
        preprocessing: Preprocessing,
        augmentations: Sequence[Augmentation] = (),
        seed: int = 0,
        cache: SquareCache | None = None,
    ) -> None:
        self.cache = cache
        self.substitutes = np.zeros(0, dtype=np.int64)
        self.index = index
        self.preprocessing = preprocessing
        self.augmentations = list(augmentations)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: Place) -> Pictures:
        return self.__getitems__([place])

    def __getitems__(self, places: Sequence[Place]) -> Pictures:
        side = self.preprocessing.image_size
        images_BHWC = room((len(places), side, side, 3))
        out_BHWC = images_BHWC.numpy()
        rows: list[int] = []
        failures: list[tuple[int, str]] = []
        for place in places:
            try:
                self.prepare(place, out_BHWC[len(rows)])
            except ImageError as error:
                other, reason = self._substitute(place, out_BHWC[len(rows)]), str(error)
                failures.append((place[1], reason if other is None else f"{reason}; row {other} took its place"))
                rows += [] if other is None else [other]
            else:
                rows.append(place[1])
        return images_BHWC[: len(rows)].permute(0, 3, 1, 2), torch.tensor(rows, dtype=torch.int64), failures

    def prepare(self, place: Place, out_HWC: np.ndarray) -> None:
        """Write the pixels of a row into an array.

        Raises:
            ImageError: the image cannot be decoded.
        """
        epoch, row, repetition = place
        augmentations = self.augmentations_of(epoch)
        random = self.random(epoch, row, repetition) if augmentations else None
        image = self.index.image(row)

        def prepare(these: Sequence[Augmentation]) -> None:
            prepare_bytes(self.content(row), location(image, row), self.preprocessing, these, random, out_HWC)

        if self.cache is not None and keeps(augmentations):
            self.cache.fill(image, augmentations, random, out_HWC, prepare)
        else:
            prepare(augmentations)

    def content(self, row: int) -> bytes:
        """The bytes of a row's image.

        Raises:
            ImageError: they cannot be read.
        """
        place = self.index.image(row)
        return read_image(place, location(place, row))

    def _substitute(self, place: Place, out_HWC: np.ndarray) -> int | None:
        """The row whose pixels were written in the place of another; None where there is none that can be read."""
        epoch, row, repetition = place
        if not len(self.substitutes):
            return None
        random = np.random.default_rng((self.seed, epoch, row, repetition, OF_SUBSTITUTE))
        for other in random.choice(self.substitutes, TRIES).tolist():
            try:
                self.prepare((epoch, other, repetition + 1), out_HWC)
            except ImageError:
                continue
            return int(other)
        return None

    def augmentations_of(self, epoch: int) -> Sequence[Augmentation]:
        """The augmentations of an epoch."""
        return self.augmentations

    def random(self, epoch: int, row: int, repetition: int = 0) -> np.random.Generator:
        """The random numbers of the augmentations of a row."""
        return np.random.default_rng((self.seed, epoch, row, repetition) if repetition else (self.seed, epoch, row))


class BatchOrder:
    """Which rows form which batch: shuffled by seed and epoch, or in order; each process takes its own share.

    The rows of an epoch are the same for any number of processes, but for those repeated at its very end.

    Args:
        rows: the row numbers to go through.
        batch_size: rows in a batch of one process; the last batch may be smaller.
        shuffle: another order in each epoch.
        seed: of the order; the same seed gives the same order, however many workers there are.
        rank, processes: process ``rank`` of ``processes`` takes every ``processes``-th row of what they take
            together in one step, ``batch_size`` times ``processes`` rows. All take the same number of steps; where
            the last one has fewer rows than processes, rows are repeated.
        plan: how often an epoch takes each of the rows, in random order; each once where not given.

    Attributes:
        epoch: the number of the epoch to go through.
        start: the place of the first batch, from 0; those before it are left out.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        processes: int = 1,
        plan: EpochPlan | None = None,
    ) -> None:
        self.rows = np.asarray(rows)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank, self.processes = rank, processes
        self.plan = plan
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[list[Place]]:
        rows, repetitions = self._order()
        together = self.batch_size * self.processes
        for first in range(self.start * together, len(rows), together):
            places = np.arange(first, min(first + together, len(rows)))
            # A process without a batch would leave the others waiting for its gradient.
            places = places if len(places) >= self.processes else np.resize(places, self.processes)
            yield [(self.epoch, int(rows[at]), int(repetitions[at])) for at in places[self.rank :: self.processes]]

    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the epoch, and for each how many times it came before."""
        if self.plan is not None:
            drawn, repetitions = self.plan.draw(self.seed, self.epoch)
            return self.rows[drawn], repetitions
        rows = self.rows
        if self.shuffle:
            rows = np.random.default_rng((self.seed, self.epoch)).permutation(rows)
        return rows, np.zeros(len(rows), dtype=np.int64)

    def random(self, place: int) -> np.random.Generator:
        """The random numbers of a batch of this epoch, by its place; of its own for each process."""
        return np.random.default_rng((self.seed, self.epoch, place, self.rank, OF_BATCH))

    def __len__(self) -> int:
        length = len(self.rows) if self.plan is None else self.plan.length
        return -(-length // (self.batch_size * self.processes))


class Loader:
    """Iterates over batches of an Index; one pass is one epoch.

    Args:
        images: the prepared pictures.
        order: the rows of each batch.
        difficult: what labels marked difficult count as; see ``Index.targets``.
        bad_images: ``stop`` raises at an image that cannot be decoded, ``skip`` leaves it out and counts it,
            ``substitute`` counts it and takes another row of the order in its place.
        workers: processes that decode; ``auto`` is one less than the cores, at least 1 and at most 8; 0 decodes
            in this process.
        mixture: mixes the pictures of each batch, with random numbers that depend on the order's seed, the epoch and
            the number of the batch only.

    Attributes:
        skipped: the images left out or substituted so far.

    Raises:
        ImageError: an image cannot be decoded and ``bad_images`` is ``stop``.
        WorkerError: a worker was killed.
    """

    def __init__(
        self,
        images: ImageRows,
        order: BatchOrder,
        difficult: str = "unknown",
        bad_images: str = "stop",
        workers: int | str = "auto",
        mixture: Mixture | None = None,
    ) -> None:
        if bad_images not in BAD_IMAGES:
            raise SettingError(f"data.bad_images = {bad_images!r} is not known{suggestion(bad_images, BAD_IMAGES)}")
        self.images, self.order = images, order
        if bad_images == "substitute":
            images.substitutes = order.rows
        self.difficult, self.bad_images = difficult, bad_images
        self.mixture = mixture
        self.skipped = Skipped()
        count = worker_count(workers)
        self._loader = DataLoader(
            images,
            batch_sampler=order,
            num_workers=count,
            collate_fn=_as_it_is,
            # Without its own, it draws from training's random state: a resumed run would differ from a whole one.
            generator=torch.Generator(),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=count > 0,
            prefetch_factor=4 if count else None,
            worker_init_fn=stay_for_main if count else None,
        )

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; images are uint8 (B, 3, H, W), in memory channels last.

        Args:
            start: the place of the first batch; nothing of those before it is decoded.
        """
        self.order.epoch, self.order.start = number, start
        for place, (images, rows, failures) in enumerate(surviving(self._loader), start):
            if failures:
                self._note(failures)
            if not len(rows) and require_alone(self.order.processes, failures):
                continue
            targets = torch.from_numpy(self.images.index.targets(rows.numpy(), self.difficult))
            batch = Batch(images, (targets == 1).float(), targets >= 0, rows, place=place)
            yield batch if self.mixture is None else self.mixture(batch, self.order.random(place))

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def _note(self, failures: list[tuple[int, str]]) -> None:
        if self.bad_images == "stop":
            raise ImageError(f"{failures[0][1]}; or set data.bad_images=skip to leave such images out")
        self.skipped.reasons.update(dict(failures))


def _as_it_is(pictures: Any) -> Any:
    """A batch is made whole by ``ImageRows``."""
    return pictures
