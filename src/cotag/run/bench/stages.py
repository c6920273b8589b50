"""Parts of a work with the time that each takes, and how they are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from cotag.errors import DataError
from cotag.types.section import Section

Batches = TypeVar("Batches", bound=Sized)
LEAST_ROUNDS = 3
WINDOWS = 5


@dataclass(frozen=True)
class Stage:
    """A part of the work.

    Attributes:
        name: what is done.
        seconds: for one image, the median of several rounds.
    """

    name: str
    seconds: float

    @property
    def rate(self) -> float | None:
        """Images per second; None where it takes no time."""
        return round(1 / self.seconds, 1) if self.seconds > 0 else None


@dataclass(frozen=True)
class Measured:
    """What was measured, and what follows.

    Attributes:
        title: what was measured, on what.
        stages: the parts.
        limit: the part that the whole waits for.
        advice: what would help, one line each, the most helpful first.
    """

    title: str
    stages: Sequence[Stage]
    limit: str
    advice: Sequence[str]

    def section(self) -> Section:
        """As a table."""
        rows = [[stage.name, round(1000 * stage.seconds, 3), stage.rate] for stage in self.stages]
        text = "\n".join([f"the limit: {self.limit}", *self.advice])
        return Section(self.title, text, ("part", "ms an image", "images/s"), rows)

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        stages = [{**asdict(stage), "images_per_second": stage.rate} for stage in self.stages]
        return {"title": self.title, "stages": stages, "limit": self.limit, "advice": list(self.advice)}


def rounds(work: Callable[[], Any], images: int, seconds: float) -> float:
    """Seconds that work takes for one of its images: the median of rounds, after one that is not counted.

    Args:
        seconds: for all rounds; three are made even so, where they take no more than three times as long.
    """
    work()
    spent: list[float] = []
    while goes_on(len(spent), sum(spent), seconds):
        started = settled()
        work()
        spent.append(settled() - started)
    return statistics.median(spent) / images


def goes_on(made: int, spent: float, seconds: float) -> bool:
    """Whether another round is made, after ``made`` of them in ``spent`` seconds; see ``rounds``."""
    return not made or spent < seconds or (made < LEAST_ROUNDS and spent < LEAST_ROUNDS * seconds)


def settled() -> float:
    """The time in seconds once the GPU, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def paced(
    epoch: Callable[[int], Iterable[Batches]],
    seconds: float,
    work: Callable[[Batches], Any] = len,
    size: Callable[[Batches], int] = len,
) -> float:
    """Seconds for one image of batches that come one after the other, epoch by epoch, with what is done to each.

    The median of up to five windows of equally many batches, after the first one, for which processes are started.

    Args:
        epoch: the batches of an epoch by its number, from 1.
        seconds: in all; four batches are taken even so, where they take no more than three times as long.
        size: the number of images of a batch.

    Raises:
        DataError: an epoch has no batch.
    """
    times: list[float] = []
    sizes: list[int] = []
    number, begun = 0, 0.0
    while not times or goes_on(len(times) - 1, times[-1] - begun, seconds):
        number, before = number + 1, len(times)
        for batch in epoch(number):
            work(batch)
            times.append(time.perf_counter())
            sizes.append(size(batch))
            if len(times) == 1:
                begun = times[0]
            if not goes_on(len(times) - 1, times[-1] - begun, seconds):
                break
        if len(times) == before:
            raise DataError("no image could be read; look at the paths, or run cotag stats on the data")
    windows = min(WINDOWS, len(times) - 1)
    spent, taken = (np.array_split(values, windows) for values in (np.diff(times), np.array(sizes[1:])))
    return float(np.median([a.sum() / b.sum() for a, b in zip(spent, taken, strict=True)]))
