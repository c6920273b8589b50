"""WebDataset: tar files (shards) in which files of one name and several endings are one sample."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from cotag.data.assembly import assemble, label_lists, space_of
from cotag.data.images import IMAGE_SUFFIXES
from cotag.data.sample_labels import LabelReader, Labels
from cotag.data.shard_names import below, common_folder, files_of, numbered, split_of
from cotag.data.sources import SPLITS, PathLike, Source, choice, names_of
from cotag.data.tar_shards import Member, Walk, keep_table, member_bytes, shard_stamp
from cotag.errors import DataError, FormatError, listing
from cotag.types.index import Index
from cotag.types.places import Place, is_address, root_of

INCOMPLETE = ("stop", "skip")
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")


@dataclass
class _Found:
    """N samples: reference of the image and split of each, and their labels."""

    references: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    labels: Labels = field(default_factory=Labels)
    incomplete: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_webdataset(
    path: PathLike,
    /,
    *,
    image: str | None = None,
    labels: str | None = None,
    key: str = "labels",
    separator: str = "|",
    names: PathLike | None = None,
    splits: str | Iterable[str] = (),
    missing: str = "stop",
) -> Index:
    """Read WebDataset shards: in a tar file ``0001.jpg`` and ``0001.json`` are one sample.

    A sample's name ends at the first dot of the file's name; members of one sample follow each other. A shard is gone
    through once; the pictures stay in it and are read from their places. The split is that of the shard's folder
    (``train/0.tar``) or the beginning of its name (``train-0.tar``), where this is one.

    Args:
        path: a tar file without compression, a folder of them, or a pattern, in which ``{000..012}`` stands for these
            numbers; or the address of one or of such a pattern.
        image: the ending of the pictures' names (``jpg``); where not given, any that is known.
        labels: the ending of the labels' names: ``json``; ``cls``, numbers; ``txt``, names on lines or between
            separators. Where not given, the only one of these that the first shard holds.
        key: in ``json``, under which the labels are: names, numbers, or an object with 1, 0 or null for each name.
        separator: in ``txt``, between the labels of a line.
        names: a text file with a label on each line, which numbers count from 0; without it labels are names, in
            alphabetical order.
        splits: further names that are splits, beside ``train``, ``val``, ``test`` and ``trainval``.
        missing: samples without picture or labels: ``stop`` or ``skip`` (left out, noted).

    Raises:
        FormatError: a file is no tar file, or nothing there has labels.
        DataError: there are no shards, or a sample is wrong; named by its shard and key.
    """
    choice("missing", missing, INCOMPLETE)
    root, shards = shards_of(path)
    reader = LabelReader(labels, key, separator, names)
    found = _Found()
    allowed = {*SPLITS, *names_of(splits)}
    for shard in shards:
        _collect(shard, root, image, reader, split_of(shard, allowed), found)
    _settle(found, missing)
    _require_unique(found.references, path)
    place, space_names = found.labels.order(reader.names)
    space = space_of(Path(os.fspath(path)), space_names)
    columns: dict[str, Any] = {"image": found.references, "split": found.splits}
    for name, pairs in (("positives", found.labels.positives), ("unknowns", found.labels.unknowns)):
        rows, labels_M = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        columns[name] = label_lists(rows, place[labels_M], len(found.references), len(space))
    source = Source(Path(os.fspath(path)), lambda row: found.references[row])
    return assemble(columns, space, source, root, notes=found.notes)


def _settle(found: _Found, missing: str) -> None:
    """Refuse samples without picture or labels, or note that they are left out."""
    if found.incomplete and (missing == "stop" or not found.references):
        raise DataError(
            f"{found.incomplete[0]}; {len(found.incomplete)} samples lack their picture or labels; correct the shards, "
            f"or read with missing=skip{_also(found.notes)}"
        )
    if found.incomplete:
        count = len(found.incomplete)
        found.notes.append(
            f"{count} samples lack their picture or labels and are left out, first {found.incomplete[0]}"
        )


def _also(notes: list[str]) -> str:
    return f" ({notes[0]})" if notes else ""


def shards_of(path: PathLike) -> tuple[Place, list[Place]]:
    """The root of references, and the shards that a path, a folder, a pattern or an address stands for, in order.

    Raises:
        DataError: there are none.
    """
    text = os.fspath(path)
    given = list(numbered(text))
    if not Path(text).is_dir() and any(not one.endswith((".tar", "*")) for one in given):
        raise DataError(
            f"{text}: is no name of a shard; give a folder, or files that end in .tar and are not compressed"
        )
    if is_address(text):
        if any(sign in text for sign in "*?["):
            raise DataError(f"{text}: an address takes no * or ?; give the numbers as {{000..012}}")
        # References to shards of another folder are whole addresses.
        return root_of(given[0].rpartition("/")[0]), list(given)
    if Path(text).is_dir():
        found = sorted(one for one in Path(text).rglob("*.tar") if one.is_file())
        root_path = Path(text)
    else:
        found = files_of(text, "a tar file, a folder of them")
        root_path = common_folder(found)
    if not found:
        raise DataError(f"{text}: holds no tar file; give the folder of the shards, or a pattern such as train-*.tar")
    return root_path, list(found)


def _collect(
    shard: Place, root: Place, image: str | None, reader: LabelReader, split: str | None, found: _Found
) -> None:
    """Add the samples of a shard, and keep its table."""
    walk, every = Walk(shard), []
    base = _relative(shard, root)

    def named() -> Iterator[tuple[str, str, Member, bytes | None]]:
        for member, stream in walk.members():
            every.append(member)
            match = _NAME.fullmatch(member.name)
            if match is None:
                continue
            ending = match[2].lower()
            content = member_bytes(stream, member) if reader.wants(ending) else None
            # Labels that are cut short are none.
            whole = content is not None and len(content) == member.size
            yield match[1], ending, member, content if whole else None

    stamp = shard_stamp(shard)
    for name, members in itertools.groupby(named(), key=lambda one: one[0]):
        sample = list(members)
        pictures = [one for one in sample if _is_picture(one[1], image)]
        if len(pictures) > 1:
            endings = [one[1] for one in pictures]
            raise DataError(f"{shard}: sample {name!r} has {listing(endings)}; read with image=ENDING, the picture's")
        texts = {one[1]: one[3] for one in sample if one[3] is not None}
        where = f"{shard}: sample {name!r}"
        if not pictures or not reader.has(texts, where):
            what = "no picture" if not pictures else f"no {reader.ending or 'labels'}"
            found.incomplete.append(f"{where} has {what}")
            continue
        reader.read(texts, len(found.references), found.labels, where)
        found.references.append(f"{base}::{pictures[0][2].name}")
        found.splits.append(split)
    if not every:
        raise FormatError(f"{shard}: holds no file; give a tar file with pictures and labels")
    if walk.cut:
        found.notes.append(f"{shard}: {walk.cut}; what came after is not known; fetch the shard again")
    _require_once(every, shard)
    keep_table(shard, stamp, every)


def _is_picture(ending: str, image: str | None) -> bool:
    return ending == image.lower().lstrip(".") if image is not None else f".{ending}" in IMAGE_SUFFIXES


def _relative(shard: Place, root: Place) -> str:
    if isinstance(shard, Path):
        return below(shard, root)
    reference = shard.removeprefix(f"{root}/")
    return unquote(reference) if shard.startswith("http") and reference != shard else reference


def _require_once(members: list[Member], shard: Place) -> None:
    name, count = Counter(member.name for member in members).most_common(1)[0]
    if count > 1:
        raise DataError(f"{shard}: holds {name!r} {count} times; give each sample a name of its own")


def _require_unique(references: list[str], path: PathLike) -> None:
    if len(set(references)) != len(references):
        double = next(name for name, count in Counter(references).items() if count > 1)
        raise DataError(f"{path}: {double!r} stands twice; give each shard once")
