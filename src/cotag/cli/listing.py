"""The verb ``list``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from cotag.cli.arguments import Force, Json
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
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves of schedules.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --plot: draw this schedule alone; repeatable."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --plot: an HTML file with all curves in one picture.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The names that a recipe or a command may use.

    Example: cotag list schedules --plot
    """
    if plot:
        _plot_schedules(what, settings or [], out, force, as_json)
        return
    if settings or out:
        raise SettingError("--set and --out are for --plot: cotag list schedules --plot")
    from cotag.cli.terminal import print_json

    tables = _tables()
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


def _tables() -> dict[str, Callable[[], dict[str, str]]]:
    """What has names, each with how to get them."""
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

    return {
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


def _plot_schedules(what: str, settings: list[str], out: str | None, force: bool, as_json: bool) -> None:
    from cotag.cli.plot import braille_plot
    from cotag.cli.terminal import print_json
    from cotag.evaluation.report import write_report
    from cotag.registry import SCHEDULES
    from cotag.run.schedule_curves import schedule_curves, schedule_section

    if what != "schedules":
        raise SettingError(f"--plot: {what or 'a list of everything'} has no curves; cotag list schedules --plot")
    if out is not None and not out.lower().endswith(".html"):
        raise SettingError(f"--out {out}: the picture is an HTML file; give a name that ends in .html")
    curves = schedule_curves(settings)
    if out is not None:
        write_report([schedule_section(curves)], out, "Schedules", ", ".join(settings), force)
    if as_json:
        print_json({"schedules": {name: {"done": x, "factor": y} for name, (x, y) in curves.items()}})
        return
    described = SCHEDULES.described()
    for name, (_, factors) in curves.items():
        print("\n".join([f"{name}: {described[name]}", *braille_plot(factors), ""]))
    print("The learning rate as a factor of train.learning_rate, from the first step to the last.")
    if out is not None:
        print(f"\npicture: {out}")


def _backbones() -> dict[str, str]:
    import timm

    return dict.fromkeys(timm.list_models(), "")
