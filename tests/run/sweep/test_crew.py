from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cotag.run.sweep.crew import Crew
from cotag.run.sweep.sweep import sweep
from cotag.types.scores import Scores


@pytest.fixture
def two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_work_is_done_at_once_and_kept_in_order_by_who_gave_it() -> None:
    together = threading.Barrier(2, timeout=30)
    kept: list[tuple[int, int, bool]] = []

    def work(number: int) -> tuple[int, int]:
        together.wait()
        time.sleep(0.02 * (number % 2 == 0))
        return number, torch.get_num_threads()

    with Crew() as crew:
        for number in range(4):
            crew.give(
                lambda number=number: work(number),  # type: ignore[misc]
                lambda done: kept.append((*done, threading.current_thread() is threading.main_thread())),
            )
    assert kept == [(number, 1, True) for number in range(4)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("after", [0, 9])
def test_what_work_raises_is_raised_and_no_more_is_begun(after: int) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("the first")
        time.sleep(0.01)

    def give_all() -> None:
        with Crew() as crew:
            for number in range(1 + after):
                crew.give(lambda number=number: work(number), lambda done: None)  # type: ignore[misc]

    with pytest.raises(ValueError, match="the first"):
        give_all()
    assert 9 not in begun
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_sweep_in_two_threads_gives_what_it_gives_in_one(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    found = []
    settings = [*tiny, "model.head=gcn", "model.head_args.widths=[9]", "train.optimizer=adamw", "train.epochs=3",
                "train.batch_size=16", "train.weight_decay=0.01"]  # fmt: skip
    grid = ["graph.tau=0.1,0.2", "train.learning_rate=0.01,0.1"]
    for threads in (2, 1):
        torch.set_num_threads(threads)
        swept = sweep(pictures, "quick", grid, 2, out=tmp_path / str(threads), overrides=settings)
        files = sorted((swept.folder / "trials").glob("*.parquet"))
        found.append([Scores.load(path) for path in files])
    assert len(found[0]) == len(found[1]) == 10
    for two, one in zip(*found, strict=True):
        assert two.origin == one.origin
        np.testing.assert_allclose(two.scores_NK, one.scores_NK, atol=1e-4)
