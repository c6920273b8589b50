"""Logits of a model for a whole pass over batches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from cotag.types.batch import Batch
from cotag.types.progress import Progress, Silent


def score_batches(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    title: str = "scores",
    total: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers int64 (N,) and float32 logits (N, K), in the order of the batches.

    The model is put into evaluation mode, and back into training where it was.
    """
    was_training = model.training
    model.eval()
    rows, logits = [], []
    with torch.inference_mode(), (progress or Silent()).task(title, total) as task:
        for batch in batches:
            logits.append(model(batch.images_BCHW.to(device)).logits_BK.float().cpu().numpy())
            rows.append(batch.rows_B.numpy())
            task.advance(len(batch))
    model.train(was_training)
    if not rows:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32)
    return np.concatenate(rows), np.concatenate(logits)
