"""Section: what a report, a statistic or an answer is made of."""

from __future__ import annotations

import json

import pytest

from cotag.types.section import Section


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
