"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cotag.errors import OutputExists, StorageError
from cotag.storage import (
    cache_folder,
    clear_leftovers,
    require_free,
    require_sealed,
    seal,
    whole_file,
    whole_folder,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill_and_fail(temporary: Path, error: BaseException) -> None:
    temporary.write_text("half")
    raise error


# One file


def test_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_error_leaves_nothing_behind(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), whole_file(tmp_path / "file.txt") as temporary:
        fill_and_fail(temporary, error())
    assert names(tmp_path) == []


def test_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="broken"), whole_file(path) as temporary:
        fill_and_fail(temporary, ValueError("broken"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_error_of_the_file_system_is_one_of_ours(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"file.txt: could not be written \(No space left on device\)") as caught,
        whole_file(tmp_path / "file.txt") as temporary,
    ):
        fill_and_fail(temporary, OSError(28, os.strerror(28)))
    assert isinstance(caught.value.__cause__, OSError)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below.txt", tmp_path / "folder"):
        with pytest.raises(StorageError, match="could not be written"):
            write_text(path, "new")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file.txt") as one, whole_file(tmp_path / "file.txt") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "file.txt").read_text() == "one"
    assert names(tmp_path) == ["file.txt"]


def test_text_and_json(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "naïve 猫")
    assert (tmp_path / "a.txt").read_bytes() == "naïve 猫".encode()
    write_json(tmp_path / "a.json", {"names": ["猫"], "share": 0.5})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"names": ["猫"], "share": 0.5}


def test_what_json_cannot_hold_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


# One folder


def test_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model"
    with whole_folder(path) as temporary:
        (temporary / "weights").write_text("new")
        assert not path.exists()
    assert names(path) == ["weights"]
    assert names(path.parent) == ["model"]


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for name in ("first", "second"):
        with whole_folder(path) as temporary:
            (temporary / name).write_text(name)
    assert names(path) == ["second"]
    assert names(tmp_path) == ["model"]


