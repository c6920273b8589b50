"""The command ``cotag``: its verbs, and how errors reach a person."""

from __future__ import annotations

import os
import sys
import warnings

import typer

from cotag import __version__
from cotag.cli import judge, listing, predict, train
from cotag.errors import CotagError, CotagWarning

app = typer.Typer(
    name="cotag",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a folder of labelled pictures to a trained, judged, saved multi-label tagger.",
    epilog=(
        "DATA is format:path (coco:, voc:, psg:, table:, folder:, scenes:) or a path whose format is plain. "
        "Example: cotag train table:photos/labels.csv --out runs/first, then cotag predict runs/first photos/. "
        "--debug anywhere shows the traceback of an error."
    ),
)
app.command("demo")(train.demo)
app.command("stats")(judge.stats)
app.command("train")(train.train)
app.command("evaluate")(judge.evaluate)
app.command("predict")(predict.predict)
app.command("list")(listing.list_names)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"cotag {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an expected error is one line and exit code 1, wrong usage exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:
        given.remove("--debug")
    # What a reader warns of is printed with its other notes.
    warnings.simplefilter("ignore", CotagWarning)
    try:
        app(given, prog_name="cotag")
    except CotagError as error:
        if debug:
            raise
        sys.exit(f"cotag: {error}")
    except KeyboardInterrupt:
        sys.exit("cotag: interrupted; what was finished is kept")
    except BrokenPipeError:
        # The reader of our output went away (head); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
