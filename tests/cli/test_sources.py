"""The same pictures as files, in tar shards and in Parquet: every command says the same."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cotag.types.scores import Scores


@pytest.fixture(scope="module")
def sources(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What to read, by where the pictures are."""
    folder = tmp_path_factory.mktemp("sources")
    rows = list(csv.DictReader(pictures.open(newline="")))
    for split in ("train", "test"):
        with tarfile.open(folder / f"{split}-0.tar", "w") as shard:
            for row in rows:
                if row["split"] == split:
                    told = tarfile.TarInfo(row["image"].replace(".png", ".txt"))
                    told.size = len(row["labels"])
                    shard.add(pictures.parent / row["image"], row["image"])
                    shard.addfile(told, io.BytesIO(row["labels"].encode()))
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in ("labels", "split")}
    columns["name"] = [row["image"] for row in rows]
    columns["photo"] = [{"bytes": (pictures.parent / row["image"]).read_bytes(), "path": None} for row in rows]
    pq.write_table(pa.table(columns), folder / "all.parquet", row_group_size=7)
    return {"files": f"table:{pictures}", "shards": f"wds:{folder}", "cells": f"table:{folder / 'all.parquet'}"}


SEEN = {"Image sizes", "Pixel values"}
CELLS = ("--read", "image=photo", "--read", "id=name")


def test_a_model_is_judged_alike(cotag: Callable[..., Any], sources: dict[str, str], trained: Path) -> None:
    found = {}
    for name, data in sources.items():
        ran = cotag("evaluate", trained, data, "--split", "test", "--json", *(CELLS if name == "cells" else ()))
        assert ran.code == 0, ran.err
        metrics = json.loads(ran.out)["metrics"]
        # Groups are told for the data of the run alone.
        found[name] = {key: value for key, value in metrics.items() if not key.startswith("mAP_")}
    assert len(found["files"]) > 10
    assert found["files"] == found["shards"] == found["cells"]


def test_a_run_on_cells_is_the_run_on_files(
    cotag: Callable[..., Any], sources: dict[str, str], trained: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    ran = cotag("train", sources["cells"], "--recipe", "quick", "--out", tmp_path / "run", *set_tiny, *CELLS)
    assert ran.code == 0, ran.err
    ours, theirs = (Scores.load(folder / "scores" / "test.parquet") for folder in (tmp_path / "run", trained))
    assert list(ours.ids) == list(theirs.ids)
    assert np.array_equal(ours.scores_NK, theirs.scores_NK)
    # The report shows them.
    assert (tmp_path / "run" / "report.html").read_text().count("data:image/jpeg") > 3


def test_a_run_on_shards_ends_well(
    cotag: Callable[..., Any], sources: dict[str, str], set_tiny: list[str], tmp_path: Path
) -> None:
    ran = cotag("train", sources["shards"], "--recipe", "quick", "--out", tmp_path / "run", *set_tiny)
    assert ran.code == 0, ran.err
    assert len(Scores.load(tmp_path / "run" / "scores" / "test.parquet").ids) == 20


def test_stats_sees_the_same_pixels(cotag: Callable[..., Any], sources: dict[str, str], tmp_path: Path) -> None:
    found = {}
    for name, data in sources.items():
        ran = cotag("stats", data, "--json", *(CELLS if name == "cells" else ()))
        assert ran.code == 0, ran.err
        found[name] = {one["title"]: one["rows"] for one in json.loads(ran.out)["sections"] if one["title"] in SEEN}
    assert set(found["files"]) == SEEN
    assert found["files"] == found["shards"] == found["cells"]


def test_a_shard_is_predicted(
    cotag: Callable[..., Any], sources: dict[str, str], trained: Path, pictures: Path
) -> None:
    shard = Path(sources["shards"].removeprefix("wds:")) / "test-0.tar"
    rows = [row["image"] for row in csv.DictReader(pictures.open(newline="")) if row["split"] == "test"]
    ran = cotag("predict", trained, shard, "--format", "jsonl")
    plain = cotag("predict", trained, *(pictures.parent / name for name in rows), "--format", "jsonl")
    ours, theirs = ([json.loads(line) for line in one.out.splitlines()] for one in (ran, plain))
    assert [one["image"] for one in ours] == [f"{shard}::{name}" for name in rows]
    assert [one["scores"] for one in ours] == [one["scores"] for one in theirs]
    one = cotag("predict", trained, f"{shard}::{rows[3]}", "--format", "jsonl")
    assert json.loads(one.out)["scores"] == pytest.approx(ours[3]["scores"], abs=1e-5)
    missing = cotag("predict", trained, f"{shard}::none.png")
    assert missing.code == 1
    assert f"cotag: {shard}::none.png: the shard has no such member" in missing.err
