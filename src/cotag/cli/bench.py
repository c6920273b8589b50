"""The verb ``bench``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cotag.cli.arguments import Json, Read, reader_options
from cotag.errors import SettingError, suggestion

KINDS = {"train": "finetune", "predict": None, "input": "finetune"}


def bench(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="train, predict or input.")],
    on: Annotated[list[str], typer.Argument(metavar="ON", help="DATA; for predict MODEL IMAGES...")],
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="train, input: as in cotag train; else finetune.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable.")
    ] = None,
    read: Read = None,
    batch_size: Annotated[int | None, typer.Option(min=1, metavar="N", help="predict: pictures at a time; 32.")] = None,
    seconds: Annotated[float, typer.Option(min=0, metavar="S", help="About how long to measure.")] = 20.0,
    as_json: Json = False,
) -> None:
    """Where the time goes in training, predicting or reading pictures, and what would help.

    ``input`` times reading, decoding and resizing in one process, and the loader with its workers; ``train`` the
    loader alone, forward, backward and optimizer alone, and all together; ``predict`` preparing pictures, the model,
    and both. No model is saved.

    Example: cotag bench train table:photos/labels.csv --recipe finetune --seconds 60
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections

    if what not in KINDS:
        raise SettingError(f"bench {what!r} is not known{suggestion(what, KINDS)}")
    if what == "predict":
        if recipe or settings or read:
            raise SettingError("bench predict: takes a saved model as it is; leave --recipe, --set and --read out")
        if len(on) < 2:
            raise SettingError("bench predict: needs a model and pictures; give MODEL IMAGES...")
        from cotag.run.bench.predict import bench_predict

        found = bench_predict(on[0], on[1:], seconds, batch_size or 32)
    else:
        if batch_size is not None:
            raise SettingError(f"bench {what}: takes the recipe's batches; give --set train.batch_size={batch_size}")
        if len(on) > 1:
            raise SettingError(f"bench {what}: takes one DATA, given {len(on)}; leave {on[1]!r} out")
        from cotag.run.bench.input import bench_input
        from cotag.run.bench.train import bench_train

        measure = bench_train if what == "train" else bench_input
        # Quoted: a separator such as | has a meaning of its own in YAML.
        options = [f"data.read.{key}={json.dumps(value)}" for key, value in reader_options(read).items()]
        name = recipe or str(KINDS[what])
        found = measure(on[0], name, [*(settings or []), *options], seconds, TerminalProgress())
    if as_json:
        print_json(found.to_json())
    else:
        print_sections([found.section()])
