"""The verbs that train: ``demo`` and ``train``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cotag.cli.arguments import Force, Json, Read, reader_options
from cotag.errors import SettingError

OTHERS = "the report, and --json"


def demo(
    out: Annotated[str | None, typer.Option(metavar="DIR", help="The run's folder; runs/demo-N if not given.")] = None,
    images: Annotated[int, typer.Option(metavar="N", min=200, help="Pictures to draw.")] = 2400,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the pictures and of training.")] = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """A whole run on pictures that are drawn here: no download, some minutes on a laptop.

    Draws scenes, trains a small network from random weights, judges it against chance and against a linear
    model on raw color statistics, and writes a report.

    Example: cotag demo --out runs/demo --force
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.run.demo import demo as run_demo
    from cotag.run.sections import headline

    progress = TerminalProgress()
    found = run_demo(out, images, seed, force, progress)
    if as_json:
        print_json({**found.run.test.to_json(), "color_mAP": found.color_mAP, "report": str(found.run.report)})
        return
    print_sections([headline(section, OTHERS) if section.title == "Test" else section for section in found.sections])
    print(f"\nreport: {found.run.report}")


def train(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="format:path, or a path; with --final that of RUN if left out.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A preset (see cotag list recipes) or a file; else quick."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable.")
    ] = None,
    read: Read = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run's folder; runs/RECIPE-N if not given.")
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="DIR", help="Go on in this run's folder.")] = None,
    final: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Train as this finished run did, on its validation images too."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a tagger on labelled pictures, judge it on those that it never saw, and save it.

    Example: cotag train table:photos/labels.csv --recipe quick --out runs/first
    """
    from cotag.cli.terminal import TerminalProgress, is_first_process, leave_at_once, print_json, print_sections
    from cotag.run.sections import headline, label_section, summary_section
    from cotag.run.train import train as run_train
    from cotag.training.watch import end_by

    if resume and (recipe or out or settings or read):
        raise SettingError("--resume goes on with the recipe and folder that the run has; leave out the other options")
    if final and (recipe or settings or read or resume):
        raise SettingError(
            "--final takes the settings that the run had; leave --recipe, --set, --read and --resume out"
        )
    if data is None and not final:
        raise typer.BadParameter("missing; give format:path or a path, or --final RUN", param_hint="DATA")
    # Quoted: a separator such as | has a meaning of its own in YAML.
    options = [f"data.read.{key}={json.dumps(value)}" for key, value in reader_options(read).items()]
    overrides = [*(settings or []), *options]
    end_by(leave_at_once)
    run = run_train(data, recipe or "quick", out, overrides, resume, force, TerminalProgress(), final)
    if not is_first_process():
        return
    if as_json:
        about = {"seconds": run.seconds, "out": str(run.folder), "report": str(run.report)}
        print_json({**run.test.to_json(), "intervals": run.intervals, **about})
        return
    print_sections([headline(summary_section(run.test, run.intervals), OTHERS), label_section(run.test)])
    print(f"\nmodel:  {run.folder}\nreport: {run.report}")
