"""How the scores of a trial become labels."""

from __future__ import annotations

from cotag.evaluation.decision import Decision
from cotag.run.sweep.folder import Trial


def decision_of(trial: Trial) -> Decision:
    """As the trial's recipe says."""
    return Decision(**trial.recipe.decide.model_dump())
