"""The verb that holds several scores of the same images against each other."""

from __future__ import annotations

from typing import Annotated

import typer

from cotag.cli.arguments import Json


def compare(
    scores: Annotated[list[str], typer.Argument(metavar="SCORES...", help="Two or more Scores files (Parquet).")],
    metric: Annotated[str, typer.Option(metavar="NAME", help="The number to compare: mAP, CF1, OF1 ...")] = "mAP",
    baseline: Annotated[
        str | None, typer.Option(metavar="SCORES", help="The file that the others are compared with; else the first.")
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="NAME", help="How the number is computed.")] = "default",
    resamples: Annotated[int, typer.Option(metavar="COUNT", help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the resamples.")] = 0,
    as_json: Json = False,
) -> None:
    """Which scores of the same images are better: paired differences with intervals, p-values and a verdict.

    Rows are matched by id. Labels are given at a probability of at least 0.5. With several comparisons the p-values
    are corrected (Holm).

    Example: cotag compare runs/first/scores/test.parquet runs/second/scores/test.parquet --metric CF1
    """
    from cotag.cli.terminal import print_json, print_sections
    from cotag.errors import SettingError, listing
    from cotag.evaluation.comparison import compare as compare_scores
    from cotag.types.scores import Scores

    twice = [path for path in dict.fromkeys(scores) if scores.count(path) > 1]
    if twice:
        raise SettingError(f"given twice: {listing(twice)}; name every Scores file once")
    named = {path: Scores.load(path) for path in scores}
    found = compare_scores(named, metric, baseline, protocol=protocol, resamples=resamples, seed=seed)
    if as_json:
        print_json(found.to_json())
        return
    print_sections([found.section()])
