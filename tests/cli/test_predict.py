"""``cotag predict``: files, folders and patterns in; a table, CSV or JSON lines out."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotag.data.read import read
from cotag.inference.predictor import Prediction, load


@pytest.fixture(scope="module")
def folder(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures, one of them below, with 0 to 3 labels, and a file that is none."""
    made = tmp_path_factory.mktemp("photos")
    (made / "below").mkdir()
    rows = list(csv.DictReader(pictures.open(newline="")))
    for place, name in enumerate(("a.png", "b.png", "c d.png", "e,f.png", "below/g.png")):
        labels = min(place, 3)
        source = [row["image"] for row in rows if len(list(filter(None, row["labels"].split("|")))) == labels]
        shutil.copy(pictures.parent / source[place], made / name)
    (made / "notes.txt").write_text("mine")
    return made


@pytest.fixture(scope="module")
def expected(trained: Path, folder: Path) -> list[Prediction]:
    names = ("a.png", "b.png", "below/g.png", "c d.png", "e,f.png")
    return list(load(trained).predict([folder / name for name in names]))


def test_a_table_for_people(
    cotag: Callable[..., Any],
    trained: Path,
    folder: Path,
    expected: list[Prediction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    ran = cotag("predict", trained, ".")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    for line, one in zip(lines, expected, strict=True):
        shown = ", ".join(f"{name} {one.scores[name]:.2f}" for name in one.labels)
        if not one.labels:
            best = max(one.scores, key=one.scores.__getitem__)
            shown = f"(none; the most probable is {best} {one.scores[best]:.2f})"
        assert line == f"{Path(one.image).relative_to(folder)!s:<11}  {shown}"
    assert any("(none; " in line for line in lines)
    assert any(", " in line and "(none" not in line for line in lines)


def test_jsonl_holds_what_python_says(
    cotag: Callable[..., Any], trained: Path, folder: Path, expected: list[Prediction]
) -> None:
    ran = cotag("predict", trained, folder, "--format", "jsonl")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["image"] for one in found] == [one.image for one in expected]
    assert [one["labels"] for one in found] == [one.labels for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["scores"] == pytest.approx(other.scores, abs=1e-5)


def test_csv_is_a_table_that_can_be_read_again(
    cotag: Callable[..., Any],
    trained: Path,
    folder: Path,
    expected: list[Prediction],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(folder, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    ran = cotag("predict", trained, "photos", "--format", "csv", "--out", "labels.csv")
    assert (ran.code, ran.out) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "labels.csv").read_text())))
    assert list(rows[0]) == ["image", "labels", "blue", "green", "red"]
    for row, one in zip(rows, expected, strict=True):
        assert row["image"] == "photos/" + str(Path(one.image).relative_to(folder))
        assert row["labels"].split("|") == (one.labels or [""])
        assert {name: float(row[name]) for name in one.scores} == pytest.approx(one.scores, abs=1e-5)
    index = read("table:labels.csv")
    space = index.label_space
    targets = index.targets()
    for row, one in enumerate(expected):
        assert {space.names[k] for k in targets[row].nonzero()[0]} == set(one.labels)


def test_files_folders_and_patterns_each_once(cotag: Callable[..., Any], trained: Path, folder: Path) -> None:
    ran = cotag("predict", trained, folder / "b.png", folder / "*.png", folder, folder / "b.png", "--format", "jsonl")
    names = [str(Path(json.loads(line)["image"]).relative_to(folder)) for line in ran.out.splitlines()]
    assert names == ["b.png", "a.png", "c d.png", "e,f.png", "below/g.png"]


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_bad_picture_is_reported_and_the_others_are_done(
    cotag: Callable[..., Any], trained: Path, folder: Path, tmp_path: Path, form: str
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    ran = cotag("predict", trained, folder / "a.png", bad, folder / "b.png", "--format", form)
    assert ran.code == 1
    assert ran.err.startswith(f"cotag: {bad}: is no image")
    assert ran.err.count("\n") == 1
    lines = [line for line in ran.out.splitlines() if not line.startswith("image,")]
    assert [name in line for name, line in zip(("a.png", "bad.jpg", "b.png"), lines, strict=True)] == [True] * 3
    if form == "table":
        assert lines[1].endswith("(cannot be read)")
    elif form == "csv":
        assert lines[1] == f"{bad},,,,"
    else:
        assert json.loads(lines[1]).keys() == {"image", "error"}


def test_a_file_is_whole_even_with_a_bad_picture(
    cotag: Callable[..., Any], trained: Path, folder: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    out = tmp_path / "found" / "labels.jsonl"
    assert cotag("predict", trained, folder, bad, "--format", "jsonl", "--out", out).code == 1
    assert len(out.read_text().splitlines()) == 6
    assert [path.name for path in out.parent.iterdir()] == ["labels.jsonl"]


def test_many_pictures_with_the_bar_of_progress(cotag: Callable[..., Any], trained: Path, pictures: Path) -> None:
    copies = [pictures.parent / f"copy{number}.png" for number in range(10)]
    for copy in copies:
        shutil.copy(pictures.parent / "p00.png", copy)
    ran = cotag("predict", trained, pictures.parent, "--format", "csv")
    for copy in copies:
        copy.unlink()
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) == 71


def test_a_pattern_without_a_picture_is_refused(cotag: Callable[..., Any], trained: Path, folder: Path) -> None:
    assert "matches no image" in cotag("predict", trained, folder / "*.tiff").error
    assert "a.jpg: there is no such file" in cotag("predict", trained, folder / "a.png", folder / "a.jpg").error