def test_folder_takes_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("old")
    with whole_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("new")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["weights"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_keeps_the_old_folder(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "model"
    with whole_folder(path) as temporary:
        (temporary / "weights").write_text("old")
    with pytest.raises(error), whole_folder(path) as temporary:
        fill_and_fail(temporary / "weights", error())
    assert (path / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_failed_exchange_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    with whole_folder(path) as temporary:
        (temporary / "weights").write_text("old")
    replace = Path.replace

    def fail_for_the_new(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(5, os.strerror(5))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_for_the_new)
    with pytest.raises(StorageError, match="Input/output error"), whole_folder(path) as temporary:
        (temporary / "weights").write_text("new")
    assert (path / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(StorageError, match="could not be written"), whole_folder(tmp_path / "file" / "model"):
        pass
    assert (tmp_path / "file").read_text() == "old"


def write(path: Path, content: str) -> None:
    with whole_folder(path, path.with_name("before")) as temporary:
        (temporary / "file").write_text(content)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: (path / "file").read_text() for path in folder.iterdir()}


def test_the_folder_before_is_kept(tmp_path: Path) -> None:
    for content in "abc":
        write(tmp_path / "last", content)
    assert contents(tmp_path) == {"last": "c", "before": "b"}


@pytest.mark.parametrize("moves", range(4))
@pytest.mark.parametrize("killed", [False, True])
def test_an_exchange_that_ends_early_loses_no_folder(
    moves: int, killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many of its three moves, by an interruption or, without any tidying, by SIGKILL."""
    for content in "ab":
        write(tmp_path / "last", content)
    done, replace = [0], Path.replace

    def stop(self: Path, target: Path) -> Path:
        if done[0] >= moves and (killed or done[0] == moves):
            done[0] += 1
            raise KeyboardInterrupt
        done[0] += 1
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        if killed:
            patch.setattr("cotag.storage._remove", lambda path: None)
        if moves < 3:
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path / "last", "c")
        else:
            write(tmp_path / "last", "c")
    if killed:
        clear_leftovers(tmp_path)
    whole = [{"last": "b", "before": "a"}, {"last": "b", "before": "a"}, {"before": "b"}, {"last": "c", "before": "b"}]
    assert contents(tmp_path) == (whole[moves] if killed or moves == 3 else whole[0])


# Seals


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(range(256)))
    (folder / "deep" / "state.json").write_text("{}")
    seal(folder)
    return folder


def test_what_was_sealed_is_taken(sealed: Path) -> None:
    require_sealed(sealed)
    seal(sealed)
    require_sealed(sealed)
    checked = subprocess.run(["sha256sum", "-c", "sha256sums"], cwd=sealed, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert sorted(checked.stdout.splitlines()) == ["deep/state.json: OK", "weights: OK"]


@pytest.mark.parametrize("place", [0, 100, 255])
def test_one_bit_is_seen(sealed: Path, place: int) -> None:
    content = bytearray(range(256))
    content[place] ^= 1
    (sealed / "weights").write_bytes(content)
    with pytest.raises(StorageError, match=r"sealed: is damaged \(weights is not what was written\)$"):
        require_sealed(sealed)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "weights").write_bytes(bytes(range(100))), "weights is not what was written"),
        (lambda folder: (folder / "weights").write_bytes(bytes(range(256)) + b"x"), "weights is not what was written"),
        (lambda folder: (folder / "deep" / "state.json").unlink(), "deep/state.json: No such file or directory"),
        (lambda folder: (folder / "sha256sums").unlink(), "sha256sums cannot be read"),
        (lambda folder: (folder / "sha256sums").write_text(""), "sha256sums is empty"),
        (lambda folder: (folder / "sha256sums").write_bytes(b"\xff"), "sha256sums cannot be read"),
        (lambda folder: (folder / "sha256sums").write_text("what"), "sha256sums is not what was written"),
    ],
)
def test_damage_is_named(sealed: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(sealed)
    with pytest.raises(StorageError) as caught:
        require_sealed(sealed)
    assert str(caught.value) == f"{sealed}: is damaged ({reason})"


# A disk that is really full: the kernel refuses every byte beyond 64 KB

FULL_DISK = """
import json, os, resource, sys
from pathlib import Path
import numpy as np
from cotag.errors import StorageError
from cotag.storage import whole_folder, write_json
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores
from cotag.types.scores_csv import write_csv_pair

folder = Path(sys.argv[1])
space = LabelSpace(tuple("abcdefgh"))
count = 5000
ids = [f"{row:040d}.jpg" for row in range(count)]
index = Index.build({"image": ids, "positives": [[0, 1, 2]] * count}, space)
values = np.random.default_rng(0).random((count, 8))
scores = Scores(ids, values, (values > 0.5).astype(np.int8), "probability", space)


def save_folder(path):
    with whole_folder(path) as temporary:
        index.save(temporary / "index.arrow")


writers = {
    "index": index.save,
    "scores": scores.save,
    "csv": lambda path: write_csv_pair(scores, path, path.with_name("targets.csv")),
    "json": lambda path: write_json(path, ids),
    "folder": save_folder,
}
for name in writers:
    for part in ("old", "new"):
        (folder / name / part).mkdir(parents=True)
    (folder / name / "old" / "file").write_text("old")
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
answers = {}
for name, write in writers.items():
    for part in ("old", "new"):
        try:
            write(folder / name / part / "file")
        except StorageError as error:
            answers[f"{name} {part}"] = str(error)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("full")
    found = subprocess.run([sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return folder, json.loads(found.stdout)


@pytest.mark.parametrize("name", ["index", "scores", "csv", "json", "folder"])
def test_full_disk_leaves_nothing_half_written(name: str, full_disk: tuple[Path, dict[str, str]]) -> None:
    folder, answers = full_disk
    for part in ("old", "new"):
        written = folder / name / part / ("file/index.arrow" if name == "folder" else "file")
        assert answers[f"{name} {part}"].startswith(f"{written}: could not be written (File too large); free space")
    assert names(folder / name / "old") == ["file"]
    assert (folder / name / "old" / "file").read_text() == "old"
    assert names(folder / name / "new") == []


# Where things are put


def test_taken_output_needs_force(tmp_path: Path) -> None:
    require_free(tmp_path / "absent", force=False)
    (tmp_path / "empty").mkdir()
    require_free(tmp_path / "empty", force=False)
    (tmp_path / "file").write_text("old")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputExists, match="exists already; give --force"):
            require_free(path, force=False)
        require_free(path, force=True)


def test_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAG_CACHE", "/elsewhere")
    assert cache_folder("features") == Path("/elsewhere/features")
    monkeypatch.delenv("COTAG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder("features") == Path("/caches/cotag/features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("features") == Path.home() / ".cache" / "cotag" / "features"
