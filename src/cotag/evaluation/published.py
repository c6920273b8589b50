"""Published results beside which own ones are put: each row with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotag.errors import SettingError, suggestion
from cotag.types.section import Section

ALL = ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1")
TOP_3 = ("CP@3", "CR@3", "CF1@3", "OP@3", "OR@3", "OF1@3")
PAPER = "Chen, Wei, Wang, Guo, CVPR 2019"
AUTHORS = "the authors of ML-GCN, with their program"
REPEATED = "a reproduction with batch 8 and 40 epochs"
OWN = "this model"


@dataclass(frozen=True)
class Published:
    """One method's published numbers.

    Attributes:
        method: its name.
        source: who published them.
        percent: name of the measure -> per cent, as printed.
    """

    method: str
    source: str
    percent: Mapping[str, float]


def _row(method: str, source: str, every: Sequence[float | None], top: Sequence[float | None] = ()) -> Published:
    pairs = [*zip(ALL, every, strict=False), *zip(TOP_3, top, strict=False)]
    return Published(method, source, {name: value for name, value in pairs if value is not None})


@dataclass(frozen=True)
class Benchmark:
    """A data set with its published rows.

    Attributes:
        title: its name.
        labels, images: how many labels there are, and the numbers of test images that were judged on.
        rows: the methods.
    """

    title: str
    labels: int
    images: tuple[int, ...]
    rows: tuple[Published, ...]


BENCHMARKS = {
    "coco2014": Benchmark(
        "COCO 2014, val2014, 448 px",
        80,
        # All images, or only those with a label.
        (40504, 40137),
        (
            _row("ResNet-101, average pooling", PAPER, [77.3]),
            _row("ResNet-101, maximum pooling", AUTHORS, [81.9]),
            _row("ML-GCN, binary graph", PAPER, [80.3]),
            _row(
                "ML-GCN",
                PAPER,
                [83.0, 85.1, 72.0, 78.0, 85.8, 75.4, 80.3],
                [89.2, 64.1, 74.6, 90.5, 66.5, 76.7],
            ),
            _row(
                "ML-GCN, depth 3",
                PAPER,
                [82.1, None, None, 76.9, None, None, 79.7],
                [None, None, 73.7, None, None, 76.2],
            ),
            _row(
                "ML-GCN, depth 4",
                PAPER,
                [81.1, None, None, 76.4, None, None, 79.4],
                [None, None, 72.5, None, None, 75.8],
            ),
            _row(
                "ML-GCN, repeated",
                REPEATED,
                [83.0, 84.0, 72.8, 78.0, 84.7, 76.2, 80.2],
                [88.6, 63.9, 74.3, 89.8, 66.8, 76.6],
            ),
        ),
    ),
    "voc2007": Benchmark(
        "VOC 2007, test, 448 px",
        20,
        (4952,),
        (
            _row("ResNet-101, average pooling", PAPER, [91.7]),
            _row("ResNet-101, maximum pooling", AUTHORS, [93.0]),
            _row("ML-GCN", PAPER, [94.0]),
        ),
    ),
}


def benchmark(name: str) -> Benchmark:
    """The published rows of a data set.

    Raises:
        SettingError: there are none; the message gives the nearest name.
    """
    if name not in BENCHMARKS:
        raise SettingError(f"published results of {name!r} are not known{suggestion(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def comparison_sections(
    known: Benchmark, method: str, own: Mapping[str, Mapping[str, float | None]], notes: Sequence[str] = ()
) -> list[Section]:
    """Published rows beside own ones, and how far each is from one published method.

    Args:
        method: the published row that all others are set against.
        own: name -> measures in [0, 1], of the protocol ``mlgcn-top3``.
        notes: what is to be said first, such as that the own rows are of other images.

    Raises:
        SettingError: the data set has no such row.
    """
    rows = {row.method: row for row in known.rows}
    if method not in rows:
        raise SettingError(f"published method {method!r} is not known{suggestion(method, rows)}")
    percent: dict[str, Mapping[str, float]] = {row.method: row.percent for row in known.rows}
    source = {row.method: row.source for row in known.rows}
    for name, measured in own.items():
        percent[name] = {key: 100 * value for key in (*ALL, *TOP_3) if (value := measured.get(key)) is not None}
        source[name] = OWN
    about = f"{known.title}, in per cent. Own rows: exact AP; labels at a probability of 0.5 or more; "
    about += "top 3: of the three highest of an image, those over 0.5."
    sections = []
    for title, names, said in (("All", ALL, notes), ("Top 3", TOP_3, ())):
        table = [
            [name, *(values.get(key) for key in names), source[name]]
            for name, values in percent.items()
            if any(key in values for key in names)
        ]
        if table:
            columns = ("method", *names, "source")
            sections.append(Section(f"Published and own: {title}", "\n\n".join([*said, about]), columns, table))
    base = percent[method]
    others = {name: percent[name] for name in percent if name != method and source[name] in (REPEATED, OWN)}
    relative: list[list[Any]] = [
        [key, base[key], *(relative_percent(values.get(key), base[key]) for values in others.values())] for key in base
    ]
    told = f"(x - {method}) / {method}, in per cent, as the reproduction reports it; a dash where nothing is published."
    columns = ("measure", method, *others)
    return [*sections, Section("Relative difference", told, columns, relative)]


def relative_percent(value: float | None, published: float) -> float | None:
    """How far a value is from a published one, in per cent of the latter.

    >>> round(relative_percent(84.7, 85.8), 2)
    -1.28
    """
    return None if value is None else 100 * (value - published) / published
