"""Retrieval in a report: tables with the first space as the baseline, and rows of pictures of bounded size."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cotag.evaluation.report import render
from cotag.evaluation.retrieval import MEASURES, Relevance, measure
from cotag.evaluation.sections.gallery import MOST_BYTES
from cotag.evaluation.sections.retrieval import (
    SHOWN_FOUND,
    SHOWN_QUERIES,
    Pictured,
    picture_section,
    retrieval_sections,
)

LABELS = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 0], [0, -1, 0], [0, 1, 1]] * 6, dtype=np.int8)


def about(jpeg: bytes | None = b"\xff\xd8 jpeg", missing: str = "") -> Pictured:
    names = ["<b>cat</b>", "dog", "a label with a very long name " * 3]
    ids = [f"{row}.jpg" for row in range(len(LABELS))]
    return Pictured(ids, LABELS, names, lambda name: None if name == missing else jpeg)


def test_tables_hold_every_space_measure_and_k() -> None:
    random = np.random.default_rng(0)
    spaces = {
        name: Relevance(random.integers(0, 3, (30, 5)), random.random((30, 5)), np.full(30, 8)) for name in ("a", "b")
    }
    table, detail = retrieval_sections(measure(spaces, [1, 5]), "What was searched.")
    assert table.text.startswith("What was searched.")
    assert [row[:2] for row in table.rows] == [["a", 1], ["b", 1], ["a", 5], ["b", 5]]
    assert table.rows[2][2:] == pytest.approx([float(spaces["a"].at(5)[name].mean()) for name in MEASURES])
    assert len(detail.rows) == 2 * 2 * len(MEASURES)
    for row in detail.to_json()["rows"]:
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["p"] is None) == (row["space"] == "a")
        if row["p"] is not None:
            assert row["difference low"] <= row["difference"] <= row["difference high"]


def test_every_row_of_pictures_begins_with_its_query() -> None:
    queries = np.arange(30)
    found = {name: np.tile(np.arange(9), (30, 1)) for name in ("plain", "learned")}
    section = picture_section(queries, found, about())
    assert len(section.pictures) == SHOWN_QUERIES * 2 * (1 + SHOWN_FOUND)
    begins = [place for place, picture in enumerate(section.pictures) if "begins" in picture]
    assert begins == list(range(0, len(section.pictures), 1 + SHOWN_FOUND))
    captions = [section.pictures[place]["caption"].split("\n") for place in begins]
    assert [lines[1] for lines in captions] == ["by plain", "by learned"] * SHOWN_QUERIES
    assert all(lines[0].startswith("query: ") and lines[0] != "query: " for lines in captions)
    assert section.pictures == picture_section(queries, found, about()).pictures
    page = render([section], "Retrieval")
    assert len(re.findall('<li class="begins">', page)) == len(begins)
    assert "<b>cat</b>" not in page


def test_captions_say_what_is_shared_and_what_is_not() -> None:
    section = picture_section(np.array([0]), {"plain": np.array([[2, 1, 3, 4]])}, about())
    lines = [picture["caption"].split("\n") for picture in section.pictures]
    assert lines[0] == ["query: <b>cat</b>, dog", "by plain"]
    assert lines[1] == ["shares <b>cat</b>"]
    assert lines[2][0] == "shares none"
    assert lines[2][1].startswith("besides: a label with")
    assert lines[2][1].endswith("…")
    assert lines[3] == ["shares none"]
    assert all(picture["alt"] for picture in section.pictures)


@pytest.mark.parametrize("pictured", [about(None), about(b"x" * (MOST_BYTES + 1)), about(missing="1.jpg")])
def test_rows_without_all_their_pictures_are_left_out(pictured: Pictured) -> None:
    section = picture_section(np.array([0, 2]), {"plain": np.array([[1, 2], [1, 0]])}, pictured)
    assert not section.pictures
    assert section.text == "There are no pictures to show."
