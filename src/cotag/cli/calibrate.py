"""The verb ``calibrate``."""

from __future__ import annotations

from typing import Annotated

import typer

from cotag.cli.arguments import Force, Json


def calibrate(
    scores: Annotated[str, typer.Argument(metavar="SCORES", help="A Scores file of images that did not train.")],
    method: Annotated[
        str, typer.Option(metavar="NAME", help="temperature, platt (for each label) or isotonic (for each label).")
    ],
    folds: Annotated[int, typer.Option(metavar="N", help="Folds of the cross-fitting.")] = 5,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the folds and the bootstrap.")] = 0,
    model: Annotated[
        str | None, typer.Option(metavar="RUN", help="Save it in this model; all its scores go through it then.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Save it as JSON, for cotag evaluate --calibration.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit probabilities that keep what they promise, and say what that is worth on other images.

    Of the pictures that are given a label at 70 %, it should be true of 70 %. The order of the images within a label
    stays. The honest numbers are of images that the fit did not see. A decision of the model is carried over where that
    changes no label; else it is dropped, and the notice says so.

    Example: cotag calibrate runs/first/scores/choose.parquet --method temperature --model runs/first
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.evaluation.calibration_gain import calibration_gain
    from cotag.run.decision import save_calibration
    from cotag.storage import require_free, write_json
    from cotag.types.scores import Scores

    if out:
        require_free(out, force)
    given = Scores.load(scores)
    found = calibration_gain(given, method, folds, seed)
    if model:
        TerminalProgress().say(f"{model}: {save_calibration(model, found.calibration)}")
    if out:
        write_json(out, found.calibration.to_json())
    if as_json:
        print_json({**found.to_json(), "origin": given.origin})
        return
    print_sections(found.sections())
    for place in filter(None, (model and f"{model} (predict and evaluate use it)", out)):
        print(f"\nsaved in {place}")
