"""The command ``cotag``: its verbs, and how errors reach a person."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from cotag import __version__
from cotag.cli import (
    bench,
    calibrate,
    compare,
    convert,
    decide,
    graph,
    judge,
    listing,
    predict,
    report,
    reproduce,
    sweep,
    train,
)
from cotag.data.workers import death_of
from cotag.errors import CotagError, CotagWarning, Terminated

app = typer.Typer(
    name="cotag",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a folder of labelled pictures to a trained, judged, saved multi-label tagger.",
    epilog=(
        "DATA is format:path (coco:, voc:, psg:, table:, folder:, scenes:) or a path whose format is plain. "
        "Example: cotag train table:photos/labels.csv --out runs/first, then cotag predict runs/first photos/. "
        "--debug anywhere shows the traceback of an error."
    ),
)
app.command("demo", short_help="A whole run on pictures drawn here, offline.")(train.demo)
app.command("stats", short_help="What is in the data, and what is wrong.")(judge.stats)
app.command("graph", short_help="Which labels come together, as a graph.")(graph.graph)
app.command("train", short_help="Train, judge and save a tagger.")(train.train)
app.command("sweep", short_help="Try settings, and say which of them help.")(sweep.sweep)
app.command("evaluate", short_help="Judge a model, or anyone's scores.")(judge.evaluate)
app.command("compare", short_help="Which scores of the same images are better.")(compare.compare)
app.command("decide", short_help="Fit thresholds or a top-k, and what that is worth.")(decide.decide)
app.command("calibrate", short_help="Make probabilities keep what they promise.")(calibrate.calibrate)
app.command("report", short_help="Scores as one HTML file with pictures.")(report.report)
app.command("predict", short_help="Labels and scores of pictures.")(predict.predict)
app.command("bench", short_help="Where the time goes, and what would help.")(bench.bench)
app.command("convert", short_help="A model of another program's checkpoint.")(convert.convert)
app.command("reproduce", short_help="Experiments of published papers.")(reproduce.reproduce)
app.command("list", short_help="The names that recipes may use.")(listing.list_names)

# The exit code that a shell gives to what Ctrl-C ended.
INTERRUPTED = 130
TERMINATED = "cotag: terminated; what was finished is kept"


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
        with _terminable():
            app(given, prog_name="cotag")
    except CotagError as error:
        if debug:
            raise
        sys.exit(f"cotag: {error}")
    except BrokenPipeError:
        _leave_quietly()
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"cotag: {where}{error.strerror or error}; look at the path, its permissions and the space left")
    except RuntimeError as error:
        said = death_of(error)
        if debug or said is None:
            raise
        sys.exit(f"cotag: {said}")
    except Terminated:
        print(TERMINATED, file=sys.stderr)
        raise
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print("cotag: interrupted; what was finished is kept", file=sys.stderr)
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """Within the block SIGTERM raises ``Terminated``, as Ctrl-C raises KeyboardInterrupt; nothing is half-written."""
    usual = threading.current_thread() is threading.main_thread()
    usual = usual and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if usual:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            # C++ that is being loaded may abort at an exception; nothing is being written meanwhile.
            os.write(2, f"{TERMINATED}\n".encode())
            os._exit(128 + number)
        frame = frame.f_back
    raise Terminated


def _leave_quietly() -> None:
    """End where whoever read the output has closed it, as ``head`` does; what is left to write goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(1)
