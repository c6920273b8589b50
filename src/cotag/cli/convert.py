"""The verb ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cotag.cli.arguments import Force, Read, reader_options
from cotag.errors import OutputExists, SettingError, suggestion

if TYPE_CHECKING:
    from cotag.types.labels import LabelSpace

PROGRAMS = ("mlgcn",)
# How many names are shown of each end of the label space.
SHOWN = 3


def convert(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="Whose it is: mlgcn.")],
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A file of torch.save with a state_dict.")],
    labels: Annotated[
        str,
        typer.Option(metavar="FILE.txt|DATA", help="Its labels in its order: one name a line; COCO by name."),
    ],
    vectors: Annotated[
        str, typer.Option(metavar="FILE", help="The label vectors that it was trained with: text or pickle.")
    ],
    out: Annotated[str, typer.Option(metavar="DIR", help="The folder of the model.")],
    backbone: Annotated[str, typer.Option(metavar="NAME", help="The timm name of its ResNet.")] = "resnet101",
    read: Read = None,
    force: Force = False,
) -> None:
    """Make a model of another program's checkpoint, for predict and evaluate.

    The published ML-GCN checkpoints hold neither label names nor label vectors: their order is taken as given.

    Example: cotag convert mlgcn coco_checkpoint.pth.tar --labels coco:instances_val2014.json
    --vectors coco_glove_word2vec.pkl --out models/mlgcn
    """
    from cotag.cli.terminal import TerminalProgress

    if program not in PROGRAMS:
        raise SettingError(f"program {program!r} is not known{suggestion(program, PROGRAMS)}")
    _require_free(out, force)
    space = _label_space(labels, read)

    from cotag.evaluation.decision import Decision
    from cotag.labels.embeddings import label_vectors
    from cotag.models.bundle import save_tagger
    from cotag.models.mlgcn_checkpoint import load_mlgcn

    progress = TerminalProgress()
    meaning = label_vectors(space, vectors, progress=progress)
    for note in meaning.notes:
        progress.say(f"note: {note}")
    tagger = load_mlgcn(checkpoint, meaning, backbone)
    origin = {"converted": program, "checkpoint": checkpoint, "labels": labels, "vectors": meaning.source}
    save_tagger(tagger, out, Decision().to_json(), origin)
    names = [f"{number} {name}" for number, name in enumerate(space.names)]
    middle = ["..."] if len(names) > 2 * SHOWN else []
    ends = [*names[:SHOWN], *middle, *names[SHOWN:][-SHOWN:]]
    print(f"labels: {len(space)}, in the order {', '.join(ends)}")
    print(f"model:  {out}")


def _require_free(out: str, force: bool) -> None:
    """Refuse to overwrite without ``--force``, and to replace anything but a model with it."""
    from cotag.models.bundle import SETTINGS
    from cotag.storage import require_free

    require_free(out, force)
    path = Path(out)
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / SETTINGS).is_file()):
        raise OutputExists(f"{out}: holds something else than a model; choose another --out")


def _label_space(labels: str, read: list[str] | None) -> LabelSpace:
    """The labels of a list or of a data set; those of COCO in the order of their names, unless told otherwise."""
    if labels.endswith(".txt"):
        from cotag.labels.names import read_label_names

        if read:
            raise SettingError("--read is for data, and --labels names a list; leave it out")
        return read_label_names(labels)
    from cotag.data import read as reading
    from cotag.data.recognize import recognize

    options = reader_options(read)
    name, place = reading.split_format(labels)
    if (name or recognize(Path(place))[0]) == "coco":
        options.setdefault("order", "name")
    return reading.read(labels, **options).label_space
