"""The verb that tries settings and says which of them help."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cotag.cli.arguments import Force, Json, Read, reader_options
from cotag.errors import SettingError

if TYPE_CHECKING:
    from cotag.run.sweep.result import Sweep
    from cotag.run.sweep.steps import Step
    from cotag.run.sweep.study import Search

Data = Annotated[
    str | None, typer.Argument(metavar="DATA", help="format:path, or a path; with --resume only where it moved.")
]
Baseline = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="The baseline: a preset or a file; else quick.")
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=A,B,...",
        help="Values to try (graph.tau=0.2,0.4; head=gcn,linear); with --search also a range "
        "(train.learning_rate=1e-4..1e-1:log, train.epochs=5..40); repeatable.",
    ),
]
OneAtATime = Annotated[
    bool, typer.Option("--one-at-a-time", help="Change one key of the recipe at a time, not all together.")
]
Most = Annotated[
    int | None, typer.Option("--random", metavar="N", min=1, help="Only N settings of the grid, drawn at random.")
]
Searching = Annotated[
    str | None,
    typer.Option("--search", metavar="NAME", help="tpe or random: try --trials settings, each after those before it."),
]
Count = Annotated[int | None, typer.Option(metavar="N", min=1, help="How many settings a search tries; 40.")]
Each = Annotated[
    int | None, typer.Option("--trial-seeds", metavar="N", min=1, help="Trainings of each setting in a search; 1.")
]
NoPruning = Annotated[bool, typer.Option("--no-pruning", help="Give up no setting of a search before its last epoch.")]
Waterfall = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="Switch on techniques one after another: a list of steps in a YAML file."),
]
StepTexts = Annotated[
    list[str] | None,
    typer.Option("--step", metavar="NAME:KEY=VALUE,...", help="A step of the waterfall; stays on; repeatable."),
]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", metavar="NAME", help="How the number is computed; default. See evaluate.")
]
Seeds = Annotated[int | None, typer.Option(metavar="N", min=1, help="Trainings of each setting that is compared; 5.")]
Folds = Annotated[
    int | None,
    typer.Option(metavar="N", min=2, help="Small data: all images take turns in judging, in N folds; no --seeds."),
]
Metric = Annotated[str | None, typer.Option(metavar="NAME", help="The number to compare; mAP.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the baseline; repeatable.")
]
Out = Annotated[str | None, typer.Option(metavar="DIR", help="The sweep's folder; sweeps/RECIPE-N if not given.")]
Resume = Annotated[str | None, typer.Option(metavar="DIR", help="Go on in this sweep's folder.")]


def sweep(
    data: Data = None,
    recipe: Baseline = None,
    grid: Grid = None,
    one_at_a_time: OneAtATime = False,
    most: Most = None,
    searching: Searching = None,
    trials: Count = None,
    each: Each = None,
    no_pruning: NoPruning = False,
    waterfall: Waterfall = None,
    step_texts: StepTexts = None,
    seeds: Seeds = None,
    folds: Folds = None,
    metric: Metric = None,
    protocol: ProtocolName = None,
    settings: Settings = None,
    read: Read = None,
    out: Out = None,
    resume: Resume = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Try settings of a recipe, each with several seeds, and say which of them help.

    On frozen features heads of one shape are trained together. Each setting is compared with the recipe as it is;
    images and seeds both count.

    Example: cotag sweep table:photos/labels.csv --recipe quick --grid model.head_args.pooling=avg,max --seeds 5
    """
    from cotag.cli.terminal import TerminalProgress
    from cotag.run.sweep.sweep import resume_sweep
    from cotag.run.sweep.sweep import sweep as run_sweep

    progress = TerminalProgress()
    search, steps = _search(searching, trials, each, no_pruning), _steps(waterfall, step_texts)
    if resume:
        begun = (recipe, grid, one_at_a_time, most, search, steps, seeds, folds, metric, protocol, settings, read, out)
        if any(begun) or force:
            raise SettingError("--resume goes on with what the sweep was begun with; leave out the other options")
        found = resume_sweep(resume, data, progress)
    else:
        if data is None or not (grid or steps):
            raise SettingError("a sweep needs DATA and --grid key=value,value, --step or --waterfall; or --resume DIR")
        if folds and seeds:
            raise SettingError("--folds trains each setting once in each fold; leave --seeds out")
        # Quoted: a separator such as | has a meaning of its own in YAML.
        options = [f"data.read.{key}={json.dumps(value)}" for key, value in reader_options(read).items()]
        found = run_sweep(
            data, recipe or "quick", grid or [], seeds or 5, one_at_a_time, metric or "mAP", out,
            [*(settings or []), *options], force, progress, folds, most, search, steps, protocol or "default",
        )  # fmt: skip
    _tell(found, as_json)


def _search(name: str | None, trials: int | None, each: int | None, no_pruning: bool) -> Search | None:
    from cotag.run.sweep.study import Search

    if name is None:
        if trials or each or no_pruning:
            raise SettingError("--trials, --trial-seeds and --no-pruning are of a search: give --search tpe as well")
        return None
    return Search(name, trials or Search.trials, each or Search.each, not no_pruning)


def _steps(name: str | None, texts: list[str] | None) -> list[Step]:
    from cotag.run.sweep.steps import parse_step, read_steps

    return [*(read_steps(name) if name else []), *map(parse_step, texts or [])]


def _tell(found: Sweep, as_json: bool) -> None:
    from cotag.cli.terminal import print_json, print_sections
    from cotag.run.sweep.search_sections import TITLE as TRIED
    from cotag.run.sweep.search_sections import brief_tried
    from cotag.run.sweep.sections import brief
    from cotag.run.sweep.waterfall import TITLE as STEPS
    from cotag.run.sweep.waterfall import brief_steps

    if as_json:
        print_json({**found.to_json(), "out": str(found.folder), "report": str(found.report)})
        return
    shorter = {"Settings": brief, TRIED: brief_tried, STEPS: brief_steps}
    shown = [section for section in found.sections if section.columns or not section.figure]
    print_sections([shorter.get(section.title, lambda section: section)(section) for section in shown])
    print(f"\nsweep:  {found.folder}\nreport: {found.report}")
