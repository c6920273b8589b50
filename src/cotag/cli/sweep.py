"""The verb that tries settings and says which of them help."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cotag.cli.arguments import Force, Json, Read, reader_options
from cotag.errors import SettingError

Grid = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=A,B,...", help="Values to try (graph.tau=0.2,0.4; head=gcn,linear); repeatable."),
]
Most = Annotated[
    int | None, typer.Option("--random", metavar="N", min=1, help="Only N settings of the grid, drawn at random.")
]
Folds = Annotated[
    int | None,
    typer.Option(metavar="N", min=2, help="Small data: all images take turns in judging, in N folds; no --seeds."),
]


def sweep(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="format:path, or a path; with --resume only where it moved.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="The baseline: a preset or a file; else quick.")
    ] = None,
    grid: Grid = None,
    one_at_a_time: Annotated[
        bool, typer.Option("--one-at-a-time", help="Change one key of the recipe at a time, not all together.")
    ] = False,
    most: Most = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", min=1, help="Trainings of each setting; 5.")] = None,
    folds: Folds = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="The number to compare; mAP.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the baseline; repeatable.")
    ] = None,
    read: Read = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The sweep's folder; sweeps/RECIPE-N if not given.")
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="DIR", help="Go on in this sweep's folder.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Try settings of a recipe, each with several seeds, and say which of them help.

    On frozen features heads of one shape are trained together. Each setting is compared with the recipe as it is;
    images and seeds both count.

    Example: cotag sweep table:photos/labels.csv --recipe quick --grid model.head_args.pooling=avg,max --seeds 5
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.run.sweep.sections import brief
    from cotag.run.sweep.sweep import resume_sweep
    from cotag.run.sweep.sweep import sweep as run_sweep

    progress = TerminalProgress()
    if resume:
        if recipe or grid or one_at_a_time or most or seeds or folds or metric or settings or read or out or force:
            raise SettingError("--resume goes on with what the sweep was begun with; leave out the other options")
        found = resume_sweep(resume, data, progress)
    else:
        if data is None or not grid:
            raise SettingError("a sweep needs DATA and at least one --grid key=value,value; or give --resume DIR")
        if folds and seeds:
            raise SettingError("--folds trains each setting once in each fold; leave --seeds out")
        # Quoted: a separator such as | has a meaning of its own in YAML.
        options = [f"data.read.{key}={json.dumps(value)}" for key, value in reader_options(read).items()]
        found = run_sweep(
            data, recipe or "quick", grid, seeds or 5, one_at_a_time, metric or "mAP", out,
            [*(settings or []), *options], force, progress, folds, most,
        )  # fmt: skip
    if as_json:
        print_json({**found.to_json(), "out": str(found.folder), "report": str(found.report)})
        return
    shown = [section for section in found.sections if section.title != "Quality and cost"]
    print_sections([brief(section) if section.title == "Settings" else section for section in shown])
    print(f"\nsweep:  {found.folder}\nreport: {found.report}")
