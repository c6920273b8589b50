"""Learning curves of several runs in one picture."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cotag.evaluation.figures import COLORS, SYMBOLS
from cotag.evaluation.report import render
from cotag.evaluation.sections.learning import COLUMNS, learning_curves, learning_section


def history(rate: float, epochs: int = 3) -> list[dict[str, float]]:
    rows = [{"epoch": 0, "val_mAP": 0.1, "val_loss": 0.9}]
    for epoch in range(1, epochs + 1):
        loss = math.exp(-rate * epoch)
        rows.append({"epoch": epoch, "train_loss": loss, "val_loss": loss + 0.1, "val_mAP": 0.8 - loss / 2})
    return rows


def lines(figure: dict[str, Any] | None) -> dict[tuple[str, str], dict[str, Any]]:
    """The lines by the run and the title of the axis that they are drawn on."""
    assert figure is not None
    titles = {
        key.replace("axis", ""): axis["title"]["text"] for key, axis in figure["layout"].items() if "yaxis" in key
    }
    return {(line["legendgroup"], titles[line["yaxis"]]): line for line in figure["data"]}


def test_each_run_has_a_color_and_a_line_for_each_quantity() -> None:
    runs = {f"rate {n}": history(n / 10) for n in range(1, 11)}
    (section,) = learning_curves(runs)
    found = lines(section.figure)
    quantities = ("validation mAP", "validation loss", "training loss")
    assert set(found) == {(name, quantity) for name in runs for quantity in quantities}
    for name, rows in runs.items():
        assert found[name, "validation mAP"]["y"] == [row["val_mAP"] for row in rows]
        assert found[name, "validation loss"]["x"] == [0, 1, 2, 3]
        assert found[name, "training loss"]["x"] == [1, 2, 3]
        assert len({found[name, quantity]["line"]["color"] for quantity in quantities}) == 1
        assert [found[name, quantity]["showlegend"] for quantity in quantities] == [True, False, False]
    assert len({found[name, "validation mAP"]["line"]["color"] for name in runs}) == 10
    best = runs["rate 4"][-1]
    assert dict(zip(COLUMNS, section.rows[3], strict=True)) == {
        "run": "rate 4",
        "epochs": 3,
        "best mAP": best["val_mAP"],
        "at epoch": 3,
        "lowest loss": best["val_loss"],
        "training loss": best["train_loss"],
    }


def test_more_runs_than_colors_differ_by_their_marks() -> None:
    (section,) = learning_curves({str(n): history(0.1) for n in range(len(COLORS) + 3)})
    found = lines(section.figure)
    looks = {(line["line"]["color"], line["marker"]["symbol"]) for line in found.values()}
    assert len(looks) == len(COLORS) + 3
    assert found["10", "training loss"]["marker"]["symbol"] == SYMBOLS[1]


def test_the_page_colors_the_lines_as_the_section_says() -> None:
    # The list to choose from gives lines the colors of the page, by their place.
    page = render(learning_curves({f"run <b>{n}": history(0.1) for n in range(10)}), "T")
    assert 'data-lines="section' not in page
    text = page.split('-data">')[1].split("</script>")[0]
    assert {line["line"]["color"] for line in json.loads(text)["data"]} == set(COLORS)
    assert {line["name"] for line in json.loads(text)["data"]} == {f"run &lt;b&gt;{n}" for n in range(10)}


def test_what_is_missing_or_infinite_is_left_out() -> None:
    rows = [{"epoch": 0, "val_loss": 2.0}, {"epoch": 1, "train_loss": math.nan}, {"epoch": 2, "train_loss": 0.5}]
    solved = [{"weight_decay": 0.1, "val_mAP": 0.5}]
    (section,) = learning_curves({"loop": rows, "solver": solved})
    found = lines(section.figure)
    assert set(found) == {("loop", "validation loss"), ("loop", "training loss")}
    assert (found["loop", "training loss"]["x"], found["loop", "training loss"]["y"]) == ([2], [0.5])
    assert section.rows == [["loop", 2, None, None, 2.0, 0.5]]
    assert "without a line: solver" in section.text
    assert learning_curves({"solver": solved}) == learning_curves({}) == []


def test_of_equal_epochs_the_first_is_the_best() -> None:
    (section,) = learning_curves({"a": [{"epoch": n, "val_mAP": value} for n, value in enumerate([0.1, 0.5, 0.5])]})
    assert list(section.rows[0][1:4]) == [2, 0.5, 1]


def test_a_line_is_broken_where_the_epoch_begins_anew() -> None:
    (section,) = learning_curves({"a": [{"epoch": n % 3, "val_mAP": n / 10} for n in range(6)]})
    (line,) = lines(section.figure).values()
    assert line["x"] == [0, 1, 2, None, 0, 1, 2]
    assert line["y"] == [0, 0.1, 0.2, None, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(("largest", "kind"), [(0.5, "linear"), (60.0, "log"), (-1.0, "linear")])
def test_a_loss_that_spans_much_is_drawn_on_a_logarithmic_axis(largest: float, kind: str) -> None:
    rows = [{"epoch": 0, "val_loss": 0.1, "val_mAP": 0.001}, {"epoch": 1, "val_loss": largest, "val_mAP": 0.9}]
    (section,) = learning_curves({"a": rows})
    assert section.figure is not None
    axes = {axis["title"]["text"]: axis["type"] for key, axis in section.figure["layout"].items() if "yaxis" in key}
    assert axes == {"validation mAP": "linear", "validation loss": kind}


def test_several_strengths_of_one_run_are_lines_of_their_own() -> None:
    rows = [{"weight_decay": decay, **row} for decay in (0.0, 0.01) for row in history(0.3)]
    section = learning_section(rows)
    assert section.title == "Learning"
    assert {run for run, _ in lines(section.figure)} == {"weight decay 0", "weight decay 0.01"}
    one = learning_section([row for row in rows if row["weight_decay"]])
    assert one.figure is not None
    assert {line["name"] for line in one.figure["data"]} == {"val_mAP", "val_loss", "train_loss"}
