"""The verb that writes the report of any scores."""

from __future__ import annotations

from typing import Annotated

import typer

from cotag.cli.arguments import Force, Json, Read, reader_options
from cotag.errors import SettingError


def report(
    scores: Annotated[str, typer.Argument(metavar="SCORES", help="A Scores file (Parquet).")],
    model: Annotated[
        str | None, typer.Option(metavar="RUN", help="Run or model folder: its decision, and what the run adds.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="Where the pictures are; format:path.")] = None,
    read: Read = None,
    resamples: Annotated[
        int, typer.Option(metavar="COUNT", min=0, help="For the intervals; 0 leaves them out.")
    ] = 1000,
    out: Annotated[str, typer.Option(metavar="FILE", help="The HTML file.")] = "report.html",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """One HTML file that says how good scores are: numbers, curves, confusions, pictures.

    A Scores file is enough. --model decides with that model and, of a run, adds how it learned and the pictures of
    its data; --data shows the pictures of these data.

    Example: cotag report runs/first/scores/test.parquet --model runs/first --out first.html
    """
    from cotag.cli.terminal import TerminalProgress, print_json
    from cotag.evaluation.report import write_report
    from cotag.run.report import report_sections
    from cotag.storage import require_free
    from cotag.types.scores import Scores

    if read and not data:
        raise SettingError("--read is for the reader of --data; leave it out, or give both")
    require_free(out, force)
    found = Scores.load(scores)
    sections = report_sections(found, model, data, reader_options(read), resamples, TerminalProgress())
    about = f"{scores}: {len(found):,} images, {len(found.label_space):,} labels"
    write_report(sections, out, "Report", about, force)
    if as_json:
        print_json({"report": out, "sections": [section.to_json() for section in sections]})
        return
    print(f"report: {out}")
