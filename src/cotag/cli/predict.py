"""The verb ``predict``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from cotag.cli.arguments import Flip, Force, Read, Scales, reader_options
from cotag.errors import SettingError, suggestion

if TYPE_CHECKING:
    from cotag.inference.predictor import Prediction, TaggerPredictor

    Put = Callable[[Prediction], None]

SUBMISSION = "psg-submission"
FORMATS = ("table", "csv", "jsonl", SUBMISSION)
WIDEST = 60


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run folder or its model folder.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES", help="Files, folders, patterns, tar files, addresses; for psg-submission psg:FILE."
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="NAME", help="table, csv, jsonl or psg-submission.")
    ] = "table",
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write there instead of to stdout.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures at a time.")] = 32,
    complete: Annotated[
        bool, typer.Option("--complete", help="psg-submission: 3 by rank where the decision gives more or fewer.")
    ] = False,
    flip: Flip = False,
    scales: Scales = None,
    read: Read = None,
    force: Force = False,
) -> None:
    """Labels and scores of pictures.

    A picture that cannot be read is reported and the others go on; the exit code is 1 then. A submission answers the
    test images of a PSG file, a line of three predicate ids for each in their order, and stops at such a picture.

    Example: cotag predict runs/first photos/ 'more/*.jpg' --format csv --out labels.csv
    """
    from cotag.data.images import find_images
    from cotag.inference.predictor import load
    from cotag.storage import require_free

    if form not in FORMATS:
        raise SettingError(f"--format {form!r} is not known{suggestion(form, FORMATS)}")
    if out:
        require_free(out, force)
    views = _views(flip, scales)
    if form == SUBMISSION:
        if views:
            raise SettingError(f"--flip and --scales are not for --format {SUBMISSION}; leave them out")
        _submit(model, images, reader_options(read), complete, out, batch_size)
        return
    if complete or read:
        raise SettingError(f"--complete and --read are for --format {SUBMISSION}; leave them out")
    paths = find_images(images)
    predictor = load(model)
    write = {"table": _table, "csv": _csv, "jsonl": _jsonl}[form]
    failed = 0
    width = min(WIDEST, max(len(str(path)) for path in paths))
    with _stream(out) as stream:
        put = write(predictor, stream, width)
        for prediction in _shown(predictor.predict(paths, batch_size, True, **views), len(paths)):
            failed += bool(prediction.error)
            if prediction.error:
                print(f"cotag: {prediction.error}", file=sys.stderr)
            put(prediction)
    if failed:
        raise typer.Exit(1)


def _views(flip: bool, scales: str | None) -> dict[str, Any]:
    """What ``predict`` is told of views; nothing where one is taken."""
    if not flip and scales is None:
        return {}
    from cotag.inference.views import parse_scales

    return {"flip": flip, "scales": (1.0,) if scales is None else parse_scales(scales)}


def _submit(
    model: str, data: list[str], options: dict[str, Any], complete: bool, out: str | None, batch_size: int
) -> None:
    from cotag.cli.terminal import TerminalProgress
    from cotag.run.submission import submission

    if len(data) != 1:
        raise SettingError(f"--format {SUBMISSION} answers one PSG file; given {len(data)}; give psg:FILE alone")
    answers = submission(model, data[0], options, complete, TerminalProgress(), batch_size)
    with _stream(out) as stream:
        stream.writelines(" ".join(map(str, answer)) + "\n" for answer in answers)


@contextmanager
def _stream(out: str | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    from cotag.storage import whole_file

    with whole_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        yield stream


def _shown(predictions: Iterator[Prediction], total: int) -> Iterator[Prediction]:
    """The same predictions, with a progress bar when there are many."""
    if total < 64:
        yield from predictions
        return
    from cotag.cli.terminal import TerminalProgress

    with TerminalProgress().task("pictures", total) as task:
        for prediction in predictions:
            yield prediction
            task.advance()


def _table(predictor: TaggerPredictor, stream: TextIO, width: int) -> Put:
    """Aligned text: the image, then its labels with their probability."""

    def put(prediction: Prediction) -> None:
        scores = prediction.scores
        shown = ", ".join(f"{name} {scores[name]:.2f}" for name in prediction.labels)
        if prediction.error:
            shown = "(cannot be read)"
        elif not shown:
            best = max(scores, key=lambda name: scores[name])
            shown = f"(none; the most probable is {best} {scores[best]:.2f})"
        print(f"{prediction.image:<{width}}  {shown}", file=stream)

    return put


def _csv(predictor: TaggerPredictor, stream: TextIO, width: int) -> Put:
    """Columns image, labels (separated by a bar) and the probability of each label."""
    writer = csv.writer(stream, lineterminator="\n")
    names = predictor.label_space.names
    writer.writerow(["image", "labels", *names])

    def put(prediction: Prediction) -> None:
        cells = [f"{prediction.scores[name]:.6g}" if prediction.scores else "" for name in names]
        writer.writerow([prediction.image, "|".join(prediction.labels), *cells])

    return put


def _jsonl(predictor: TaggerPredictor, stream: TextIO, width: int) -> Put:
    """One JSON object for each image: image, labels, scores; or image and error."""

    def put(prediction: Prediction) -> None:
        value: dict[str, object] = {"image": prediction.image}
        if prediction.error:
            value["error"] = prediction.error
        else:
            value |= {"labels": prediction.labels, "scores": prediction.scores}
        print(json.dumps(value, ensure_ascii=False), file=stream)

    return put
