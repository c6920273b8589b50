"""Read the embedded example, which is drawn the first time and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from cotag.data.psg import read_psg
from cotag.data.scenes.psg_files import PSG_FOLDER, WHOLE, WITHHELD, is_written, write_psg
from cotag.data.scenes.themes import known_on
from cotag.data.scenes.vocabulary import VERSION, VIEWS
from cotag.data.scenes.write import MARKER, settings_of, write_scenes
from cotag.errors import OutputExists, SettingError, suggestion
from cotag.storage import cache_folder
from cotag.types.index import Index
from cotag.types.progress import Progress

# Below 64 pixels textures and small things could not be told apart.
RANGES = {"images": (1, 1_000_000), "size": (64, 1024), "seed": (0, 2**63 - 1)}
ALL_VIEWS = (*VIEWS, "psg")
KNOWN = 0.02
"""Share of the training images on which a theme is known, where none is given."""


def read_scenes(
    view: str = "",
    *,
    images: int | str = 2400,
    size: int | str = 96,
    seed: int | str = 0,
    known: float | str | None = None,
    withheld: bool = False,
    out: str | None = None,
    progress: Progress | None = None,
) -> Index:
    """Drawn scenes of 1 to 6 things, deterministic by seed, with exact labels, boxes, masks and relations.

    Image i depends on seed, size and i alone: the first 100 of 2,400 are the 100 of another call.

    Args:
        view: ``objects`` (the default; labels are shapes, colors, textures, sizes and backgrounds), ``relations``
            (labels are the relations that occur; with triplets), ``themes`` (those of ``objects`` and after them
            the scene's theme, which is never drawn but implied by what is, and mostly unknown in training) or
            ``psg`` (of 50 relations and 6 vague ones the few that somebody would name, with a long tail; read from
            panoptic scene graph files that are written into the folder's folder ``psg``).
        images: how many, 1 to 1,000,000.
        size: pixels of a picture's side, 64 to 1024.
        seed: 0 or more.
        known: for ``themes``, the share of the images of the split ``train`` on which a theme is known, each theme by
            itself, in (0, 1]; 0.02 if not given. What is known at one share is known at a larger one too.
        withheld: for ``psg``, whether the relations of the test images are withheld.
        out: the folder to write to, and to read from when the same scenes are there; Cotag's cache if not given.
        progress: told of every picture that is drawn.

    Raises:
        SettingError: an unknown view, a number that is none or out of range, or ``known`` or
            ``withheld`` for another view.
        DataError: for ``psg``, no image has a relation.
        OutputExists: ``out`` holds something else.
        StorageError: the scenes could not be written; nothing half-written remains.
    """
    name = view or "objects"
    if name not in ALL_VIEWS:
        raise SettingError(f"scenes:{view}: there is no such view{suggestion(view, ALL_VIEWS)}")
    share = _known(name, known)
    if withheld and name != "psg":
        raise SettingError(f"scenes:{view}: withheld=true hides the relations of test images; read scenes:psg with it")
    settings = settings_of(_number("images", images), _number("size", size), _number("seed", seed))
    count, side, start = settings["images"], settings["size"], settings["seed"]
    kept = cache_folder("scenes") / f"v{VERSION}-{count}x{side}-seed{start}"
    folder = Path(out) if out else kept
    found = _marker(folder)
    if found != settings:
        if out:
            _require_empty(folder, found)
        write_scenes(folder, count, side, start, progress)
    if name == "psg":
        return _psg(folder, count, withheld, progress)
    # A saved index knows where it was written; the folder may have moved since.
    index = replace(Index.load(folder / f"{name}.arrow"), root=folder)
    return known_on(index, share, start) if name == "themes" else index


def _psg(folder: Path, count: int, withheld: bool, progress: Progress | None) -> Index:
    if not is_written(folder):
        write_psg(folder, progress)
    index = read_psg(folder / PSG_FOLDER / (WITHHELD if withheld else WHOLE), images=folder)
    left_out = f"{count - len(index)} of {count} scenes are left out, since they show no relation"
    return replace(index, notes=(*index.notes, *([left_out] if len(index) < count else [])))


def _known(view: str, value: float | str | None) -> float:
    """The share of training images on which a theme is known."""
    if value is None:
        return KNOWN
    if view != "themes":
        raise SettingError(
            f"scenes:{view}: known={value} says on how many images themes are known; read scenes:themes with it"
        )
    try:
        share = float(str(value))
    except ValueError:
        raise SettingError(f"scenes: known={value!r} is not a number; allowed: above 0, up to 1") from None
    if not 0 < share <= 1:
        raise SettingError(f"scenes: known={value} is out of range; allowed: above 0, up to 1")
    return share


def _number(name: str, value: int | str) -> int:
    low, high = RANGES[name]
    try:
        number = int(str(value))
    except ValueError:
        raise SettingError(f"scenes: {name}={value!r} is not a whole number; allowed: {low} to {high}") from None
    if not low <= number <= high:
        raise SettingError(f"scenes: {name}={number} is out of range; allowed: {low} to {high}")
    return number


def _marker(folder: Path) -> dict[str, int] | None:
    """The settings of the scenes in a folder; None where there are none."""
    try:
        found: dict[str, int] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _require_empty(folder: Path, found: dict[str, int] | None) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    what = f"other scenes ({json.dumps(found)})" if found else "something that is no folder of scenes"
    raise OutputExists(f"{folder}: holds {what}; choose another out, or an empty folder")
