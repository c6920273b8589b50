"""``cotag demo``: a whole run, judged against chance and raw colors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotag.run import demo
from cotag.run.train import train


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs on a tiny backbone."""

    def few_epochs(data: Any, recipe: str, out: Path, overrides: list[str], **how: Any) -> Any:
        few = ["train.epochs=2", "model.backbone=test_resnet", "data.workers=0"]
        return train(data, recipe, out, [*overrides, *few], **how)

    monkeypatch.setattr(demo, "train", few_epochs)


@pytest.mark.usefixtures("short")
def test_the_demo_tells_what_it_reached(cotag: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "demo"
    ran = cotag("demo", "--images", 200, "--seed", 3, "--out", out)
    assert ran.code == 0
    result = json.loads((out / "result.json").read_text())["test"]
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert any(line.startswith(f"chance (label prevalence) {result['metrics']['chance_mAP']:.4f}") for line in lines)
    assert any(line.startswith(f"this run (scenes-tiny) {result['metrics']['mAP']:.4f}") for line in lines)
    colors = next(line for line in lines if line.startswith("linear model of raw color statistics "))
    assert 0 < float(colors.split()[6]) < 1
    assert f"report: {out / 'report.html'}" in ran.out
    text = (out / "report.html").read_text()
    assert "linear model of raw color statistics" in text
    assert all(label["label"] in text for label in result["labels"])

    assert "exists already; give --force" in cotag("demo", "--images", 200, "--out", out).error
    again = json.loads(cotag("demo", "--images", 200, "--seed", 3, "--out", out, "--force", "--json").out)
    assert again["metrics"] == result["metrics"]
    assert f"{again['color_mAP']:.4f}" == colors.split()[6]
    assert again["report"] == str(out / "report.html")


def test_too_few_pictures_are_refused(cotag: Callable[..., Any]) -> None:
    ran = cotag("demo", "--images", 20)
    assert ran.code == 2
    assert "200" in ran.err
