"""Raw color statistics of pictures: what a model knows that sees no shapes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cotag.data.images import open_image
from cotag.types.index import Index

BINS = 8


def color_statistics(index: Index, rows: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and an 8-bin histogram of each RGB channel; float32 (N, 30), all in [0, 1].

    Raises:
        ImageError: an image cannot be read.
    """

    def of(row: int) -> np.ndarray:
        pixels = np.asarray(open_image(index.image(row), row))
        flat = pixels.reshape(-1, 3)
        shares = [np.bincount(flat[:, channel] // (256 // BINS), minlength=BINS) / len(flat) for channel in range(3)]
        return np.concatenate([flat.mean(0) / 255, flat.std(0) / 255, *shares]).astype(np.float32)

    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(pool.map(of, [int(row) for row in rows])))
