"""Cotag trains, judges and runs multi-label image recognizers.

The names below are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "read": "cotag.data.read",
    "merge": "cotag.types.merge",
    "train": "cotag.run.train",
    "load": "cotag.inference.predictor",
    "evaluate": "cotag.evaluation.metrics",
    "Recipe": "cotag.recipe",
    "LabelSpace": "cotag.types.labels",
    "Index": "cotag.types.index",
    "Batch": "cotag.types.batch",
    "Output": "cotag.types.batch",
    "Scores": "cotag.types.scores",
    "Section": "cotag.types.section",
    "CotagError": "cotag.errors",
}

__all__ = [*_PLACES, "__version__"]

if TYPE_CHECKING:
    from cotag.data.read import read as read
    from cotag.errors import CotagError as CotagError
    from cotag.evaluation.metrics import evaluate as evaluate
    from cotag.inference.predictor import load as load
    from cotag.recipe import Recipe as Recipe
    from cotag.run.train import train as train
    from cotag.types.batch import Batch as Batch
    from cotag.types.batch import Output as Output
    from cotag.types.index import Index as Index
    from cotag.types.labels import LabelSpace as LabelSpace
    from cotag.types.merge import merge as merge
    from cotag.types.scores import Scores as Scores
    from cotag.types.section import Section as Section


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'cotag' has no attribute {name!r}")
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
