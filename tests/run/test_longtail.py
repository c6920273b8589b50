"""The benchmark of losses and samplers, on tiny data: what its table says is what the scores give."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.evaluation.metrics import evaluate
from cotag.types.scores import Scores

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "longtail.py"
LOOP = ["train.batch_size=16", "train.weight_decay=0.01", "train.epochs=2", "balance.infrequent=rarest:1"]


@pytest.fixture
def longtail() -> Iterator[Any]:
    found = importlib.util.spec_from_file_location("longtail", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["longtail"] = module
    found.loader.exec_module(module)
    yield module
    del sys.modules["longtail"]


def cells(table: str) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_on_features(
    longtail: Any, pictures: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longtail, "RATES", (1e-2,))
    bench = longtail.begin(str(pictures), "quick", [*longtail.LOOP, *tiny, *LOOP], tmp_path / "trials")
    methods = longtail.methods_for(bench.index, [longtail.BASE, "sampler over"])
    tuned = bench.tuned(methods)
    assert all(change in tuned[name] for name in methods for change in methods[name])
    fitted = bench.trials(tuned, range(2))
    table = cells(bench.table(fitted, "mAP"))
    assert list(table) == ["method", "---", *methods]
    sizes = {part: int(bench.members(part).sum()) for part in longtail.PARTS}
    assert table["method"] == [f"{part} ({size})" for part, size in sizes.items()]
    assert sizes["all"] == 3 == sizes["head"] + sizes["middle"] + sizes["tail"]
    own = [Scores.load(bench.folder.scores(trial)) for trial in fitted[longtail.BASE].values()]
    value = np.mean([evaluate(scores).metrics["mAP"] for scores in own])
    assert float(table[longtail.BASE][0]) == pytest.approx(value, abs=1e-4)
    # A fitted threshold is better than 0.5 where it was fitted, and lies at 0.5 in what is judged.
    trial = fitted[longtail.BASE][0]
    moved, plain = bench.scores(trial, longtail.METRICS[2]), bench.scores(trial, longtail.METRICS[1])
    (shift,) = np.unique(np.round(plain.scores_NK - moved.scores_NK, 4))
    choose = Scores.load(bench.folder.scores(trial, "choose"))
    fitted_to = longtail.replace(choose, scores_NK=choose.scores_NK - shift)
    assert evaluate(fitted_to).metrics["macro_F1"] > evaluate(choose).metrics["macro_F1"]


def test_end_to_end(longtail: Any, pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    settings = [*tiny, *LOOP, "train.epochs=1", "train.norm_statistics=batch"]
    bench = longtail.begin(str(pictures), "finetune", settings, tmp_path / "trials")
    methods = longtail.methods_for(bench.index, [longtail.BASE, "sampler class_aware"])
    fitted = bench.trials(methods, range(1))
    assert len(cells(bench.table(fitted, longtail.METRICS[1]))) == 4


def test_what_failed_is_told(longtail: Any, pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    bench = longtail.begin(str(pictures), "quick", [*longtail.LOOP, *tiny, *LOOP], tmp_path / "trials")
    with pytest.raises(RuntimeError, match=r"over: balance\.sampler_args\.times = 0: must be above 1"):
        bench.trials({"over": ["balance.sampler=over", "balance.sampler_args={times: 0}"]}, [0])


def test_every_method_is_a_recipe(longtail: Any, pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    bench = longtail.begin(str(pictures), "quick", [*longtail.LOOP, *tiny, *LOOP], tmp_path / "trials")
    for changes in longtail.methods_for(bench.index, [*longtail.METHODS]).values():
        longtail.Recipe.load(bench.recipe, changes)
    assert set(longtail.END_TO_END) <= set(longtail.METHODS)
