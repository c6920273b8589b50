"""Section: what a report, a statistic or an answer is made of."""

from __future__ import annotations

import json

import pytest

from cotag.types.section import Section, drawn_names


def test_rows_become_objects() -> None:
    section = Section("Labels", "Two.", ("name", "share"), [("cat", 0.5), ("dog", None)], bars="share")
    assert json.loads(json.dumps(section.to_json())) == {
        "title": "Labels",
        "text": "Two.",
        "rows": [{"name": "cat", "share": 0.5}, {"name": "dog", "share": None}],
    }


def test_empty_parts_are_left_out() -> None:
    assert Section("Only a figure", figure={"data": [], "layout": {}}).to_json() == {"title": "Only a figure"}


def test_table_without_rows_is_kept() -> None:
    assert Section("Labels", columns=("name",)).to_json() == {"title": "Labels", "rows": []}


def test_row_that_does_not_fit_its_columns() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Section("Labels", columns=("name", "share"), rows=[("cat",)]).to_json()


def test_sections_do_not_share_their_rows() -> None:
    first, second = Section("one"), Section("two")
    assert first.rows is not second.rows


def test_names_of_a_figure_are_escaped_cut_and_each_another() -> None:
    assert drawn_names(["<b>", "salt & pepper", "a &amp; b"]) == ["&lt;b&gt;", "salt &amp; pepper", "a &amp;amp; b"]
    assert drawn_names(["x" * 40, "x" * 41]) == ["x" * 40, "x" * 39 + "…"]
    assert drawn_names(["abc<1", "abc<2", "abc"], most=4) == ["abc… (1)", "abc… (2)", "abc"]
