"""The verbs that look and judge: ``stats`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cotag.cli.arguments import Data, Flip, Force, Json, Read, Scales, reader_options
from cotag.errors import LabelSpaceError, SettingError, listing

if TYPE_CHECKING:
    import numpy as np

    from cotag.evaluation.decision import Decision
    from cotag.evaluation.protocols import Protocol
    from cotag.types.labels import LabelSpace
    from cotag.types.scores import Scores


Intervals = Annotated[
    bool | None,
    typer.Option(
        "--intervals/--no-intervals",
        help="95 % intervals; on for up to 20,000 images and 2 million scores.",
        show_default=False,
    ),
]
ProtocolName = Annotated[
    str, typer.Option("--protocol", metavar="NAME", help="default, mlgcn, mlgcn-top3, mmpretrain, psg or voc07.")
]
ProtocolOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="KEY=VALUE", help="Another option of the protocol, as average_precision=voc_envelope."
    ),
]
K = Annotated[int | None, typer.Option("--k", metavar="K", help="The k of mR@k, CF1@k and so on; 3.")]
TrainData = Annotated[
    str | None, typer.Option("--train", metavar="DATA", help="What trained: groups labels by its counts (split train).")
]
Borders = Annotated[
    str | None,
    typer.Option("--groups", metavar="UPPER,LOWER", help="Borders of head and tail, or terciles; 100,20."),
]

DecisionPlace = Annotated[
    str | None,
    typer.Option("--decision", metavar="FILE|MODEL", help="How labels are given: of cotag decide --out, or a model's."),
]
CalibrationPlace = Annotated[
    str | None,
    typer.Option(
        "--calibration", metavar="FILE|MODEL", help="Calibrate first: of cotag calibrate --out, or a model's."
    ),
]


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
    flip: Flip = False,
    scales: Scales = None,
    intervals: Intervals = None,
    protocol: ProtocolName = "default",
    option: ProtocolOptions = None,
    k: K = None,
    train: TrainData = None,
    groups: Borders = None,
    decision: DecisionPlace = None,
    calibration: CalibrationPlace = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Also save the Scores (Parquet).")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Judge a model on data, or scores that any program made: as the model or --decision decides, else at 0.5.

    Example: cotag evaluate runs/first table:photos/labels.csv --split test
    """
    from cotag.cli.terminal import print_json, print_sections
    from cotag.evaluation.metrics import evaluate as judge
    from cotag.evaluation.protocols import parse_options, protocol_of
    from cotag.run.sections import label_section, summary_section
    from cotag.storage import require_free
    from cotag.types.frequency import parse_borders

    if out:
        require_free(out, force)
    rules, borders = protocol_of(protocol).changed(**parse_options(option or [])), parse_borders(groups)
    _require_data(data, bool(split or skip_bad or flip or scales or (read and not train)))
    if borders and not train:
        raise SettingError("--groups needs --train DATA, whose counts group the labels")
    if scores or targets or kind:
        found, rule, counts = _of_csv(model, scores, targets, kind), None, None
    else:
        found, rule, counts = _of_model(model, data, split, reader_options(read), skip_bad, flip, scales)
    found, rule = _decided(found, rule, decision, calibration)
    counts = _train_counts(train, found.label_space, reader_options(read)) if train else counts
    report = judge(found, rule, rules, borders, counts, k)
    if out:
        found.save(out)
    bounds = _intervals(found, rule, rules, k, intervals)
    if as_json:
        print_json({**report.to_json(), "intervals": bounds, "images": len(found), "origin": found.origin})
        return
    print_sections([summary_section(report, bounds), label_section(report)])


def _require_data(data: str | None, wanted: bool) -> None:
    """Refuse options that are for a model on data where there are no data."""
    if data is None and wanted:
        raise SettingError(
            "--split, --read, --skip-bad, --flip and --scales are for MODEL DATA; leave them out, or give both"
        )


def _of_csv(model: str | None, scores: str | None, targets: str | None, kind: str | None) -> Scores:
    from cotag.types.scores_csv import read_csv_pair

    if model or not (scores and targets and kind):
        raise SettingError("give --scores CSV --targets CSV --kind logit|probability together, and no MODEL")
    return read_csv_pair(scores, targets, kind)


def _of_model(
    model: str | None,
    data: str | None,
    split: str | None,
    options: dict[str, Any],
    skip_bad: bool,
    flip: bool,
    scales: str | None,
) -> tuple[Scores, Decision | None, np.ndarray | None]:
    """Scores of a file; or of a model on data, with the model's own decision and its training counts."""
    from cotag.cli.terminal import TerminalProgress
    from cotag.types.scores import Scores

    if model is None:
        raise SettingError("give a model and data, a Scores file, or --scores, --targets and --kind")
    if data is None:
        if Path(model).is_dir():
            raise SettingError(f"{model} is a folder: give the data to judge it on, or one of its scores/*.parquet")
        return Scores.load(model), None, None
    from cotag.inference.views import Views, parse_scales
    from cotag.run.judge import score_model

    views = Views(flip, (1.0,) if scales is None else parse_scales(scales))
    found = score_model(model, data, options, split, skip_bad, TerminalProgress(), views)
    return found.scores, found.decision, found.training_counts


def _decided(
    scores: Scores, rule: Decision | None, decision: str | None, calibration: str | None
) -> tuple[Scores, Decision | None]:
    """The scores and the decision that are asked for."""
    from cotag.cli.terminal import TerminalProgress
    from cotag.run.decision import with_calibration, with_decision

    if calibration:
        scores = with_calibration(calibration, scores)
    return with_decision(decision, scores, TerminalProgress().say) if decision else (scores, rule)


def _intervals(
    scores: Scores, decision: Decision | None, protocol: Protocol, k: int | None, wanted: bool | None
) -> dict[str, tuple[float, float]]:
    """Intervals where they are wanted; where nothing is said, if they take seconds."""
    from cotag.cli.terminal import TerminalProgress
    from cotag.evaluation.uncertainty import bootstrap_intervals, takes_seconds

    if wanted is None and not takes_seconds(scores):
        size = f"{len(scores)} images x {len(scores.label_space)} labels"
        TerminalProgress().say(f"{size}: no intervals; --intervals finds them")
        return {}
    return {} if wanted is False else bootstrap_intervals(scores, decision, protocol, k=k)


def _train_counts(data: str, space: LabelSpace, options: dict[str, Any]) -> np.ndarray:
    """How many images of the data's split ``train`` have each label; of all images where it has no such split."""
    from cotag.data.read import read as read_data

    index = read_data(data, **options)
    if "train" in index.splits():
        index = index.split("train")
    places = space.positions_in(index.label_space)
    missing = [name for name, place in zip(space.names, places, strict=True) if place < 0]
    if missing:
        raise LabelSpaceError(f"{data}: has no label {listing(missing)}; --train must be the data of these labels")
    return index.counts()[places]
