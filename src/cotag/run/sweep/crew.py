"""Work done by several threads at once, each with a processor of its own, and kept in the order that it was given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

T = TypeVar("T")


class Crew:
    """As many threads as torch may use processors, each of which computes with one.

    Small products of matrices gain little from being divided among processors, and wait for the slowest part where the
    machine is busy; two fits side by side do not wait for each other. What is given must draw no random numbers from
    torch's own generator, which all threads share. Use it as a context.
    """

    def __init__(self) -> None:
        self.size = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.size, initializer=torch.set_num_threads, initargs=(1,))
        self._waiting: deque[tuple[Future[object], Callable[[object], None]]] = deque()

    def give(self, work: Callable[[], T], keep: Callable[[T], None]) -> None:
        """Have ``work`` done, and give what it returns to ``keep``, in the thread that calls; both may raise."""
        self._waiting.append((self._pool.submit(work), keep))  # type: ignore[arg-type]
        # A little is ahead, so that no thread is idle while the next work is prepared.
        while len(self._waiting) > self.size + 1:
            self._keep_first()

    def _keep_first(self) -> None:
        future, keep = self._waiting.popleft()
        keep(future.result())

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._waiting and error is None:
                self._keep_first()
        finally:
            self._pool.shutdown(cancel_futures=True)
            # New threads take over the last number that any thread set.
            torch.set_num_threads(self.size)
