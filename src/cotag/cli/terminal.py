"""What a person sees: progress on stderr, sections and JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cotag.evaluation.report import plain
from cotag.training.launch import launched
from cotag.types.section import Section

BAR_WIDTH = 24


class _Bar:
    def __init__(self, bars: Progress, number: TaskID) -> None:
        self._bars, self._number = bars, number

    def advance(self, steps: int = 1, **info: Any) -> None:
        self._bars.advance(self._number, steps)
        if info:
            self._bars.update(self._number, info="  ".join(f"{name} {value}" for name, value in info.items()))


class TerminalProgress:
    """Progress bars with an estimate on stderr; only the news where stderr is no terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, quiet=not is_first_process())
        self._bars: Progress | None = None

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[_Bar]:
        """A bar of ``total`` steps; a task inside a task is a bar below it."""
        outermost = self._bars is None
        bars = self._bars or Progress(
            TextColumn("{task.description}"),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[info]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        number = bars.add_task(title, total=total, info="")
        if not outermost:
            yield _Bar(bars, number)
            bars.remove_task(number)
            return
        self._bars = bars
        try:
            with bars:
                yield _Bar(bars, number)
        finally:
            self._bars = None

    def say(self, message: str) -> None:
        """One line of news."""
        self.console.print(Text(message), soft_wrap=True)


def is_first_process() -> bool:
    """Whether this is the process that speaks, of those that a launcher such as torchrun or srun started."""
    launched(os.environ)
    return os.environ.get("RANK", "0") == "0"


def leave_at_once(message: str) -> None:
    """End this process from any of its threads, though the main one waits for what will not come."""
    sys.stderr.write(f"cotag: {message}\n")
    sys.stderr.flush()
    os._exit(1)


def on_terminal() -> bool:
    """Whether stdout is a terminal, whose width is then kept to."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False))


def print_sections(sections: Sequence[Section], most_rows: int = 40) -> None:
    """Sections as text and tables on stdout; long tables are cut, and say so."""
    console = Console(highlight=False, width=None if on_terminal() else 120)
    for section in sections:
        console.print(Text(f"\n{section.title}", style="bold"))
        if section.text:
            console.print(Text(section.text), soft_wrap=False)
        if section.columns:
            console.print(_table(section, most_rows))
            if len(section.rows) > most_rows:
                console.print(Text(f"{len(section.rows) - most_rows} more rows (--json prints all)"))


def _table(section: Section, most_rows: int) -> Table:
    rows = list(section.rows[:most_rows])
    numeric = [all(isinstance(row[k], int | float | None) for row in rows) for k in range(len(section.columns))]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    bars = list(section.columns).index(section.bars) if section.bars else None
    largest = max((float(row[bars] or 0) for row in rows), default=0.0) if bars is not None else 0.0
    for place, (name, is_number) in enumerate(zip(section.columns, numeric, strict=True)):
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        if place == bars:
            table.add_column("", no_wrap=True)
    for row in rows:
        cells = [Text(_shown(cell)) for cell in row]
        if bars is not None:
            share = float(row[bars] or 0) / largest if largest > 0 else 0.0
            cells.insert(bars + 1, Text("█" * round(BAR_WIDTH * share)))
        table.add_row(*cells)
    return table


def _shown(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.4f}" if abs(cell) < 100 else f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
