"""Arguments that several verbs share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cotag.errors import SettingError

Data = Annotated[str, typer.Argument(metavar="DATA", help="format:path, or a path whose format is plain.")]
Read = Annotated[
    list[str] | None,
    typer.Option("--read", metavar="KEY=VALUE", help="An option of the reader (order=name, images=DIR); repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Flip = Annotated[bool, typer.Option("--flip", help="Average each picture's logits with its mirror image's.")]
Scales = Annotated[
    str | None, typer.Option(metavar="LIST", help="Average logits over sizes: factors such as 0.875,1,1.125.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def reader_options(given: list[str] | None) -> dict[str, Any]:
    """The keyword options of ``key=value`` texts.

    Raises:
        SettingError: a text has no equals sign.
    """
    options: dict[str, Any] = {}
    for text in given or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise SettingError(f"--read {text!r}: expected key=value, such as order=name")
        options[key] = value
    return options
