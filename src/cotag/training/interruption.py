"""SIGTERM and Ctrl-C while a training runs: noted when they come, obeyed where a checkpoint is written."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from cotag.errors import Terminated

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Within so many seconds a second Ctrl-C is the first one again, which a launcher passed on.
TOGETHER = 0.5


class Left(BaseException):
    """A signal came where work may be left at once; see ``Interruption.may_leave``."""


class Interruption:
    """Takes SIGTERM and Ctrl-C in its block; outside of the main thread it takes none.

    What was installed before decides what a signal does in the end, is in its place again after the block, and a
    signal that it ignores stays ignored. A second Ctrl-C is obeyed at once.

    Attributes:
        signal: what came and was not obeyed yet; 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}
        self._came, self._leaves = 0.0, False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {key: how for key, how in handlers.items() if how not in (None, signal.SIG_IGN)}
        self._install()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()
        if kind is None and self.signal:
            self.obey(self.signal)
            self._restore()

    @contextmanager
    def may_leave(self) -> Iterator[None]:
        """Within the block a signal that came, or comes, raises ``Left``."""
        try:
            self._leaves = True
            if self.signal:
                raise Left
            yield
        finally:
            self._leaves = False

    def obey(self, number: int) -> None:
        """Do what the signal does without this.

        Raises:
            Terminated: at SIGTERM, where no handler was installed.
            KeyboardInterrupt: at Ctrl-C, where none was installed but Python's.
        """
        self.signal = 0
        before = self._before.get(number, signal.SIG_DFL)
        self._restore()
        if callable(before):
            before(number, None)
        elif number == signal.SIGTERM:
            raise Terminated
        else:
            raise KeyboardInterrupt
        # Whoever installed the handler lets the training go on.
        self._install()

    def _install(self) -> None:
        for number in self._before:
            signal.signal(number, self._note)

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal:
            if number == signal.SIGINT and now - self._came > TOGETHER:
                self.obey(number)
            return
        self.signal, self._came = number, now
        if self._leaves:
            self._leaves = False
            raise Left
