"""Filling a feature bank: pictures through the backbone, in parts that are written whole, beside other processes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cotag.data.augmentations import Augmentation, Named, build_augmentations, with_settings
from cotag.data.loader import BatchOrder, ImageRows, Loader, Place
from cotag.errors import ImageError, SettingError, StorageError, TrainingError
from cotag.models.tagger import Tagger
from cotag.training.bank_lock import Claims
from cotag.training.feature_bank import FeatureBank
from cotag.training.image_digests import digest_bytes
from cotag.types.batch import Batch
from cotag.types.index import Index
from cotag.types.progress import Progress, Task

PART_IMAGES, PART_BYTES = 4096, 1 << 26
CLAIM_BATCHES = 16
PAUSE, PATIENCE = 0.2, 600.0


@dataclass(frozen=True)
class Views:
    """Which augmented views of an image are computed beside the image itself, which is view 0.

    Attributes:
        count: how many; each has features of its own.
        augment: the names of the augmentations, with or without settings, in their order.
        seed: of their random numbers, which depend on it, the number of the view and the image's bytes only.
        rows: the images that have such views, of all others every view is the image itself; None for all.

    Raises:
        SettingError: views without augmentations, which would all be the same, or augmentations without a view.
    """

    count: int = 0
    augment: tuple[Named, ...] = ()
    seed: int = 0
    rows: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise SettingError(f"data.views = {self.count}: must be 0 or more")
        if self.count and not self.augment:
            raise SettingError(
                f"data.views = {self.count}: without data.augment all views are the same; name augmentations"
            )
        if self.augment and not self.count:
            raise SettingError("data.augment: is used by no view; set data.views, such as 4, or leave it out")

    def has(self, row: int, view: int) -> bool:
        """Whether this view of an image is another than the image itself."""
        return view > 0 and (self.rows is None or row in self.rows)

    def key(self, digest: bytes, row: int, view: int) -> bytes:
        """Where the bank keeps a view of the image in this row, whose file has this digest."""
        if not self.has(row, view):
            return digest
        augment = [with_settings(named) for named in self.augment]
        told = json.dumps([augment, self.seed, view], sort_keys=True).encode()
        return hashlib.blake2b(digest + told, digest_size=16).digest()


class Pictures(ImageRows):
    """Pictures that are known by their digests, on which their augmentations depend.

    Args:
        index: names the images.
        tagger: prepares them.
        views: how they are augmented.
        digests: of the rows' files.
    """

    def __init__(self, index: Index, tagger: Tagger, views: Views, digests: dict[int, bytes]) -> None:
        augmentations = build_augmentations(views.augment, tagger.preprocessing.image_size)
        super().__init__(index, tagger.preprocessing, augmentations, views.seed)
        self.digests = digests

    def augmentations_of(self, epoch: int) -> Sequence[Augmentation]:
        """Those of one view; none of the image itself."""
        return self.augmentations if epoch else ()

    def random(self, epoch: int, row: int, repetition: int = 0) -> np.random.Generator:
        """The random numbers of one view of an image."""
        return np.random.default_rng((self.seed, epoch, int.from_bytes(self.digests[row], "little")))

    def content(self, row: int) -> bytes:
        """The bytes of a row's image.

        Raises:
            ImageError: they cannot be read, or are no longer those of its digest.
        """
        data = super().content(row)
        # Its features would be filed under what it was before.
        if digest_bytes(data) != self.digests[row]:
            raise ImageError(f"{self.index.image(row)} (row {row}): changed while features were computed; run again")
        return data


class Unclaimed(BatchOrder):
    """Batches of the rows that no other process computes, claimed shortly before they are read.

    Args:
        claims: of this process.
        wanted: rows by their keys in the bank.
        batch_size: rows in a batch.
    """

    def __init__(self, claims: Claims, wanted: dict[bytes, int], batch_size: int) -> None:
        super().__init__(np.array(list(wanted.values())), batch_size)
        self.claims, self.wanted = claims, wanted

    def __iter__(self) -> Iterator[list[Place]]:
        keys, together = list(self.wanted), CLAIM_BATCHES * self.batch_size
        for start in range(0, len(keys), together):
            rows = [self.wanted[key] for key in self.claims.take(keys[start : start + together])]
            for at in range(0, len(rows), self.batch_size):
                yield [(self.epoch, row, 0) for row in rows[at : at + self.batch_size]]


@dataclass
class Extraction:
    """The work of one process on a bank.

    Attributes:
        tagger: its backbone, on the device.
        bank: takes the features.
        pictures: the images.
        batch_size, bad_images, workers: of the loader.
        progress: hears of waiting.
        failed: rows that could not be read so far, with the reason.
        computed: images that went through the backbone so far.
    """

    tagger: Tagger
    bank: FeatureBank
    pictures: Pictures
    batch_size: int
    bad_images: str
    workers: int | str
    progress: Progress

    def __post_init__(self) -> None:
        self.failed: dict[int, str] = {}
        self.computed = 0

    def complete(self, view: int, wanted: dict[bytes, int], claims: Claims, task: Task) -> None:
        """Have one view of all wanted images in the bank, whoever computes them; those that failed are left out.

        Args:
            view: its number.
            wanted: rows by their keys in the bank.
        """
        waited = 0.0
        while missing := self._missing(wanted):
            if waited < PATIENCE and claims.all_taken(list(missing)):
                if not waited:
                    self.progress.say(
                        f"features: another run computes {len(missing):,} of these images; waiting for it"
                    )
                time.sleep(PAUSE)
                waited += PAUSE
                found = len(missing) - len(self._missing(missing))
                task.advance(found)
                waited = PAUSE if found else waited
                continue
            claims.ignores_others = waited >= PATIENCE
            self._compute(view, missing, claims, task)
            claims.drop()

    def _missing(self, wanted: dict[bytes, int]) -> dict[bytes, int]:
        missing = self.bank.missing(list(wanted))
        return {key: wanted[key] for key in missing if wanted[key] not in self.failed}

    def _compute(self, view: int, wanted: dict[bytes, int], claims: Claims, task: Task) -> None:
        """Compute what no other process has claimed, and put it into the bank part by part."""
        order = Unclaimed(claims, wanted, self.batch_size)
        loader = Loader(self.pictures, order, "unknown", self.bad_images, self.workers)
        keys = {row: key for key, row in wanted.items()}
        waiting: list[tuple[list[bytes], np.ndarray]] = []

        def keep() -> None:
            pieces = waiting.copy()
            waiting.clear()
            if pieces:
                self.bank.add([key for part, _ in pieces for key in part], np.concatenate([part for _, part in pieces]))

        try:
            for batch in loader.epoch(view):
                rows = batch.rows_B.tolist()
                waiting.append(([keys[row] for row in rows], self._of_batch(batch)))
                self.computed += len(rows)
                task.advance(len(rows))
                images = sum(len(part) for part, _ in waiting)
                if images >= PART_IMAGES or sum(part.nbytes for _, part in waiting) >= PART_BYTES:
                    keep()
        finally:
            # What stops this loses nothing that was computed.
            keep()
            self.failed.update(loader.skipped.reasons)

    def _of_batch(self, batch: Batch) -> np.ndarray:
        """The features of a batch; maps in half precision, which keeps 3 digits of each value."""
        reads, half = str(self.tagger.head.reads), self.bank.dtype == np.float16
        with torch.inference_mode():
            images = batch.images_BCHW.to(self.tagger.scale.device).to(memory_format=torch.channels_last)
            found = self.tagger.features(images)
            kept = (found.full_map().contiguous() if half else found.pool(reads)).float()
            self._require_range(kept, batch.rows_B.tolist())
            return (kept.half() if half else kept).cpu().numpy()

    def _require_range(self, kept: torch.Tensor, rows: list[int]) -> None:
        """Refuse features that are not finite, or become so in the bank.

        Raises:
            TrainingError: names the image.
        """
        most = float(np.finfo(self.bank.dtype).max)
        largest = kept.abs().flatten(1).amax(1)
        for row, value in zip(rows, largest.tolist(), strict=True):
            if value <= most:
                continue
            image, name = f"{self.pictures.index.image(row)} (row {row})", self.tagger.settings["backbone"]
            if np.isfinite(value):
                raise TrainingError(
                    f"{image}: backbone {name} gives {value:.6g} in its map, above the {most:g} that half precision "
                    "holds; choose a head with avg or max pooling, or set train.mode=end_to_end"
                )
            raise TrainingError(f"{image}: backbone {name} gives features that are not finite; correct model.weights")


def map_shape(tagger: Tagger) -> tuple[int, ...]:
    """The shape of the map that a tagger's backbone gives of one image: (D, H, W)."""
    side = tagger.preprocessing.image_size
    blank = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=tagger.scale.device)
    with torch.inference_mode():
        return tuple(tagger.features(blank).full_map().shape[1:])


def fill(extraction: Extraction, wanted: list[dict[bytes, int]], total: int) -> None:
    """Have all views of the wanted images in the bank.

    Args:
        wanted: for each view the rows by their keys in the bank.
        total: how many are missing.

    Raises:
        StorageError: the disk is full; says how many are kept and how to go on.
    """
    bank, name = extraction.bank, extraction.tagger.settings["backbone"]
    try:
        with Claims(bank.folder, bank.missing) as claims, extraction.progress.task(f"features ({name})", total) as task:
            for view, keys in enumerate(wanted):
                extraction.complete(view, keys, claims, task)
    except StorageError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        left = sum(len(bank.missing(list(keys))) for keys in wanted)
        raise StorageError(
            f"{bank.folder}: features could not be written ({reason}); free space or set COTAG_CACHE to another "
            f"folder, and run again: {total - left:,} of {total:,} are kept here"
        ) from error
