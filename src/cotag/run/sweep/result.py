"""What a finished sweep hands back, and leaves in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cotag.evaluation.comparison import Comparison
from cotag.evaluation.report import write_report
from cotag.run.sweep.folder import Record, SweepFolder
from cotag.run.sweep.sections import Row
from cotag.run.sweep.waterfall import Brought
from cotag.storage import whole_file, write_json
from cotag.types.progress import Progress
from cotag.types.section import Section


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        folder: where everything lies; see ``SweepFolder``.
        rows: one for each setting that is compared, the recipe as it is first.
        comparison: each setting against it.
        failed: the trials that failed.
        seconds: how long fitting and comparing took.
        sections: of the report.
        trials: what a search tried, one dictionary for each; none of a grid.
        brought: what each step of a waterfall brought, against the step before it.
    """

    folder: Path
    rows: list[Row]
    comparison: Comparison
    failed: list[Record]
    seconds: dict[str, float]
    sections: list[Section]
    trials: list[dict[str, Any]] = field(default_factory=list)
    brought: list[Brought] = field(default_factory=list)

    @property
    def report(self) -> Path:
        """The HTML report."""
        return SweepFolder(self.folder).report

    def to_json(self) -> dict[str, Any]:
        """A JSON object with these fields."""
        about = {"metric": self.comparison.metric, "protocol": self.comparison.protocol, "seconds": self.seconds}
        rows, failed = [row.to_json() for row in self.rows], [asdict(record) for record in self.failed]
        found = {**about, "method": self.comparison.method, "verdict": self.sections[0].text, "settings": rows}
        found |= {"failed": failed} | ({"trials": self.trials} if self.trials else {})
        return found | ({"steps": [one.to_json() for one in self.brought]} if self.brought else {})


@contextmanager
def kept_on_failure(folder: SweepFolder, progress: Progress) -> Iterator[None]:
    """Whatever stops the work, it is said how to go on."""
    try:
        yield
    except BaseException:
        progress.say(f"what was finished is kept; to go on give --resume {folder.folder}")
        raise


def keep_result(found: Sweep, about: str) -> None:
    """Write tables, report and result.

    Args:
        about: the data, in words.
    """
    folder = SweepFolder(found.folder)
    write_table(folder.table, [row.to_json() for row in found.rows])
    if found.trials:
        write_table(folder.searched, found.trials)
    write_report(found.sections, folder.report, f"Sweep {folder.folder.name}", about, force=True)
    write_json(folder.result, found.to_json())


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of one shape as Parquet."""
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows)), temporary)
