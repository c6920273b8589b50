"""``scenes:themes``: themes are never drawn, mostly unknown in training, and known where a tagger is judged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.data.read import read
from cotag.data.scenes.reader import KNOWN, read_scenes
from cotag.data.scenes.sample import THEMES
from cotag.data.scenes.themes import known_on
from cotag.data.scenes.vocabulary import LABELS, SHAPES, THEME_NAMES, THEMED, background_label
from cotag.errors import SettingError
from cotag.types.index import Index

COUNT, SIDE, SEED = 150, 64, 3
PLACES = slice(len(LABELS), len(THEMED))


@pytest.fixture(scope="session")
def whole(drawn: Path) -> Index:
    return Index.load(drawn / "themes.arrow")


def scenes(drawn: Path, known: float | str | None = None, view: str = "themes") -> Index:
    return read_scenes(view, images=COUNT, size=SIDE, seed=SEED, known=known, out=str(drawn))


def many(count: int) -> Index:
    """Scenes without pictures: every third has the theme night, and one in ten is of test."""
    night = [THEMED.id("star"), THEMED.id("night")]
    columns = {
        "image": [f"{row}.png" for row in range(count)],
        "positives": [night if row % 3 == 0 else [THEMED.id("circle"), THEMED.id("sea")] for row in range(count)],
        "split": ["test" if row % 10 == 9 else "train" for row in range(count)],
    }
    return Index.build(columns, THEMED)


def test_the_labels_are_those_of_objects_and_then_the_themes() -> None:
    assert THEMED.names == LABELS.names + THEME_NAMES
    assert THEMED.groups == (*(LABELS.groups or ()), *["theme"] * len(THEME_NAMES))
    assert [THEMED.id(name) for name in THEME_NAMES] == [30, 31, 32, 33, 34, 35]


def test_every_scene_has_one_theme_and_only_shapes_and_a_background_of_it(whole: Index) -> None:
    assert whole.label_space == THEMED
    backgrounds = {name for name, group in zip(THEMED.names, THEMED.groups or (), strict=True) if group == "background"}
    found = set()
    for labels in whole.table["positives"].to_pylist():
        names = {THEMED.names[label] for label in labels}
        (name,) = names & set(THEME_NAMES)
        theme = THEMES[name]
        assert names & set(SHAPES) <= set(theme.shapes)
        assert names & backgrounds <= {background_label(kind) for kind in theme.backgrounds}
        found.add(name)
    assert len(found) >= 5


def test_what_is_seen_is_as_in_the_view_of_objects(drawn: Path) -> None:
    objects, themes = scenes(drawn, view="objects"), scenes(drawn, 0.3)
    assert np.array_equal(themes.targets()[:, : len(LABELS)], objects.targets())
    for name in objects.table.column_names:
        if name not in ("positives", "unknowns"):
            assert themes.table[name].equals(objects.table[name]), name
    assert themes.images() == objects.images()


def test_only_training_images_hide_themes_and_they_hide_nothing_else(drawn: Path, whole: Index) -> None:
    index = scenes(drawn, 0.3)
    targets, true = index.targets(), whole.targets()
    hidden = targets == -1
    assert np.array_equal(targets[~hidden], true[~hidden])
    assert not hidden[:, : len(LABELS)].any()
    for split in ("val", "test"):
        assert not hidden[index.rows_of(split)].any()
    assert {0, 1} == set(true[hidden].tolist()), "it hides themes that are there and themes that are not"
    assert index.notes == ("each theme is known on 0.3 of the images in train and unknown on the others",)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_each_theme_is_known_on_its_share_present_or_not(share: float) -> None:
    index, count = many(20_000), 18_000
    whole = index.targets()[index.rows_of("train")][:, PLACES]
    known = known_on(index, share, 0).split("train").targets()[:, PLACES] != -1
    error = np.sqrt(share * (1 - share) / count)
    assert (np.abs(known.mean(axis=0) - share) < 4 * error).all()
    for name in ("night", "sea"):
        place = THEME_NAMES.index(name)
        for present in (0, 1):
            assert abs(known[whole[:, place] == present, place].mean() - share) < 8 * error
    both = (known[:, 0] & known[:, 1]).mean()
    assert abs(both - share**2) < 4 * error, "one theme is known whether or not another is"


def test_a_larger_share_keeps_what_a_smaller_one_knows() -> None:
    index = many(2000)
    before = np.zeros((len(index), len(THEMED)), dtype=bool)
    for share in (0.01, 0.02, 0.05, 0.5, 1.0):
        known = known_on(index, share, 7).targets() != -1
        assert (known >= before).all()
        assert known.sum() > before.sum()
        before = known
    assert before.all()
    assert known_on(index, 1.0, 7).notes == ()


def test_what_is_known_of_an_image_does_not_depend_on_those_that_follow() -> None:
    long, short = (known_on(many(count), 0.4, 1).targets() for count in (900, 300))
    assert np.array_equal(long[:300], short)
    assert not np.array_equal(known_on(many(300), 0.4, 2).targets(), short)


def test_reading_twice_gives_the_same_and_text_is_a_number(drawn: Path) -> None:
    first = scenes(drawn, 0.2)
    assert first.table.equals(scenes(drawn, 0.2).table)
    options = {"images": str(COUNT), "size": str(SIDE), "seed": str(SEED), "out": str(drawn)}
    assert first.table.equals(read("scenes:themes", known="0.2", **options).table)
    assert scenes(drawn).table.equals(scenes(drawn, KNOWN).table)
    assert not scenes(drawn).table.equals(first.table)


@pytest.mark.parametrize(
    ("view", "known", "message"),
    [
        ("themes", 0, "scenes: known=0 is out of range; allowed: above 0, up to 1"),
        ("themes", 1.5, "scenes: known=1.5 is out of range; allowed: above 0, up to 1"),
        ("themes", "nan", "scenes: known=nan is out of range; allowed: above 0, up to 1"),
        ("themes", "few", "scenes: known='few' is not a number; allowed: above 0, up to 1"),
        ("themes", True, "scenes: known=True is not a number; allowed: above 0, up to 1"),
        ("", 0.5, "scenes:objects: known=0.5 says on how many images themes are known; read scenes:themes with it"),
        (
            "relations",
            1,
            "scenes:relations: known=1 says on how many images themes are known; read scenes:themes with it",
        ),
    ],
)
def test_another_share_is_refused_and_nothing_drawn(tmp_path: Path, view: str, known: Any, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_scenes(view, images=2, size=64, known=known, out=str(tmp_path / "out"))
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_pictures_and_the_other_views_are_as_before_there_were_themes(drawn: Path) -> None:
    """Labels by their hash; pictures by their mean color, since versions of Pillow round the edges differently."""
    hashes = {}
    for view in ("objects", "relations"):
        table = Index.load(drawn / f"{view}.arrow").table.select(["id", "positives", "split"])
        hashes[view] = hashlib.sha256(json.dumps(table.to_pylist()).encode()).hexdigest()[:16]
    assert hashes == {"objects": "9e5404287366ff24", "relations": "a1e550629d328622"}
    colors = [np.asarray(Image.open(drawn / f"images/{row:06d}.png")).mean(axis=(0, 1)) for row in range(4)]
    before = [
        [157.21, 131.33, 139.84],
        [141.06, 145.66, 122.43],
        [110.06, 103.56, 122.87],
        [126.58, 124.90, 123.05],
    ]
    assert np.abs(np.array(colors) - before).max() < 0.1
