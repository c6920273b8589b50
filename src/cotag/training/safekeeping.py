"""When a training writes a checkpoint, and when it ends because a signal asks for it; for all its processes at once."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from accelerate.utils import gather_object

from cotag.errors import ResumeError
from cotag.storage import write_text
from cotag.training.checkpoint import Checkpoints, TrainingState, own_share
from cotag.training.interruption import Interruption
from cotag.training.running_loss import RunningLoss
from cotag.training.step import Steps
from cotag.training.timing import Timed
from cotag.types.progress import Progress

# Processes ask one another about once in so many seconds, at least every so many steps.
ASK_SECONDS, ASK_STEPS = 1.0, 64


class Agreement:
    """Whether any process was told to end, and whether the first finds a checkpoint due; known to all at one step.

    Args:
        summed: numbers summed over all processes.
        processes: how many there are; one alone asks nobody.
    """

    def __init__(self, summed: Callable[[list[float]], list[float]], processes: int) -> None:
        self._summed, self._processes = summed, processes
        self._left = self._every = 1
        self._asked = time.monotonic()

    def reached(self, number: int, due: bool, now: bool = False) -> tuple[int, bool]:
        """What holds for all: the signal, 0 for none, and whether a checkpoint is due.

        Args:
            number: the signal that this process was sent, 0 for none.
            due: whether this process finds a checkpoint due.
            now: ask at this step in any case, the same one in all processes.
        """
        if self._processes == 1:
            return number, due
        self._left -= 1
        if self._left > 0 and not now:
            return 0, False
        seconds = time.monotonic() - self._asked
        told = [float(number == signal.SIGTERM), float(number == signal.SIGINT), float(due), seconds / self._every]
        terminated, interrupted, any_due, of_a_step = self._summed(told)
        # All know the same sum, so all ask again at the same step.
        self._every = max(1, min(ASK_STEPS, math.floor(ASK_SECONDS * self._processes / max(of_a_step, 1e-9))))
        self._left, self._asked = self._every, time.monotonic()
        found = signal.SIGTERM if terminated else signal.SIGINT if interrupted else 0
        return int(found), bool(any_due)


class Reads(Protocol):
    """A source of batches that counts what it could not read."""

    reasons: dict[int, str]


class Safekeeping:
    """Writes the checkpoints of a training.

    Args:
        steps: hold all that changes.
        checkpoints: where to; None writes none.
        interruption: the signals that came.
        skipped: images that the batches of training could not read; None where they say nothing of that.
    """

    def __init__(
        self, steps: Steps, checkpoints: Checkpoints | None, interruption: Interruption, skipped: Reads | None
    ) -> None:
        self.steps, self.checkpoints, self.interruption = steps, checkpoints, interruption
        self._skipped = skipped
        self._agreement = Agreement(steps.summed, steps.accelerator.num_processes)
        self._written = time.monotonic()

    def clear(self) -> None:
        """Remove the checkpoints of an earlier training."""
        if self.checkpoints is not None and self.steps.accelerator.is_main_process:
            self.checkpoints.clear()

    def resumed(self, label_hash: str, progress: Progress) -> TrainingState:
        """Go on from the last checkpoint; see ``Checkpoints.load_last``.

        Raises:
            ResumeError, LabelSpaceError: there is nothing to resume from, or it is of other labels.
        """
        if self.checkpoints is None:
            raise ResumeError("this training keeps no checkpoints; train without resume")
        steps = self.steps
        fitted = (steps.plain, steps.kept_optimizer, label_hash, steps.average, steps.criterion)
        state = self.checkpoints.load_last(*fitted, progress)
        steps.scatter()
        if self._skipped is not None:
            self._skipped.reasons.update({int(row): reason for row, reason in state.skipped.items()})
        self._write_history(state)
        return state

    def after_step(self, state: TrainingState, losses: RunningLoss, timed: Timed[Any]) -> None:
        """Write a checkpoint where it is time, or where a signal came, which is then obeyed.

        Raises:
            NonFiniteLoss: the loss of the step is not finite; nothing is written.
            Terminated, KeyboardInterrupt: see ``Interruption.obey``.
        """
        number, due = self._agreement.reached(self.interruption.signal, self._is_due())
        if number or due:
            self.note(state, losses, timed)
            self.save(state)
        self._obey(number)

    def note(self, state: TrainingState, losses: RunningLoss, timed: Timed[Any]) -> None:
        """Put into the state what it does not count by itself.

        Raises:
            NonFiniteLoss: the loss of the last step is not finite.
        """
        losses.settle()
        done = state.unfinished
        done.total, done.samples, done.skipped_steps = losses.total, losses.samples, self.steps.skipped
        done.seconds, done.waited = timed.passed, timed.waited

    def may_leave(self) -> AbstractContextManager[None]:
        """Within the block a signal raises ``Left``, after which ``leave`` has to be called.

        Processes that work together stay together until it ends.
        """
        return self.interruption.may_leave() if self.steps.accelerator.num_processes == 1 else nullcontext()

    def leave(self, state: TrainingState) -> None:
        """Write a checkpoint, where there is anything to go on from, and obey the signal that came."""
        if state.history:
            self.save(state)
        self._obey(self.interruption.signal)

    def after_epoch(self, state: TrainingState) -> None:
        """Write the checkpoint of a whole epoch; obey a signal that came."""
        self.save(state)
        number, _ = self._agreement.reached(self.interruption.signal, False, now=True)
        self._obey(number)

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint; the first process does, and all have to call this at the same step."""
        if self.checkpoints is None:
            return
        steps = self.steps
        steps.gather()
        optimizer = steps.kept_optimizer
        skipped = {} if self._skipped is None else self._skipped.reasons
        told: list[dict[str, Any]] = gather_object([{"share": own_share(state), "skipped": skipped}])
        for one in told:
            state.skipped.update({str(row): reason for row, reason in one["skipped"].items()})
        if steps.accelerator.is_main_process:
            shares = [one["share"] for one in told]
            average, criterion = steps.average, steps.criterion
            self.checkpoints.save_last(steps.plain, optimizer, state, average, criterion, shares)
            self._write_history(state)
        self._written = time.monotonic()

    def _obey(self, number: int) -> None:
        if number:
            # A launcher ends all processes once one of them has ended.
            self.steps.accelerator.wait_for_everyone()
            self.interruption.obey(number)

    def _is_due(self) -> bool:
        minutes = None if self.checkpoints is None else self.checkpoints.minutes
        first = self.steps.accelerator.is_main_process
        return minutes is not None and first and time.monotonic() - self._written >= 60 * minutes

    def _write_history(self, state: TrainingState) -> None:
        if self.checkpoints is not None and self.steps.accelerator.is_main_process:
            write_history(self.checkpoints.folder.parent / "metrics.jsonl", state.history)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one JSON object for each epoch."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in history))
