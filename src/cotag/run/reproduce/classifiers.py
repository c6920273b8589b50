"""ML-GCN's picture of the learned classifiers: each label's weight vector in the plane, of one or more models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.nn import functional

from cotag.errors import SettingError
from cotag.labels.classifier_sections import classifier_sections
from cotag.models.bundle import load_tagger
from cotag.models.heads.csra import ResidualAttentionHead
from cotag.models.heads.linear import LinearHead
from cotag.models.settings import model_folder
from cotag.models.tagger import Tagger
from cotag.run.reproduce.experiment import Experiment
from cotag.types.progress import Progress


def classifiers(models: Sequence[str], *, progress: Progress) -> Experiment:
    """The learned classifiers in two dimensions, colored by the labels' groups.

    Args:
        models: run or model folders with the same labels; a baseline beside another shows what the other learned.

    Raises:
        SettingError: a model whose head has no classifier for each label.
        LabelSpaceError: models of different labels.
        WeightsError: a folder holds no model.
    """
    found: dict[str, np.ndarray] = {}
    space = None
    for name in dict.fromkeys(models):
        tagger, _ = load_tagger(model_folder(name))
        space = space or tagger.label_space
        space.require_same(tagger.label_space, f"classifiers of {models[0]} and {name}")
        found[name] = classifiers_of(tagger, name)
        progress.say(f"{name}: {found[name].shape[0]} classifiers of {found[name].shape[1]} dimensions")
    if space is None:
        raise SettingError("experiment classifiers: no model is given; give --model RUN")
    return Experiment("Learned classifiers", ", ".join(found), classifier_sections(found, space))


def classifiers_of(tagger: Tagger, name: str) -> np.ndarray:
    """The weight vector of each label, float32 (K, D); of several attention heads their mean.

    Raises:
        SettingError: the head has none of its own for each label.
    """
    head = tagger.head
    if isinstance(head, LinearHead):
        weight_KD = head.classifier.weight
    elif isinstance(head, ResidualAttentionHead):
        weight_KD = functional.normalize(head.weight_HKD, dim=2).mean(0)
    else:
        raise SettingError(
            f"{name}: head {tagger.settings['head']} has no one vector for each label; give a model with head "
            "linear, gcn or csra"
        )
    found: np.ndarray = weight_KD.detach().float().cpu().numpy()
    return found
