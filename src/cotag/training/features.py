"""What a frozen backbone says of images, computed once and kept in the feature bank.

An image is found by the digest of its bytes, so an image that changed is computed anew, and one that lies in two
data sets is computed once.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cotag.errors import ImageError
from cotag.models.backbone import fingerprint
from cotag.models.tagger import Tagger
from cotag.storage import cache_folder
from cotag.training.bank_space import make_room
from cotag.training.extraction import Extraction, Pictures, Views, fill, map_shape
from cotag.training.feature_bank import open_bank
from cotag.training.feature_set import FeatureBatches, FeatureSet, as_features
from cotag.training.image_digests import digest_images
from cotag.types.index import Index
from cotag.types.progress import Progress

__all__ = ["FeatureBatches", "FeatureSet", "Views", "as_features", "bank_about", "bank_folder", "compute_features"]

VERSION = 2
PLAIN = Views()


def bank_about(tagger: Tagger, reads: str) -> dict[str, Any]:
    """All that determines what a tagger's backbone says of an image, as it stands in the bank's ``about.json``."""
    return {
        "version": VERSION,
        "backbone": tagger.settings["backbone"],
        "backbone_args": tagger.settings["backbone_args"],
        "weights": fingerprint(tagger.backbone),
        "preprocessing": tagger.preprocessing.to_json(),
        "reads": reads,
    }


def bank_folder(about: dict[str, Any]) -> Path:
    """The folder of the bank of these features."""
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder("features") / f"{about['backbone'].split('/')[-1]}-{about['reads']}-{key}"


def compute_features(
    tagger: Tagger,
    index: Index,
    rows: np.ndarray,
    progress: Progress,
    bad_images: str = "stop",
    workers: int | str = "auto",
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    views: Views = PLAIN,
) -> FeatureSet:
    """The features that the tagger's head reads, from the bank where they are, else through the backbone once.

    Before computing it says how much disk that takes. Stopped by an error, it keeps what it computed; killed, it
    keeps each part that was complete; a later call goes on from there. Processes that compute for the same bank at
    once share the work. Maps are kept in half precision and stay on disk; pooled features come as a plain array.

    Args:
        rows: row numbers of the Index.
        bad_images: ``stop`` or ``skip``; see ``cotag.data.loader.Loader``.
        views: augmented ones, beside the images themselves.

    Raises:
        ImageError: an image cannot be read and ``bad_images`` is ``stop``, or none can be read.
        StorageError: the disk has not enough room, or is full; what was complete stays.
        TrainingError: features are not finite, or too large for half precision.
    """
    about = bank_about(tagger, str(tagger.head.reads))
    maps, depth = about["reads"] == "map", tagger.backbone.num_features
    dtype, shape = (np.float16, (depth, None, None)) if maps else (np.float32, (depth,))
    bank = open_bank(bank_folder(about), about, dtype, shape, progress)
    digests, skipped = digest_images(index, rows, bad_images, progress)
    # Copies of an image are computed once; keys of other views than the first are those of augmented images alone.
    wanted = [_first_rows(digests, views, view) for view in range(views.count + 1)]
    missing = sum(len(bank.missing(list(keys))) for keys in wanted)
    if refused := bank.said():
        progress.say(refused)
    computed = 0
    if missing:
        tagger = tagger.to(device).to(memory_format=torch.channels_last).eval()
        make_room(bank.folder, missing, map_shape(tagger) if maps else (depth,), bank.dtype.itemsize, progress)
        pictures = Pictures(index, tagger, views, digests)
        work = Extraction(tagger, bank, pictures, batch_size, bad_images, workers, progress)
        fill(work, wanted, missing)
        computed = work.computed
        skipped.update(_with_copies(work.failed, digests, index))
    kept = [int(row) for row in rows if int(row) not in skipped]
    if not kept and len(rows):
        raise ImageError(f"none of the {len(rows)} images can be read; the first: {next(iter(skipped.values()))}")
    found = [bank.rows([views.key(digests[row], row, view) for row in kept]) for view in range(views.count + 1)]
    plain = [stored if maps else np.asarray(stored) for stored in found]
    return FeatureSet(plain[0], np.array(kept, dtype=np.int64), skipped, computed, tuple(plain[1:]))


def _first_rows(digests: dict[int, bytes], views: Views, view: int) -> dict[bytes, int]:
    """For each key of what is computed for a view the first row that has it."""
    found: dict[bytes, int] = {}
    for row, digest in digests.items():
        if view == 0 or views.has(row, view):
            found.setdefault(views.key(digest, row, view), row)
    return found


def _with_copies(reasons: dict[int, str], digests: dict[int, bytes], index: Index) -> dict[int, str]:
    """The rows that could not be decoded, and those whose files are copies of them, with the reason."""
    by_digest = {digests[row]: reason for row, reason in reasons.items()}
    copies = {
        row: f"{index.image(row)} (row {row}): is a copy of {by_digest[digest]}"
        for row, digest in digests.items()
        if digest in by_digest and row not in reasons
    }
    return {**reasons, **copies}
