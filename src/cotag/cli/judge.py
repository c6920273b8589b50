"""The verbs that look and judge: ``stats`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cotag.cli.arguments import Data, Force, Json, Read, reader_options
from cotag.errors import SettingError


def stats(
    data: Data,
    read: Read = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Also write an HTML file with the plots.")] = None,
    pixels: Annotated[bool, typer.Option(help="Read the pictures: sizes, pixel values, copies, damage.")] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """What is in the data: counts, the tail, labels that come together, sizes, pixel values, copies, problems.

    Example: cotag stats coco:photos/annotations.json --out stats.html
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.data.read import read as read_data
    from cotag.data.statistics import statistics
    from cotag.evaluation.report import write_report
    from cotag.storage import require_free

    if out:
        require_free(out, force)
    index = read_data(data, **reader_options(read))
    sections = statistics(index, pixels=pixels, progress=TerminalProgress())
    if out:
        write_report(sections, out, f"Statistics of {data}", repr(index), force)
    if as_json:
        print_json({"sections": [section.to_json() for section in sections]})
        return
    print_sections(sections)
    if out:
        print(f"\nplots: {out}")


def evaluate(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL|SCORES", help="A run or model folder, or a Scores file.")
    ] = None,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="The data, where a model is given.")] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The split to judge on; 'all' for every image.")
    ] = None,
    scores: Annotated[str | None, typer.Option(metavar="CSV", help="Scores of any program, instead.")] = None,
    targets: Annotated[str | None, typer.Option(metavar="CSV", help="The targets that belong to --scores.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="What --scores holds: logit or probability.")] = None,
    read: Read = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out pictures that cannot be read, and count them.")
    ] = False,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Also save the Scores (Parquet).")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Judge a model on data, or scores that any program made.

    Example: cotag evaluate runs/first table:photos/labels.csv --split test
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.evaluation.decision import Decision
    from cotag.evaluation.metrics import evaluate as judge
    from cotag.run.sections import label_section, summary_section
    from cotag.storage import require_free
    from cotag.types.scores import Scores
    from cotag.types.scores_csv import read_csv_pair

    if out:
        require_free(out, force)
    decision = Decision()
    if data is None and (split or read or skip_bad):
        raise SettingError("--split, --read and --skip-bad are for MODEL DATA; leave them out, or give both")
    if scores or targets or kind:
        if model or not (scores and targets and kind):
            raise SettingError("give --scores CSV --targets CSV --kind logit|probability together, and no MODEL")
        found = read_csv_pair(scores, targets, kind)
    elif model is None:
        raise SettingError("give a model and data, a Scores file, or --scores, --targets and --kind")
    elif data is None:
        if Path(model).is_dir():
            raise SettingError(f"{model} is a folder: give the data to judge it on, or one of its scores/*.parquet")
        found = Scores.load(model)
    else:
        from cotag.run.judge import score_model

        found, decision = score_model(model, data, reader_options(read), split, skip_bad, TerminalProgress())
    if out:
        found.save(out)
    report = judge(found, decision)
    if as_json:
        print_json({**report.to_json(), "images": len(found), "origin": found.origin})
        return
    print_sections([summary_section(report), label_section(report)])
