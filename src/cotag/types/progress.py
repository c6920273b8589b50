"""How long work says how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Task(Protocol):
    """One piece of long work."""

    def advance(self, steps: int = 1, **info: Any) -> None:
        """Say that ``steps`` more are done; ``info`` are short facts to show (loss=0.12)."""


class Progress(Protocol):
    """Shows tasks; the command line gives one that draws bars."""

    def task(self, title: str, total: int) -> Any:
        """A context manager that yields a Task of ``total`` steps."""

    def say(self, message: str) -> None:
        """One line of news."""


class _SilentTask:
    def advance(self, steps: int = 1, **info: Any) -> None:
        pass


class Silent:
    """A Progress that shows nothing."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        yield _SilentTask()

    def say(self, message: str) -> None:
        pass
