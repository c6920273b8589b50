"""The verb ``list``."""

from __future__ import annotations

from typing import Annotated

import typer

from cotag.cli.arguments import Json
from cotag.errors import SettingError, suggestion


def list_names(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="recipes, readers, heads, losses, optimizers, schedules, samplers, augmentations, mixtures, "
            "experiments or backbones.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """The names that a recipe or a command may use.

    Example: cotag list heads
    """
    from cotag.cli.terminal import print_json
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
    )  # fmt: skip

    tables = {
        "recipes": lambda: presets(),
        "readers": READERS.described,
        "heads": HEADS.described,
        "losses": LOSSES.described,
        "optimizers": lambda: (
            {"lbfgs": "all labels and strengths at once (linear head on features)"} | OPTIMIZERS.described()
        ),
        "schedules": SCHEDULES.described,
        "samplers": SAMPLERS.described,
        "augmentations": AUGMENTATIONS.described,
        "mixtures": MIXTURES.described,
        "experiments": EXPERIMENTS.described,
        "backbones": _backbones,
    }
    if what and what not in tables:
        raise SettingError(f"list {what!r} is not known{suggestion(what, tables)}")
    wanted = [what] if what else [name for name in tables if name != "backbones"]
    found = {name: tables[name]() for name in wanted}
    if as_json:
        print_json(found)
        return
    for name, entries in found.items():
        if not what:
            print(f"{name}:")
        width = max(map(len, entries), default=0)
        for key, text in entries.items():
            print(f"{'' if what else '  '}{key:<{width}}  {text}".rstrip())
    if not what:
        print("backbones: any timm model; cotag list backbones names them")


def _backbones() -> dict[str, str]:
    import timm

    return dict.fromkeys(timm.list_models(), "")
