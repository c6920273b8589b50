"""Label vectors: what stands for the labels in heads that read their names."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cotag.errors import DataError, FormatError, LabelSpaceError, SettingError, listing, suggestion
from cotag.labels.names import cases_of, spellings_of, unique, words_of
from cotag.labels.pickles import read_numpy_pickle
from cotag.labels.text_encoder import PROMPTS, clip_vectors
from cotag.labels.vector_files import WordVectors, read_word_vectors
from cotag.types.labels import LabelSpace
from cotag.types.progress import Progress

SIZE = 300
SOURCES = ("one_hot", "random", "learned")
FALLBACKS = ("refuse", "mean", "random", "zero")
PICKLES = (".pkl", ".pickle")


@dataclass(frozen=True)
class LabelVectors:
    """One vector for each label.

    Attributes:
        vectors_KE: float32 (K, E).
        label_space: the K labels.
        source: where they are from, in words.
        composed: for each name that does not stand in the source itself, what its vector was made of: one other
            spelling, or the words whose mean it is.
        missing: the names without any vector, which got the fallback.
        learned: whether they are a start for training rather than knowledge.
        notes: what is worth telling, one line each.
    """

    vectors_KE: np.ndarray
    label_space: LabelSpace
    source: str
    composed: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    learned: bool = False
    notes: tuple[str, ...] = ()


def label_vectors(
    label_space: LabelSpace,
    source: str | os.PathLike[str] = "one_hot",
    size: int | None = None,
    fallback: str = "refuse",
    seed: int = 0,
    progress: Progress | None = None,
) -> LabelVectors:
    """Vectors for labels.

    Args:
        source: ``one_hot`` (E = K), ``random`` (normal, kept), ``learned`` (the same, trained on),
            ``clip:ARCHITECTURE/WEIGHTS`` (text encoder of open_clip), the path of a text file (GloVe, word2vec,
            fastText; gzip too), or of a pickle with one row for each label in alphabetical order, as the authors of
            ML-GCN publish them for COCO and VOC.
        size: E of ``random`` and ``learned``; 300. For another source it must be what the source has.
        fallback: what a name gets of which the file holds no word: ``refuse`` (an error), ``mean`` (of those that
            have one), ``random`` (of their mean length), ``zero``.
        seed: of everything random.
        progress: told of a long reading.

    A name of several words is looked up whole (``traffic_light``, ``traffic-light``, ``trafficlight``), else it gets
    the mean of the words that the file has, each as it is written, else in lower case.

    Raises:
        SettingError: an unknown source or fallback, or another size than the source has.
        DataError: a file is wrong, or a name has no vector and ``fallback`` is ``refuse``.
        LabelSpaceError: the labels are not in the order of a pickle's rows.
        MissingExtra: a text encoder is not installed.
    """
    if fallback not in FALLBACKS:
        raise SettingError(f"vectors.fallback = {fallback!r} is not known{suggestion(fallback, FALLBACKS)}")
    name = str(source)
    if name in SOURCES:
        made = _made_up(label_space, name, size, seed)
    elif name.startswith("clip:"):
        vectors_KE = clip_vectors(label_space.names, name.removeprefix("clip:"), seed)
        prompts = "; ".join(prompt.format("NAME") for prompt in PROMPTS)
        made = LabelVectors(vectors_KE, label_space, f"{name}, mean of the prompts: {prompts}")
    elif not Path(name).is_file():
        allowed = suggestion(name, [*SOURCES, "clip:ARCHITECTURE/WEIGHTS"])
        raise SettingError(f"vectors.source = {name!r}: there is no such file{allowed}")
    elif Path(name).suffix in PICKLES:
        made = _of_pickle(label_space, Path(name))
    else:
        made = _of_words(label_space, Path(name), fallback, seed, progress)
    found = made.vectors_KE.shape[1]
    if size is not None and size != found:
        raise SettingError(f"vectors.size = {size}: {name} has vectors of {found} values; leave vectors.size out")
    return made


def _made_up(label_space: LabelSpace, source: str, size: int | None, seed: int) -> LabelVectors:
    count = len(label_space)
    if source == "one_hot":
        return LabelVectors(np.eye(count, dtype=np.float32), label_space, source)
    random_KE = np.random.default_rng(seed).standard_normal((count, size or SIZE), dtype=np.float32)
    return LabelVectors(random_KE, label_space, f"{source} (seed {seed})", learned=source == "learned")


def _of_pickle(label_space: LabelSpace, path: Path) -> LabelVectors:
    """Rows of a matrix without names: their order is a fact that must be declared, and here it is the alphabet's."""
    found = read_numpy_pickle(path)
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu":
        raise FormatError(f"{path}: holds no matrix of label vectors (K rows); counts are read as a graph instead")
    if len(found) != len(label_space):
        raise LabelSpaceError(
            f"{path}: holds vectors of {len(found)} labels and names none of them; {len(label_space)} labels are given"
        )
    ordered = sorted(label_space.names)
    if list(label_space.names) != ordered:
        place = next(k for k, name in enumerate(ordered) if name != label_space.names[k])
        raise LabelSpaceError(
            f"{path}: its rows are labels in alphabetical order, without names; these labels are not (at {place} "
            f"stands {label_space.names[place]}, not {ordered[place]}): read COCO with order=name, or give a text file"
        )
    vectors_KE = np.ascontiguousarray(found, dtype=np.float32)
    bad = [name for name, row in zip(ordered, vectors_KE, strict=True) if not (np.isfinite(row).all() and row.any())]
    if bad:
        raise DataError(f"{path}: vectors are zero or not finite: {listing(bad)}; give another file")
    note = f"{path.name} names no labels: its rows were taken as {ordered[0]} to {ordered[-1]}, in alphabetical order"
    return LabelVectors(vectors_KE, label_space, f"rows of {path.name}", notes=(note,))


