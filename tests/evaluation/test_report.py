"""The report: one file, safe text, a table that a screen reader understands, and nothing from a network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.errors import OutputExists, StorageError
from cotag.evaluation.figures import bar, count_against_score, epoch_curves
from cotag.evaluation.report import format_cell, render, write_report
from cotag.types.section import Section, drawn_names

EVIL = "</script><script>alert('x')</script> & \"b\""
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page with their attributes and text; fails where a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.elements[-1]["text"] += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        found = [element for element in self.elements if element["tag"] == tag]
        return [{**element, "text": element["text"].strip()} for element in found]


def sections() -> list[Section]:
    rows = [("cat", 0.5, 1200), (EVIL, None, 3)]
    return [
        Section("Result", "First.\n\nSecond.", ("label", "AP", "images"), rows, bars="AP"),
        Section(EVIL, figure=bar([EVIL, "dog"], [1.0, float("nan")], EVIL)),
    ]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(sections(), EVIL, "coco:photos"))


def test_the_page_is_whole_and_small(tmp_path: Path) -> None:
    path = tmp_path / "run" / "report.html"
    write_report(sections(), path, "Run")
    assert path.stat().st_size < 6_000_000
    assert Page(path.read_text(encoding="utf-8")).open == []
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for element in page.elements:
        assert not element.get("src")
        assert element["tag"] not in ("link", "img", "iframe", "object", "base", "form")
        assert element.get("href", "#").startswith("#")
    style = page.all("style")[0]["text"]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_plotly_is_embedded_once_and_only_for_figures(page: Page) -> None:
    plain = render([Section("A", "text")], "T")
    assert len(plain) < 20_000
    assert "Plotly" not in plain
    assert sum(len(element["text"]) > 1_000_000 for element in page.all("script")) == 1


def test_text_stays_text(page: Page) -> None:
    scripts = page.all("script")
    assert not any("alert" in element["text"] for element in scripts if element.get("type") != "application/json")
    assert page.all("title")[0]["text"] == EVIL
    assert page.all("h1")[0]["text"] == EVIL
    assert page.all("h2")[1]["text"] == EVIL
    assert page.all("figcaption")[0]["text"] == EVIL
    assert EVIL in [element["text"] for element in page.all("th")]


def test_figures_come_through_as_they_were_given(page: Page) -> None:
    (data,) = (element for element in page.all("script") if element.get("type") == "application/json")
    assert re.search(r"[<>&]", data["text"]) is None
    figure = json.loads(data["text"])
    assert figure["data"] == [{"type": "bar", "orientation": "h", "y": drawn_names([EVIL, "dog"]), "x": [1.0, None]}]
    assert "title" not in figure["layout"]
    places = [element.get("data-figure") for element in page.elements if element.get("data-figure")]
    assert places == [data["id"]]
    arrays = render([Section("A", figure={"data": [{"x": np.array([1.0, np.inf]), "y": (np.int64(2),)}]})], "T")
    assert '{"data": [{"x": [1.0, null], "y": [2]}], "layout": {}}' in arrays


def test_the_page_can_be_read_without_eyes_or_mouse(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    ids = [element["id"] for element in page.elements if "id" in element]
    assert len(ids) == len(set(ids))
    links = [element["href"][1:] for element in page.all("a")]
    assert links == ["content", "section-1", "section-2"]
    assert set(links) <= set(ids)
    assert page.all("a")[0]["class"] == "skip"
    assert [element["aria-labelledby"] for element in page.all("section")] == ["section-1", "section-2"]
    assert [element["text"] for element in page.all("caption")] == ["Result"]
    heads = [element for element in page.all("th") if element.get("scope") == "col"]
    assert [element["aria-sort"] for element in heads] == ["none"] * 3
    assert [element["text"] for element in page.all("button")] == ["label", "AP", "images"]
    assert len([element for element in page.all("th") if element.get("scope") == "row"]) == 2
    boxes = [element for element in page.all("div") if element.get("role") == "region"]
    assert [(element["tabindex"], element["aria-label"]) for element in boxes] == [("0", "Table: Result")]


def test_cells_are_formatted_and_carry_what_sorts_them(page: Page) -> None:
    cells = page.all("td")
    assert [cell.get("data-value") for cell in cells] == ["0.5", "1200.0", None, "3.0"]
    assert [cell["text"] for cell in cells] == ["", "1,200", "–", "3"]
    (span,) = page.all("span")
    assert (span["text"], span["style"]) == ("0.500", "--part:100.0%")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "inf"),
        (True, "yes"),
        (0, "0"),
        (0.0, "0.000"),
        (1.0, "1.000"),
        (0.12345, "0.123"),
        (0.00004, "4.0e-05"),
        (253.835, "253.8"),
        (1234567, "1,234,567"),
        (np.int64(12), "12"),
        (np.float32(3), "3.000"),
        ("0.5", "0.5"),
    ],
)
def test_cells_as_text(value: Any, text: str) -> None:
    assert format_cell(value) == text


def test_a_table_without_rows_and_a_bar_of_nothing() -> None:
    empty = Page(render([Section("A", "None found.", ("x",), [])], "T"))
    assert empty.all("table") == []
    zeros = Page(render([Section("A", "", ("x", "y"), [("a", 0), ("b", None)], bars="y")], "T"))
    assert zeros.all("span") == []


def test_a_report_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report([], path, "First")
    with pytest.raises(OutputExists, match="--force"):
        write_report([], path, "Second")
    assert "First" in path.read_text(encoding="utf-8")
    write_report([], path, "Second", force=True)
    assert "Second" in path.read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        write_report([], tmp_path / "file" / "report.html", "T")


def test_epoch_curves_take_the_keys_that_are_there() -> None:
    history = [
        {"epoch": 1, "train_loss": 0.7, "learning_rate": 0.1},
        {"epoch": 2, "train_loss": 0.5, "val_loss": 0.6, "val_mAP": 0.4},
    ]
    figure = epoch_curves(history)
    assert [(line["name"], line["yaxis"], line["x"], line["y"]) for line in figure["data"]] == [
        ("train_loss", "y", [1, 2], [0.7, 0.5]),
        ("val_loss", "y", [1, 2], [None, 0.6]),
        ("val_mAP", "y2", [1, 2], [None, 0.4]),
    ]
    assert "yaxis2" in figure["layout"]
    only = epoch_curves([{"epoch": 1, "val_mAP": 0.4}])
    assert only["data"][0]["yaxis"] == "y"
    assert "yaxis2" not in only["layout"]
    assert epoch_curves([])["data"] == []


def test_counts_against_scores_leave_out_what_is_undefined() -> None:
    figure = count_against_score([5, 9, 7], [0.5, None, float("nan")], ["a", "b", "c"])
    (dots,) = figure["data"]
    assert (dots["x"], dots["y"], dots["text"]) == ([5], [0.5], ["a"])
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert count_against_score([0, 9], [0.5, 0.5], ["a", "b"])["layout"]["xaxis"]["type"] == "linear"
