"""``scenes:`` draws once, keeps what it drew, and refuses what it cannot do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cotag.data.scenes.reader import read_scenes
from cotag.data.scenes.vocabulary import LABELS, RELATIONS, VERSION
from cotag.errors import OutputExists, SettingError
from cotag.storage import cache_folder


class Counter:
    """A progress that counts steps, and stops the work at a given one."""

    def __init__(self, last: int | None = None) -> None:
        self.steps, self.total, self.last = 0, 0, last

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Counter]:
        self.total = total
        yield self

    def advance(self, steps: int = 1, **info: Any) -> None:
        self.steps += steps
        if self.steps == self.last:
            raise KeyboardInterrupt

    def say(self, message: str) -> None:
        raise AssertionError(message)


def test_scenes_are_drawn_once_and_kept_under_their_settings() -> None:
    progress = Counter()
    index = read_scenes(images=5, size=64, seed=9, progress=progress)
    assert (progress.steps, progress.total) == (5, 5)
    assert index.root == cache_folder("scenes") / f"v{VERSION}-5x64-seed9"
    assert index.label_space == LABELS
    assert all(path.is_file() for path in index.images())
    again = Counter()
    relations = read_scenes("relations", images="5", size="64", seed="9", progress=again)
    assert again.steps == 0
    assert relations.label_space == RELATIONS
    assert relations.images() == index.images()


def test_a_moved_folder_is_read_where_it_is(tmp_path: Path) -> None:
    first = read_scenes(images=4, size=64, out=str(tmp_path / "here"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    index = read_scenes("objects", images=4, size=64, out=str(tmp_path / "there"))
    assert index.images() == [tmp_path / "there" / f"images/{image:06d}.png" for image in range(4)]
    assert all(path.is_file() for path in index.images())
    assert index.table.equals(first.table)


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        read_scenes(images=5, size=64, out=str(tmp_path / "out"), progress=Counter(last=3))
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_a_full_one_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(read_scenes(images=2, size=64, out=str(tmp_path / "empty"))) == 2
    with pytest.raises(OutputExists, match=r"holds other scenes .*\"images\": 2.*choose another out"):
        read_scenes(images=3, size=64, out=str(tmp_path / "empty"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(OutputExists, match="holds something that is no folder of scenes"):
        read_scenes(images=3, size=64, out=str(tmp_path / "full"))
    assert (tmp_path / "full" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("view", "settings", "message"),
    [
        ("relation", {}, "scenes:relation: there is no such view; did you mean relations?"),
        ("", {"images": 0}, "scenes: images=0 is out of range; allowed: 1 to 1000000"),
        ("", {"images": "many"}, "scenes: images='many' is not a whole number; allowed: 1 to 1000000"),
        ("", {"size": "96.5"}, "scenes: size='96.5' is not a whole number; allowed: 64 to 1024"),
        ("", {"size": 32}, "scenes: size=32 is out of range; allowed: 64 to 1024"),
        ("", {"seed": -1}, f"scenes: seed=-1 is out of range; allowed: 0 to {2**63 - 1}"),
    ],
)
def test_bad_settings_are_one_line(view: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_scenes(view, **settings)
    assert str(caught.value) == message
