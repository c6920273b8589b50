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
    decision: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|MODEL", help="How labels are given: once for all, or one for each SCORES in order."),
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="NAME", help="How the number is computed.")] = "default",
    resamples: Annotated[int, typer.Option(metavar="COUNT", help="Random swaps of the results of an image.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the swaps.")] = 0,
    as_json: Json = False,
) -> None:
    """Which scores of the same images are better: paired differences with intervals, p-values and a verdict.

    Rows are matched by id. Labels are given at a probability of at least 0.5, or by --decision. With several
    comparisons the p-values are corrected (Holm).

    Example: cotag compare runs/first/scores/test.parquet runs/second/scores/test.parquet --metric CF1
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.errors import SettingError, listing
    from cotag.evaluation.comparison import compare as compare_scores
    from cotag.run.decision import with_decision
    from cotag.types.scores import Scores

    twice = [path for path in dict.fromkeys(scores) if scores.count(path) > 1]
    if twice:
        raise SettingError(f"given twice: {listing(twice)}; name every Scores file once")
    places = decision or []
    if len(places) not in (0, 1, len(scores)):
        raise SettingError(f"--decision stands {len(places)} times for {len(scores)} SCORES; give it once, or for each")
    named, decisions = {path: Scores.load(path) for path in scores}, {}
    for path, place in zip(scores, places * len(scores) if len(places) == 1 else places, strict=False):
        named[path], decisions[path] = with_decision(place, named[path], TerminalProgress().say)
    if places and not _decided(metric, protocol, any(given.reorders for given in decisions.values())):
        raise SettingError(f"--decision changes nothing about {metric}; leave it out, or give --metric CF1 or the like")
    found = compare_scores(named, metric, baseline, decisions, protocol, resamples, seed)
    if as_json:
        print_json(found.to_json())
        return
    print_sections([found.section()])


def _decided(metric: str, protocol: str, reordered: bool) -> bool:
    """Whether a number depends on how labels are given; mAP does not, and the k highest only where they change."""
    from cotag.evaluation.protocols import protocol_of
    from cotag.evaluation.resampled import RATES

    name, _, k = metric.partition("@")
    at_k = protocol_of(protocol).top_k_rule == "score_and_threshold" and name in RATES
    return metric in RATES or at_k or (reordered and bool(k))
