"""The processes that decode pictures: how many, and what is said when one dies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from cotag.errors import WorkerError

Item = TypeVar("Item")


KILLED = (
    "a process that decodes pictures was killed, most often by the system for want of memory ({}); set data.workers "
    "lower (0 decodes without processes) or a smaller train.batch_size, and go on with --resume where the run has "
    "checkpoints"
)


def worker_count(workers: int | str) -> int:
    """The number of decoding processes that a setting stands for."""
    if workers == "auto":
        return max(1, min(8, len(os.sched_getaffinity(0)) - 1)) if hasattr(os, "sched_getaffinity") else 1
    return int(workers)


def surviving(batches: Iterable[Item]) -> Iterator[Item]:
    """What workers give; their death is one line.

    Raises:
        WorkerError: a worker was killed, or left.
    """
    try:
        yield from batches
    except (EOFError, ConnectionError, FileNotFoundError) as error:
        # What a worker left in the queue is fetched from it over a socket: there is none any more. What was raised
        # within a worker comes with its traceback as text.
        if "in DataLoader worker process" in str(error):
            raise
        raise WorkerError(KILLED.format("it left before its batch was fetched")) from error
    except RuntimeError as error:
        said = death_of(error)
        if said is None:
            raise
        raise WorkerError(said) from error


def death_of(error: BaseException) -> str | None:
    """What to say where torch tells that a worker died; None where it tells something else.

    torch may raise this wherever the main process is, so not only where it waits for a batch.
    """
    told = " ".join(str(error).split())
    if not isinstance(error, RuntimeError) or not told.startswith("DataLoader worker"):
        return None
    if "Bus error" in told:
        return (
            "a process that decodes pictures found no room in shared memory (/dev/shm); make it larger, or set "
            "data.workers=0 or a smaller train.batch_size"
        )
    return KILLED.format(told.partition(".")[0])
