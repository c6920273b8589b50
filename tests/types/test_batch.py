"""Batch: moves as a whole."""

from __future__ import annotations

import torch

from cotag.types.batch import Batch, Output


def test_batch_moves_with_its_extras() -> None:
    rows = torch.tensor([4, 2])
    batch = Batch(
        torch.zeros(2, 3, 8, 8),
        torch.zeros(2, 5),
        torch.ones(2, 5, dtype=torch.bool),
        rows,
        {"segments_BHW": torch.zeros(2, 8, 8), "names": ["x", "y"]},
    )
    moved = batch.to("meta")
    assert len(moved) == 2
    tensors = (moved.images_BCHW, moved.targets_BK, moved.known_BK, moved.rows_B, moved.extras["segments_BHW"])
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.known_BK.dtype == torch.bool
    assert moved.extras["names"] == ["x", "y"]
    assert batch.images_BCHW.device.type == "cpu"


def test_outputs_do_not_share_extras() -> None:
    first, second = Output(torch.zeros(1, 2)), Output(torch.zeros(1, 2))
    first.extras["features"] = 1
    assert second.extras == {}
