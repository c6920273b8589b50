"""Errors are one line and exit code 1; what is there is kept; JSON is one object."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotag.cli.main import main
from cotag.errors import SettingError

MAIN = "import sys; from cotag.cli.main import main; main(sys.argv[1:])"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", "labels.csv"], ["labels.csv", "there is no such file"]),
        (["train", "tabel:labels.csv"], ["'tabel'", "did you mean table?"]),
        (["train", "PICTURES", "--recipe", "quik"], ["'quik'", "did you mean quick?"]),
        (["train", "PICTURES", "--set", "train.epoch=3"], ["train.epoch", "did you mean train.epochs?"]),
        (["train", "PICTURES", "--read", "order"], ["--read 'order'", "key=value"]),
        (["train", "PICTURES", "--read", "ordr=name"], ["'ordr'", "did you mean order?"]),
        (["train", "PICTURES", "--resume", "r", "--set", "train.seed=1"], ["--resume"]),
        (["train", "PICTURES", "--resume", "nowhere"], ["nowhere", "holds no run"]),
        (["stats", "PICTURES", "--read", "order=x"], ["order", "'x'"]),
        (["predict", "nowhere", "IMAGE"], ["nowhere", "holds no model"]),
        (["predict", "RUN", "nowhere.jpg"], ["nowhere.jpg", "there is no such file"]),
        (["predict", "RUN", "IMAGE", "--format", "tabel"], ["'tabel'", "did you mean table?"]),
        (["evaluate"], ["--scores"]),
        (["evaluate", "RUN"], ["is a folder"]),
        (["evaluate", "nowhere.parquet"], ["nowhere.parquet", "there is no such file"]),
        (["evaluate", "SCORES", "--split", "test"], ["--split"]),
        (["evaluate", "SCORES", "--skip-bad"], ["--skip-bad"]),
        (["evaluate", "SCORES", "--read", "order=name"], ["--read"]),
        (["evaluate", "SCORES", "--kind", "logit"], ["--kind"]),
        (["evaluate", "--scores", "s.csv", "--targets", "t.csv"], ["--kind"]),
        (["evaluate", "RUN", "PICTURES", "--split", "tset"], ["'tset'", "did you mean test?"]),
        (["list", "hedas"], ["'hedas'", "did you mean heads?"]),
    ],
)
def test_an_error_is_one_line(
    cotag: Callable[..., Any], trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], parts: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    scores = trained / "scores" / "test.parquet"
    places = {"PICTURES": pictures, "RUN": trained, "IMAGE": pictures.parent / "p00.png", "SCORES": scores}
    ran = cotag(*(places.get(word, word) for word in arguments))
    assert ran.out == ""
    for part in parts:
        assert part in ran.error
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(SettingError, match="hedas"):
        main(["list", "hedas", "--debug"])
    ran = subprocess.run([sys.executable, "-c", MAIN, "--debug", "list", "hedas"], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "Traceback (most recent call last)" in ran.stderr
    assert "SettingError" in ran.stderr


def test_what_the_system_refuses_is_one_line(
    cotag: Callable[..., Any], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "labels.csv")

    monkeypatch.setattr("cotag.data.read.read", refuse)
    ran = cotag("stats", pictures)
    assert ran.error.startswith("cotag: labels.csv: Permission denied; ")
    with pytest.raises(PermissionError):
        main(["stats", str(pictures), "--debug"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "PICTURES", "--out", "OUT"],
        ["demo", "--out", "OUT"],
        ["stats", "PICTURES", "--out", "OUT/mine.txt"],
        ["evaluate", "SCORES", "--out", "OUT/mine.txt"],
        ["predict", "RUN", "IMAGE", "--out", "OUT/mine.txt"],
    ],
)
def test_what_is_there_is_not_overwritten_without_force(
    cotag: Callable[..., Any], trained: Path, pictures: Path, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    scores = trained / "scores" / "test.parquet"
    places = {"PICTURES": pictures, "RUN": trained, "IMAGE": pictures.parent / "p00.png", "SCORES": scores}
    words = [str(places.get(word, word)).replace("OUT", str(tmp_path)) for word in arguments]
    ran = cotag(*words)
    assert "exists already; give --force" in ran.error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mine.txt", "mine")]
    if "OUT/mine.txt" in arguments:
        assert cotag(*words, "--force").code == 0
        assert (tmp_path / "mine.txt").read_bytes() != b"mine"


@pytest.mark.parametrize("verb", ["train", "evaluate", "scores", "stats", "list"])
def test_json_is_one_object(
    cotag: Callable[..., Any], trained: Path, pictures: Path, set_tiny: list[str], tmp_path: Path, verb: str
) -> None:
    commands = {
        "train": ["train", pictures, *set_tiny, "--out", tmp_path / "run"],
        "evaluate": ["evaluate", trained, pictures],
        "scores": ["evaluate", trained / "scores" / "test.parquet"],
        "stats": ["stats", pictures],
        "list": ["list"],
    }

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    ran = cotag(*commands[verb], "--json")
    assert ran.code == 0
    value = json.loads(ran.out, parse_constant=no_constant)
    if verb == "stats":
        assert {"Summary", "Problems", "Labels"} <= {section["title"] for section in value["sections"]}
    elif verb == "list":
        assert "bce" in value["losses"]
    else:
        assert {"metrics", "protocol", "labels"} <= value.keys()
        assert {"mAP", "CP", "CR", "CF1", "OP", "OR", "OF1"} <= value["metrics"].keys()
        assert [label["label"] for label in value["labels"]] == ["blue", "green", "red"]
        assert "judge" in ran.err or verb == "scores"


def test_whoever_reads_only_the_head_ends_it_quietly(trained: Path, pictures: Path) -> None:
    options = ["--format", "jsonl", "--batch-size", "1"]
    command = [sys.executable, "-c", MAIN, "predict", str(trained), str(pictures.parent), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b'{"image"')
    process.stdout.close()
    said = process.stderr.read().decode()
    process.wait(60)
    assert said == ""


def at_work(script: str, pictures: Path, says: str) -> subprocess.Popen[str]:
    """A process that runs ``stats`` by a script, once it has said that it is where the script makes it wait."""
    command = [sys.executable, "-c", script, "stats", str(pictures)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{says}\n"
    time.sleep(0.1)
    return process


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_is_one_line(number: int, code: int, said: str, pictures: Path) -> None:
    """Interrupted where it reads, before anything heavy is imported."""
    script = (
        "import sys, time, cotag.data.read as r; from cotag.cli.main import main\n"
        "def wait(*_, **__): print('reading', flush=True); time.sleep(60)\n"
        "r.read = wait; main(sys.argv[1:])"
    )
    process = at_work(script, pictures, "reading")
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (code, f"cotag: {said}; what was finished is kept\n")


def test_a_sigterm_while_a_part_is_loaded_raises_nothing_in_it(pictures: Path, tmp_path: Path) -> None:
    """Parts in C++ abort the process at an exception."""
    (tmp_path / "slow.py").write_text(
        "import time\ntry:\n    print('loading', flush=True)\n    time.sleep(60)\n"
        "except BaseException:\n    print('raised')\n"
    )
    script = (
        f"import sys, cotag.data.read as r; from cotag.cli.main import main; sys.path.insert(0, {str(tmp_path)!r})\n"
        "def load(*_, **__): import slow\n"
        "r.read = load; main(sys.argv[1:])"
    )
    process = at_work(script, pictures, "loading")
    process.terminate()
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (143, "", "cotag: terminated; what was finished is kept\n")


def test_a_reader_that_closes_the_output_gets_no_traceback() -> None:
    code = "from cotag.cli.main import main; main(['list'])"
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert ran.returncode == 1
    assert ran.stderr == ""
