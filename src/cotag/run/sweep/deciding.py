"""How the scores of a trial become labels."""

from __future__ import annotations

from cotag.evaluation.decision import Decision
from cotag.run.deciding import decision_of
from cotag.run.sweep.compared import Decide
from cotag.run.sweep.fitting import Trials
from cotag.run.sweep.folder import Trial
from cotag.types.scores import Scores


def decider(fitter: Trials) -> Decide:
    """For a trial that ended, the decision of its recipe, fitted where need be on the images that chose for it."""

    def decide(trial: Trial) -> Decision:
        choosing = Scores.load(fitter.folder.scores(trial, "choose"))
        return decision_of(trial.recipe, fitter.index, fitter.roles(trial.recipe), choosing)

    return decide
