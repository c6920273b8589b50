"""The verb ``decide``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cotag.cli.arguments import Force, Json
from cotag.errors import SettingError

RULES = (
    "threshold, label_thresholds, top_k, top_k_and_threshold; offsets of logits or multipliers of probabilities: "
    "group_offset, group_multiplier, label_offsets, label_multipliers."
)
USUAL = "[default: label_thresholds; label_offsets for mR@K]"
SHRUNK = "A label with n positives weighs n / (n + N0) against its group. [default: 10]"

ScoresFile = Annotated[str, typer.Argument(metavar="SCORES", help="A Scores file of images that did not train.")]
Goal = Annotated[
    str, typer.Option("--objective", metavar="NAME", help="CF1, OF1, macro_F1, mR@K, precision, recall or cost.")
]
Rule = Annotated[str | None, typer.Option("--rule", metavar="NAME", help=f"{RULES} {USUAL}")]
Highest = Annotated[int | None, typer.Option("--k", metavar="K", help="Labels that a top-k rule looks at.")]
AtLeast = Annotated[
    float | None,
    typer.Option("--at-least", metavar="X", help="precision: most OR where OP is X or more; recall: the reverse."),
]
WrongCost = Annotated[float, typer.Option("--false-positive", metavar="COST", help="Of a wrong label; for cost.")]
MissCost = Annotated[float, typer.Option("--false-negative", metavar="COST", help="Of a missed label; for cost.")]
Shrinkage = Annotated[float | None, typer.Option("--shrinkage", metavar="N0", help=SHRUNK)]
Infrequent = Annotated[
    list[str] | None,
    typer.Option(
        "--infrequent", metavar="LABEL", help="A label that offsets and multipliers count as infrequent; repeatable."
    ),
]
Multiplier = Annotated[
    float | None,
    typer.Option("--multiplier", metavar="M", help="Of infrequent labels' probabilities; fitted if not given."),
]
EvaluatedOnly = Annotated[
    bool, typer.Option("--evaluated-only", help="Never give labels that the data set does not evaluate.")
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="RUN", help="Save it in this model, for predict and evaluate.")
]


def decide(
    scores: ScoresFile,
    objective: Goal,
    rule: Rule = None,
    k: Highest = None,
    at_least: AtLeast = None,
    false_positive: WrongCost = 1.0,
    false_negative: MissCost = 1.0,
    shrinkage: Shrinkage = None,
    infrequent: Infrequent = None,
    multiplier: Multiplier = None,
    evaluated_only: EvaluatedOnly = False,
    folds: Annotated[int, typer.Option(metavar="N", help="Folds of the cross-fitting.")] = 5,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the folds and the bootstrap.")] = 0,
    model: Model = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Save the decision as JSON.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit how scores become labels, and say what that is worth on images that it was not fitted on.

    Example: cotag decide runs/first/scores/choose.parquet --objective CF1 --model runs/first
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.evaluation.cross_fit import cross_fit
    from cotag.evaluation.decision_fit import DecisionFit
    from cotag.evaluation.objective import Objective, parse_objective
    from cotag.evaluation.sections.decision import decision_section
    from cotag.models.settings import model_folder, write_decision
    from cotag.run.decision import as_model_gives
    from cotag.storage import require_free, write_json
    from cotag.types.scores import Scores

    if out:
        require_free(out, force)
    name, at_k = parse_objective(objective)
    if at_k is not None and k not in (None, at_k):
        raise SettingError(f"--objective {objective} with --k {k}: leave --k out")
    wanted = Objective(name, at_least, false_positive, false_negative)
    rule = rule or ("label_offsets" if name == "mR" else "label_thresholds")
    at_k = at_k if k is None else k
    how = DecisionFit(wanted, rule, at_k, shrinkage, tuple(infrequent or ()), multiplier, evaluated_only)
    given = Scores.load(scores)
    if model:
        given = as_model_gives(model, given, TerminalProgress().say)
    found = cross_fit(given, how, folds, seed)
    value = found.decision.to_json()
    if model:
        write_decision(model_folder(model), value, given.label_space)
    if out:
        write_json(out, value)
    if as_json:
        print_json({**found.to_json(), "images": len(given), "folds": folds, "seed": seed, "origin": given.origin})
        return
    print_sections([decision_section(found, len(given), folds, seed)])
    for place in filter(None, (model and f"{Path(model)} (predict and evaluate use it)", out)):
        print(f"\nsaved in {place}")
