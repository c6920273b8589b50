"""150 small scenes, drawn once, and scenes that are put together by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cotag.data.scenes.draw import stamp_of
from cotag.data.scenes.scene import Placed, Scene, Thing
from cotag.data.scenes.write import write_scenes

COUNT, SIDE, SEED = 150, 64, 3


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 150 scenes of 64 pixels, seed 3."""
    folder = tmp_path_factory.mktemp("scenes") / "drawn"
    write_scenes(folder, COUNT, SIDE, SEED)
    return folder


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., Scene]:
    """Makes a scene of (thing, y, x), back to front, on black."""

    def make(*things: tuple[Thing, int, int], side: int = 100) -> Scene:
        placed = [Placed(thing, stamp_of(thing, side), y, x, side) for thing, y, x in things]
        return Scene(side, "blocks", "plain", np.zeros((side, side, 3), dtype=np.float32), placed)

    return make
