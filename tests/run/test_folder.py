"""The folder of a run: what lies where, and what lets a run go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cotag.data.splits import Roles
from cotag.errors import LabelSpaceError, OutputExists, ResumeError
from cotag.run.folder import RunFolder, new_folder
from cotag.storage import clear_leftovers
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

IDS = ["a.jpg", "b, c.jpg", 'd"e.jpg', "f\ng.jpg", "ünï.jpg"]


def index(ids: list[str], labels: tuple[str, ...] = ("cat", "dog")) -> Index:
    return Index.build({"image": ids, "positives": [[0]] * len(ids)}, LabelSpace(labels))


def begun(folder: Path, split_off: bool = True) -> RunFolder:
    run = RunFolder(folder)
    roles = Roles(np.array([0, 3]), np.array([1]), np.array([4]), ("trains", "chooses", "judges"), split_off)
    run.save_data(index(IDS), roles, "table:labels.csv")
    return run


@pytest.mark.parametrize("split_off", [True, False])
def test_roles_come_back_by_id(tmp_path: Path, split_off: bool) -> None:
    run = begun(tmp_path, split_off)
    assert run.splits.read_text("utf-8") == (
        'id,role\na.jpg,train\n"b, c.jpg",choose\n"d""e.jpg",\n"f\ng.jpg",train\nünï.jpg,test\n'
    )
    same = run.load_roles(index(IDS))
    assert (same.train.tolist(), same.choose.tolist(), same.test.tolist()) == ([0, 3], [1], [4])
    roles = run.load_roles(index(IDS[::-1]))
    assert (roles.train.tolist(), roles.choose.tolist(), roles.test.tolist()) == ([1, 4], [3], [0])
    assert roles.told == ("trains", "chooses", "judges")
    assert roles.split_off is split_off


def test_other_images_cannot_resume(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with pytest.raises(ResumeError, match=r"the images changed since the run began \(2: a\.jpg, z\.jpg\)"):
        run.load_roles(index(["z.jpg", *IDS[1:]]))


@pytest.mark.parametrize("labels", [("dog", "cat"), ("cat", "cow"), ("cat", "dog", "cow")])
def test_other_labels_cannot_resume(tmp_path: Path, labels: tuple[str, ...]) -> None:
    run = begun(tmp_path)
    run.require_same_labels(LabelSpace(("cat", "dog")))
    with pytest.raises(LabelSpaceError) as caught:
        run.require_same_labels(LabelSpace(labels))
    for part in (str(tmp_path), LabelSpace(("cat", "dog")).hash, LabelSpace(labels).hash, "--out"):
        assert part in str(caught.value)


def test_a_folder_without_a_run_cannot_resume(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="holds no run"):
        RunFolder(tmp_path).require_same_labels(LabelSpace(("cat",)))
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(ResumeError, match="holds no run"):
        RunFolder(tmp_path).require_same_labels(LabelSpace(("cat",)))


def test_a_new_folder_is_free_or_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert new_folder(tmp_path / "new", "quick", False).folder == tmp_path / "new"
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists):
        new_folder(tmp_path, "quick", False)
    assert new_folder(tmp_path, "quick", True).folder == tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "quick-1").mkdir(parents=True)
    (tmp_path / "runs" / "quick-3").mkdir()
    assert new_folder(None, "quick", False).folder == Path("runs/quick-2")


def test_the_run_of_a_model_is_found_from_its_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path / "run")
    (tmp_path / "run" / "model").mkdir()
    assert RunFolder.of_model(tmp_path / "run").saved_roles()
    assert RunFolder.of_model(tmp_path / "run" / "model").saved_roles()
    monkeypatch.chdir(tmp_path / "run" / "model")
    assert RunFolder.of_model(".").saved_roles()
    (tmp_path / "run" / "other").mkdir()
    assert not RunFolder.of_model(tmp_path / "run" / "other").saved_roles()


def test_clearing_leaves_what_is_not_of_a_run(tmp_path: Path) -> None:
    run = begun(tmp_path)
    for name in ("checkpoints/last/model.safetensors", "scores/test.parquet", "model/settings.json", "mine/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert run.has_checkpoint
    run.clear()
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]
    assert not run.has_checkpoint


def killed_while_replacing(folder: Path, renames: int) -> None:
    """What a process leaves that is killed after so many of the two renames that replace a folder."""
    (folder / ".recipe.yaml.12-0123abcd.part").write_text("half")
    for content, name in (("old", ".last.12-0123abcd.old"), ("new", ".last.12-0123abcd.part")):
        (folder / "checkpoints" / name).mkdir(parents=True)
        (folder / "checkpoints" / name / "state.json").write_text(content)
    if renames == 0:
        (folder / "checkpoints" / ".last.12-0123abcd.old").rename(folder / "checkpoints" / "last")
    if renames == 2:
        (folder / "checkpoints" / ".last.12-0123abcd.part").rename(folder / "checkpoints" / "last")


@pytest.mark.parametrize(("renames", "kept"), [(0, "old"), (1, "old"), (2, "new")])
def test_what_a_killed_process_left_is_cleaned_up(tmp_path: Path, renames: int, kept: str) -> None:
    begun(tmp_path)
    (tmp_path / ".hidden").write_text("mine")
    before = {path.name for path in tmp_path.rglob("*")}
    killed_while_replacing(tmp_path, renames)
    clear_leftovers(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == before | {"checkpoints", "last", "state.json"}
    assert (tmp_path / "checkpoints" / "last" / "state.json").read_text() == kept


def test_saved_roles_of_other_data(tmp_path: Path) -> None:
    saved = begun(tmp_path).saved_roles()
    assert saved is not None
    assert saved.count(("train", "test")) == 3
    other = index(["z.jpg", IDS[4], IDS[2], IDS[0]])
    assert saved.rows_of(("train", "choose"), other).tolist() == [3]
    assert saved.rows_of(("train", "test"), other).tolist() == [1, 3]
    assert saved.changed(other) == sorted([IDS[1], IDS[3], "z.jpg"])


@pytest.mark.parametrize("content", ["", "id\na.jpg\n", "id,role\na.jpg\n"])
def test_a_damaged_list_of_roles_is_one_line(tmp_path: Path, content: str) -> None:
    run = begun(tmp_path)
    run.splits.write_text(content)
    with pytest.raises(ResumeError, match=r"splits\.csv: is damaged"):
        run.load_roles(index(IDS))
