"""The feature bank: what a frozen backbone says of an image, computed once and kept on disk.

A bank is a folder named by all that determines the features: the backbone's weights, the preprocessing and
what is kept (``avg``, ``max`` or ``map``). In it lie parts, each written whole: an array of features and an
array of the digests of the image files that they belong to. An image is found by the digest of its bytes, so
an image that changed is computed anew, and one that lies in two data sets is computed once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.errors import ImageError
from cotag.models.backbone import fingerprint
from cotag.models.features import Features
from cotag.models.tagger import Tagger
from cotag.storage import cache_folder, whole_folder, write_json
from cotag.types.batch import Batch
from cotag.types.index import Index
from cotag.types.progress import Progress, Task

VERSION = 1
PART_IMAGES = 4096
FEATURES, DIGESTS = "features.npy", "digests.npy"


class FeatureBank:
    """Features by the digest of the image file.

    Args:
        folder: where the parts lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arrays: list[np.ndarray] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        for part in sorted(folder.glob("part-*")):
            self._open(part)

    def _open(self, part: Path) -> None:
        try:
            features = np.load(part / FEATURES, mmap_mode="r")
            digests = np.load(part / DIGESTS)
        except (OSError, EOFError, ValueError):
            # A part that was cut is no loss: its images are computed anew.
            return
        if len(features) != len(digests):
            return
        self._arrays.append(features)
        self._places.update({digest.tobytes(): (len(self._arrays) - 1, row) for row, digest in enumerate(digests)})

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places

    def add(self, digests: list[bytes], features: np.ndarray) -> None:
        """Write one part: N digests of 16 bytes and their features (N, ...)."""
        part = self.folder / f"part-{secrets.token_hex(8)}"
        with whole_folder(part) as temporary:
            np.save(temporary / FEATURES, features)
            np.save(temporary / DIGESTS, np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16))
        self._open(part)

    def get(self, digests: list[bytes]) -> np.ndarray:
        """The features of images that are all in the bank; (N, ...)."""
        places = np.array([self._places[digest] for digest in digests], dtype=np.int64).reshape(-1, 2)
        shape = self._arrays[0].shape[1:] if self._arrays else ()
        found = np.empty((len(digests), *shape), dtype=self._arrays[0].dtype if self._arrays else np.float32)
        for number, array in enumerate(self._arrays):
            here = np.flatnonzero(places[:, 0] == number)
            if len(here):
                found[here] = array[places[here, 1]]
        return found


@dataclass(frozen=True)
class FeatureSet:
    """Features of images of an Index.

    Attributes:
        features: float (N, D) pooled, or (N, D, H, W) maps.
        rows: the N rows of the Index.
        skipped: rows that could not be read, with the reason.
        computed: how many went through the backbone now; the others came from the bank.
    """

    features: np.ndarray
    rows: np.ndarray
    skipped: dict[int, str]
    computed: int

    def of(self, rows: np.ndarray) -> FeatureSet:
        """The part that belongs to some rows, in their order; rows without features are left out."""
        place = {int(row): number for number, row in enumerate(self.rows)}
        kept = np.array([row for row in rows if int(row) in place], dtype=np.int64)
        numbers = np.array([place[int(row)] for row in kept], dtype=np.int64)
        return FeatureSet(self.features[numbers], kept, self.skipped, self.computed)


