"""What several processes scored, put together: each image once, in the order that was asked for."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather, gather_object

from cotag.training.processes import this_process

# Numbers that go through the device at once.
PIECE = 1 << 24


def gathered(rows: np.ndarray, logits_NK: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows and scores of all processes, in the order of ``asked``; each process gets them all.

    Args:
        rows: int64 (N,), those of this process; none is allowed. One that several processes scored counts once.
        logits_NK: float32, their scores.
        asked: the rows of all processes, each once; some may be missing in what was scored.
    """
    process = this_process()
    if process.num_processes == 1:
        return rows, logits_NK
    counts = gather_object([(len(rows), logits_NK.shape[1] if len(rows) else 0)])
    most, labels = (max(column) for column in zip(*counts, strict=True))
    if not most:
        return rows, logits_NK
    scores = np.zeros((most, labels), dtype=np.float32)
    numbers = np.zeros(most, dtype=np.int64)
    if len(rows):
        scores[: len(rows)], numbers[: len(rows)] = logits_NK, rows
    all_scores, all_numbers = _gathered(scores, process), _gathered(numbers, process)
    kept = np.concatenate([np.arange(count) + rank * most for rank, (count, _) in enumerate(counts)])
    found, first = np.unique(all_numbers[kept], return_index=True)
    place = np.searchsorted(found, asked)
    there = (place < len(found)) & (found[np.minimum(place, len(found) - 1)] == asked)
    return np.asarray(asked)[there], all_scores[kept[first[place[there]]]]


def gathered_reasons(reasons: dict[int, str]) -> dict[int, str]:
    """The images that could not be read, of all processes, by row."""
    if this_process().num_processes == 1:
        return reasons
    return dict(sorted(gather_object(list(reasons.items()))))


def _gathered(part: np.ndarray, process: PartialState) -> np.ndarray:
    """The arrays of all processes, which have the same shape, one after the other."""
    step = max(1, PIECE // max(1, int(np.prod(part.shape[1:]))))
    out = np.empty((process.num_processes, *part.shape), dtype=part.dtype)
    for start in range(0, len(part), step):
        piece = torch.from_numpy(part[start : start + step]).to(process.device)
        out[:, start : start + step] = gather(piece).cpu().numpy().reshape(process.num_processes, *piece.shape)
    return out.reshape(-1, *part.shape[1:])
