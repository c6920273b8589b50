"""Where the time of an epoch goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Timed(Generic[T]):
    """Batches, with the time that was spent on waiting for them.

    A GPU works through what was queued while this process waits, so that a short wait costs it nothing; no step is
    made to wait for it in order to be timed.

    Args:
        batches: to time.
        seconds, waited: of those that were taken before.

    Attributes:
        waited: seconds in which the next batch was not there.
    """

    def __init__(self, batches: Iterator[T], seconds: float = 0.0, waited: float = 0.0) -> None:
        self._batches = batches
        self._started = time.monotonic() - seconds
        self.waited = waited

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        asked = time.monotonic()
        try:
            return next(self._batches)
        finally:
            self.waited += time.monotonic() - asked

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def seconds(self) -> dict[str, float]:
        """Since the start: ``seconds`` in all, ``seconds_data`` of waiting for batches, and of the rest."""
        passed = self.passed
        parts = {"seconds": passed, "seconds_data": self.waited, "seconds_compute": passed - self.waited}
        return {name: round(value, 2) for name, value in parts.items()}

    def told(self, steps: int) -> dict[str, str]:
        """Milliseconds of a step so far, for the progress line."""
        passed = self.passed
        return {
            "data": f"{1000 * self.waited / steps:.0f}ms",
            "compute": f"{1000 * (passed - self.waited) / steps:.0f}ms",
        }
