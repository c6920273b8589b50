from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotag.data.colors import color_statistics
from cotag.data.table import read_table
from cotag.errors import ImageError
from cotag.types.index import Index


@pytest.fixture
def index(draw: Callable[..., Path], tmp_path: Path) -> Index:
    found = read_table(draw(tmp_path / "pictures", 3, splits=False))
    pixels = np.zeros((2, 4, 3), dtype=np.uint8)
    pixels[:, :, 0], pixels[0, :, 1], pixels[1, :, 1] = 255, 10, 40
    Image.fromarray(pixels).save(found.image(1))
    return found


def test_mean_deviation_and_histogram_of_each_channel(index: Index) -> None:
    found = color_statistics(index, np.array([2, 1]))
    assert found.shape == (2, 30)
    assert found.dtype == np.float32
    mean, deviation, histograms = found[1, :3], found[1, 3:6], found[1, 6:].reshape(3, 8)
    np.testing.assert_allclose(mean, [1, 25 / 255, 0], atol=1e-6)
    np.testing.assert_allclose(deviation, [0, 15 / 255, 0], atol=1e-6)
    assert histograms.argmax(1).tolist() == [7, 0, 0]
    assert histograms[1].tolist() == [0.5, 0.5, 0, 0, 0, 0, 0, 0]


def test_a_picture_that_cannot_be_read(index: Index) -> None:
    index.image(2).write_bytes(b"")
    with pytest.raises(ImageError, match=r"\(row 2\): is empty"):
        color_statistics(index, np.arange(3))