def bank_folder(tagger: Tagger, reads: str) -> Path:
    """The folder of the bank for a tagger's backbone and preprocessing."""
    about = {
        "version": VERSION,
        "backbone": tagger.settings["backbone"],
        "backbone_args": tagger.settings["backbone_args"],
        "weights": fingerprint(tagger.backbone),
        "preprocessing": tagger.preprocessing.to_json(),
        "reads": reads,
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder("features") / f"{tagger.settings['backbone'].split('/')[-1]}-{reads}-{key}"
    if not (folder / "about.json").is_file():
        write_json(folder / "about.json", about)
    return folder


def compute_features(
    tagger: Tagger,
    index: Index,
    rows: np.ndarray,
    progress: Progress,
    bad_images: str = "stop",
    workers: int | str = "auto",
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> FeatureSet:
    """The features that the tagger's head reads, from the bank where they are, else through the backbone once.

    Stopped by an error, it keeps what it computed; killed, it keeps each part that was complete. A later call goes
    on from there.

    Args:
        rows: row numbers of the Index.
        bad_images: ``stop`` or ``skip``; see ``cotag.data.loader.Loader``.

    Raises:
        ImageError: an image cannot be read and ``bad_images`` is ``stop``, or none can be read.
        StorageError: the disk is full; what was complete stays.
    """
    reads = str(tagger.head.reads)
    bank = FeatureBank(bank_folder(tagger, reads))
    digests, skipped = digest_images(index, rows, bad_images)
    missing = _first_of_each([row for row in digests if digests[row] not in bank], digests)
    if missing:
        images = ImageRows(index, tagger.preprocessing)
        loader = Loader(images, BatchOrder(np.array(missing), batch_size), "unknown", bad_images, workers)
        tagger = tagger.to(device).to(memory_format=torch.channels_last).eval()
        with progress.task(f"features ({tagger.settings['backbone']})", len(missing)) as task:
            _fill(bank, (_of_batch(tagger, batch, reads, device) for batch in loader), digests, task)
        skipped.update(_with_copies(loader.skipped.reasons, digests, index))
    kept = [int(row) for row in rows if int(row) not in skipped]
    if not kept and len(rows):
        raise ImageError(f"none of the {len(rows)} images can be read; the first: {next(iter(skipped.values()))}")
    found = bank.get([digests[row] for row in kept])
    computed = sum(row not in skipped for row in missing)
    return FeatureSet(found, np.array(kept, dtype=np.int64), skipped, computed)


def _fill(
    bank: FeatureBank, computed: Iterable[tuple[np.ndarray, np.ndarray]], digests: dict[int, bytes], task: Task
) -> None:
    """Put rows and their features into the bank, part by part; what stops this loses none that were computed."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def keep() -> None:
        if waiting:
            rows, features = (np.concatenate(pieces) for pieces in zip(*waiting, strict=True))
            waiting.clear()
            bank.add([digests[int(row)] for row in rows], features)

    try:
        for piece in computed:
            waiting.append(piece)
            task.advance(len(piece[0]))
            if sum(len(rows) for rows, _ in waiting) >= PART_IMAGES:
                keep()
    finally:
        keep()


def _with_copies(reasons: dict[int, str], digests: dict[int, bytes], index: Index) -> dict[int, str]:
    """The rows that could not be decoded, and those whose files are copies of them, with the reason."""
    by_digest = {digests[row]: reason for row, reason in reasons.items()}
    copies = {
        row: f"{index.image(row)} (row {row}): is a copy of {by_digest[digest]}"
        for row, digest in digests.items()
        if digest in by_digest and row not in reasons
    }
    return {**reasons, **copies}


def _of_batch(tagger: Tagger, batch: Batch, reads: str, device: torch.device | str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a batch and their features."""
    with torch.inference_mode():
        images = batch.images_BCHW.to(device).to(memory_format=torch.channels_last)
        found = tagger.features(images)
        if reads == "map":
            # A map is large; half precision keeps 3 digits of each value.
            kept = found.full_map().contiguous().half()
        else:
            kept = found.pool(reads).float()
    return batch.rows_B.numpy(), kept.cpu().numpy()


def digest_images(index: Index, rows: np.ndarray, bad_images: str) -> tuple[dict[int, bytes], dict[int, str]]:
    """The 16-byte digest of each row's image file, and why a file could not be read.

    Raises:
        ImageError: a file cannot be read and ``bad_images`` is ``stop``.
    """

    def digest(row: int) -> bytes | OSError:
        try:
            return hashlib.blake2b(index.image(row).read_bytes(), digest_size=16).digest()
        except OSError as error:
            return error

    numbers = [int(row) for row in rows]
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(numbers, pool.map(digest, numbers), strict=True))
    failed = {row: value for row, value in found.items() if isinstance(value, OSError)}
    if failed and bad_images == "stop":
        row, error = next(iter(failed.items()))
        raise ImageError(
            f"{index.image(row)} (row {row}): {error.strerror or error}; {len(failed)} of {len(numbers)} images cannot "
            "be read; correct the paths, or set data.bad_images=skip"
        )
    reasons = {row: f"{index.image(row)} (row {row}): {error.strerror or error}" for row, error in failed.items()}
    return {row: value for row, value in found.items() if isinstance(value, bytes)}, reasons


def _first_of_each(rows: list[int], digests: dict[int, bytes]) -> list[int]:
    """One row for each digest, so that copies of an image are computed once."""
    return list({digests[row]: row for row in reversed(rows)}.values())[::-1]


class FeatureBatches:
    """Batches of cached features for the training loop, in place of pictures.

    Args:
        part: the features.
        targets_NK: int8, 1, 0 or -1 for unknown.
        batch_size: rows in a batch.
        shuffle, seed: the order; see ``BatchOrder``.
    """

    def __init__(
        self, part: FeatureSet, targets_NK: np.ndarray, batch_size: int, shuffle: bool = False, seed: int = 0
    ) -> None:
        self.part, self.targets_NK = part, targets_NK
        self.order = BatchOrder(np.arange(len(part.rows)), batch_size, shuffle, seed)

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        self.order.epoch = number
        for places in self.order:
            numbers = np.array([row for _, row in places])
            targets = torch.from_numpy(self.targets_NK[numbers])
            yield Batch(
                torch.from_numpy(self.part.features[numbers]),
                (targets == 1).float(),
                targets >= 0,
                torch.from_numpy(self.part.rows[numbers]),
            )

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)


def as_features(cached: torch.Tensor, reads: str) -> Features:
    """Cached features as a head takes them."""
    return Features(cached.float()) if reads == "map" else Features(pooled={reads: cached.float()})
