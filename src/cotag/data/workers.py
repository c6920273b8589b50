"""The processes that decode pictures: how many, and what is said when one dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from cotag.errors import WorkerError

Item = TypeVar("Item")
ASKS_TO_END = (signal.SIGINT, signal.SIGTERM)

KILLED = (
    "a process that decodes pictures was killed, most often by the system for want of memory ({}); set data.workers "
    "lower (0 decodes without processes) or a smaller train.batch_size, and go on with --resume where the run has "
    "checkpoints"
)


def available_cores() -> int:
    """The cores that this process may use; 2 where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def worker_count(workers: int | str) -> int:
    """The number of decoding processes that a setting stands for."""
    if workers == "auto":
        return max(1, min(8, available_cores() - 1))
    return int(workers)


def surviving(batches: Iterable[Item]) -> Iterator[Item]:
    """What workers give; their death is one line.

    Raises:
        WorkerError: a worker was killed, or left.
    """
    try:
        with _held_back():
            started = iter(batches)
        yield from started
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


@contextmanager
def _held_back() -> Iterator[None]:
    """Processes that start within the block get signals only after ``stay_for_main``."""
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover - Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKS_TO_END)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_for_main(worker: int) -> None:
    """Let a worker outlive a signal that was sent to the whole group of processes: the main process ends it.

    The main process would otherwise hear of its workers' death before it has written its checkpoint. It asks workers
    to end in another way, and by SIGTERM, twice, only where they do not.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_next_time)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKS_TO_END)


def _leave_next_time(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