def _of_words(label_space: LabelSpace, path: Path, fallback: str, seed: int, progress: Progress | None) -> LabelVectors:
    wanted = unique(form for name in label_space.names for form in _forms(name))
    words = read_word_vectors(path, wanted, progress)
    used = {name: _used(name, words) for name in label_space.names}
    found = {name: np.mean([words.vectors[one] for one in parts], axis=0) for name, parts in used.items() if parts}
    cancelled = [name for name, vector_E in found.items() if not vector_E.any()]
    missing = [name for name in label_space.names if name not in found or name in cancelled]
    if len(missing) == len(label_space):
        raise DataError(f"{path}: holds a vector for none of the {len(missing)} labels ({listing(missing)}); {_OTHER}")
    if missing and fallback == "refuse":
        raise DataError(
            f"{path}: holds no vector for {len(missing)} of {len(label_space)} labels: {listing(missing, 8)}; {_OTHER},"
            " or set vectors.fallback to mean, random or zero"
        )
    known_NE = np.array([vector_E for name, vector_E in found.items() if name not in missing])
    rows = [_fallback(fallback, name, known_NE, seed) if name in missing else found[name] for name in label_space.names]
    composed = {
        name: parts for name, parts in used.items() if parts and name not in missing and parts[0] not in cases_of(name)
    }
    notes = [*words.notes, *_told(path, composed, missing, fallback)]
    vectors_KE = np.array(rows, dtype=np.float32)
    return LabelVectors(vectors_KE, label_space, f"words of {path.name}", composed, missing, notes=tuple(notes))


_OTHER = "rename them to words that it holds, give another file"


def _forms(name: str) -> list[str]:
    """All that is looked up for a name."""
    return [*spellings_of(name), *(form for word in words_of(name) for form in cases_of(word))]


def _used(name: str, words: WordVectors) -> list[str]:
    """The spelling whose vector a name gets, or the words whose mean it gets."""
    whole = next((form for form in spellings_of(name) if form in words.vectors), None)
    if whole is not None:
        return [whole]
    parts = (next((form for form in cases_of(word) if form in words.vectors), None) for word in words_of(name))
    return [part for part in parts if part is not None]


def _fallback(fallback: str, name: str, known_NE: np.ndarray, seed: int) -> np.ndarray:
    if fallback == "mean":
        mean_E: np.ndarray = known_NE.mean(axis=0)
        return mean_E
    if fallback == "zero":
        return np.zeros(known_NE.shape[1])
    # seeded by the name, so that another label beside it changes nothing
    vector_E = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(known_NE.shape[1])
    length = np.linalg.norm(known_NE, axis=1).mean()
    return np.asarray(vector_E * length / np.linalg.norm(vector_E))


def _told(path: Path, composed: dict[str, list[str]], missing: list[str], fallback: str) -> list[str]:
    """Lines on names that do not stand in the file."""
    notes = []
    whole = [f"{name} ({', '.join(parts)})" for name, parts in composed.items() if not _lacks(name, parts)]
    part = [f"{name} (of {', '.join(parts)} alone)" for name, parts in composed.items() if _lacks(name, parts)]
    if whole:
        notes.append(f"{path.name}: labels put together of words ({len(whole)}): {listing(whole, 8)}")
    if part:
        notes.append(f"{path.name}: labels of which a word is lacking ({len(part)}): {listing(part, 8)}")
    if missing:
        notes.append(
            f"{path.name}: labels without a vector, which got {fallback} ({len(missing)}): {listing(missing, 8)}"
        )
    return notes


def _lacks(name: str, parts: list[str]) -> bool:
    """Whether a name was put together from some of its words only."""
    return len(parts) < len(words_of(name)) and parts[0] not in spellings_of(name)
