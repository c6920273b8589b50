"""``cotag list``: every name that a recipe may use, with what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cotag.recipe import presets
from cotag.registry import (
    AUGMENTATIONS,
    EXPERIMENTS,
    HEADS,
    LOSSES,
    MIXTURES,
    OPTIMIZERS,
    READERS,
    SAMPLERS,
    SCHEDULES,
)

TABLES = {
    "recipes": list(presets()),
    "readers": READERS.names(),
    "heads": HEADS.names(),
    "losses": LOSSES.names(),
    "optimizers": ["lbfgs", *OPTIMIZERS.names()],
    "schedules": SCHEDULES.names(),
    "samplers": SAMPLERS.names(),
    "augmentations": AUGMENTATIONS.names(),
    "mixtures": MIXTURES.names(),
    "experiments": EXPERIMENTS.names(),
}


@pytest.mark.parametrize("what", TABLES)
def test_names_stand_with_what_they_are(cotag: Callable[..., Any], what: str) -> None:
    ran = cotag("list", what)
    assert (ran.code, ran.err) == (0, "")
    found = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert list(found) == TABLES[what]
    assert all(len(text) > 5 and "``" not in text for text in found.values())
    assert json.loads(cotag("list", what, "--json").out) == {what: found}


def test_everything_at_once(cotag: Callable[..., Any]) -> None:
    ran = cotag("list")
    for what, names in TABLES.items():
        assert f"{what}:\n" in ran.out
        assert all(f"\n  {name} " in ran.out for name in names)
    assert json.loads(cotag("list", "--json").out).keys() == TABLES.keys()


def test_backbones_are_those_of_timm(cotag: Callable[..., Any]) -> None:
    names = cotag("list", "backbones").out.splitlines()
    assert "mobilenetv2_100" in names
    assert len(names) > 500
