"""Statistics: equal to slow and obvious loops, and honest about what is wrong with the files."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.data.cooccurrence import cooccurrence_section, pair_counts
from cotag.data.images import open_image
from cotag.data.scan import scan
from cotag.data.statistics import statistics
from cotag.errors import DataError
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.section import Section

NAMES = ("cat", "dog", "sea", "sun", "owl")


@pytest.fixture
def pictures(tmp_path: Path) -> Index:
    """24 noise images of several sizes in two splits, with unknowns and one label without images."""
    draw = np.random.default_rng(3)
    columns: dict[str, list[Any]] = {"image": [], "positives": [], "unknowns": [], "split": []}
    for row in range(24):
        height, width = draw.integers(8, 40, 2)
        low, high = sorted(draw.integers(0, 256, 2))
        name = f"{row}.png"
        pixels = draw.integers(low, high + 1, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        state = draw.choice([0, 0, 1, 1, -1], 4)
        columns["image"].append(name)
        columns["positives"].append(np.flatnonzero(state == 1).tolist())
        columns["unknowns"].append(np.flatnonzero(state == -1).tolist())
        columns["split"].append("train" if row < 16 else "val")
    return Index.build(columns, LabelSpace(NAMES), tmp_path)


def by_title(sections: list[Section]) -> dict[str, Section]:
    found = {section.title: section for section in sections}
    assert len(found) == len(sections)
    return found


def records(section: Section) -> list[dict[str, Any]]:
    return [dict(zip(section.columns, row, strict=True)) for row in section.rows]


def test_counts_and_shares_agree_with_loops(pictures: Index) -> None:
    found = by_title(statistics(pictures, pixels=False))
    targets = {"all": pictures.targets(), "train": pictures.targets()[:16], "val": pictures.targets()[16:]}
    rows = {row["label"]: row for row in records(found["Labels"])}
    for label, name in enumerate(NAMES):
        for split, column in (("all", "images"), ("train", "train"), ("val", "val")):
            known = [row[label] for row in targets[split] if row[label] >= 0]
            assert rows[name][column] == sum(known)
            assert rows[name]["share" if split == "all" else f"{split} share"] == pytest.approx(np.mean(known))
    summary = {row["quantity"]: row for row in records(found["Summary"])}
    for split, values in targets.items():
        lengths = [sum(cell == 1 for cell in row) for row in values]
        assert summary["positives"][split] == sum(lengths)
        assert summary["labels per image, mean"][split] == pytest.approx(np.mean(lengths))
        assert summary["labels per image, median"][split] == np.median(lengths)
        assert summary["labels per image, most"][split] == max(lengths)
        assert summary["images without labels"][split] == lengths.count(0)
        assert summary["unknown targets"][split] == (values == -1).sum()
        assert summary["labels with positives"][split] == 4
    lengths = Counter((pictures.targets() == 1).sum(axis=1).tolist())
    assert {row["labels"]: row["images"] for row in records(found["Labels per image"])} == lengths
    assert [row["label"] for row in records(found["Labels"])][-1] == "owl"


def test_cooccurrence_agrees_with_loops(pictures: Index) -> None:
    targets = pictures.targets()
    counts = pair_counts(pictures).toarray()
    for a, b in itertools.product(range(5), repeat=2):
        assert counts[a, b] == sum(row[a] == 1 and row[b] == 1 for row in targets)
    section = cooccurrence_section(pictures)
    rows = records(section)
    assert len(rows) == 6
    for row in rows:
        a, b = NAMES.index(row["A"]), NAMES.index(row["B"])
        given = [other[b] for other in targets if other[a] == 1 and other[b] >= 0]
        known = [other[b] for other in targets if other[b] >= 0]
        turned = [other[a] for other in targets if other[b] == 1 and other[a] >= 0]
        assert row["images"] == sum(given)
        assert row["P(B|A)"] == pytest.approx(np.mean(given))
        assert row["lift"] == pytest.approx(np.mean(given) / np.mean(known))
        assert np.mean(given) >= np.mean(turned)
    strength = [row["images"] * np.log(row["lift"]) for row in rows]
    assert strength == sorted(strength, reverse=True)
    assert section.figure is not None
    heat = section.figure["data"][0]
    for row in rows:
        assert heat["z"][heat["y"].index(row["A"])][heat["x"].index(row["B"])] == pytest.approx(row["P(B|A)"], abs=1e-4)


def test_cooccurrence_is_added_up_over_blocks(pictures: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pair_counts(pictures).toarray()
    monkeypatch.setattr("cotag.data.cooccurrence.BLOCK", 7)
    assert np.array_equal(pair_counts(pictures).toarray(), whole)


def test_ten_thousand_labels_stay_sparse(tmp_path: Path) -> None:
    space = LabelSpace(tuple(f"label {number}" for number in range(10_000)))
    positives = [[row, 5_000 + row, 9_999] for row in range(500)]
    index = Index.build({"image": [f"{row}.png" for row in range(500)], "positives": positives}, space, tmp_path)
    assert pair_counts(index).nnz == 500 * 2 + 1 + 500 * 2 * 3
    found = by_title(statistics(index, pixels=False))
    assert records(found["Labels"])[0]["label"] == "label 9999"
    assert found["Labels"].figure is not None
    assert found["Labels"].figure["data"][0]["type"] == "scatter"


def test_tail_and_imbalance(tmp_path: Path) -> None:
    positives = [[0, 1]] * 20 + [[0]] * 100 + [[0, 2]] * 10
    split = ["train"] * 120 + ["val"] * 10
    images = [f"{row}.png" for row in range(130)]
    index = Index.build({"image": images, "positives": positives, "split": split}, LabelSpace(NAMES[:3]), tmp_path)
    found = by_title(statistics(index, pixels=False))
    assert ["labels on every image in the split val", 2, "cat, sea"] in found["Problems"].rows
    tail = found["Long tail"]
    assert [row[:4] for row in tail.rows] == [
        ["head", "more than 100", 1, 120],
        ["middle", "20 to 100", 1, 20],
        ["tail", "fewer than 20", 1, 0],
    ]
    assert "Imbalance ratio 6: from cat with 120 images to dog with 20; labels with none: 1." in tail.text
    assert "in the split 'train'" in tail.text
    other = by_title(statistics(index, pixels=False, training_split="fit"))["Long tail"]
    assert "over all images. Imbalance ratio 13:" in other.text


@pytest.mark.parametrize("workers", [1, 3])
def test_pixel_values_agree_with_numpy(pictures: Index, workers: int) -> None:
    found = by_title(statistics(pictures, workers=workers))
    pixels = np.concatenate([np.asarray(open_image(path)).reshape(-1, 3) for path in pictures.images()]) / 255
    rows = records(found["Pixel values"])
    assert [row["mean"] for row in rows] == pytest.approx(pixels.mean(axis=0), rel=1e-12)
    assert [row["std"] for row in rows] == pytest.approx(pixels.std(axis=0), rel=1e-12)
    assert "all 24 readable images" in found["Pixel values"].text
    sizes = np.array([open_image(path).size for path in pictures.images()])
    width, height, side, ratio = records(found["Image sizes"])
    for row, values in ((width, sizes[:, 0]), (height, sizes[:, 1]), (side, sizes.min(axis=1))):
        assert [row["min"], row["median"], row["max"]] == [values.min(), np.median(values), values.max()]
    assert ratio["median"] == pytest.approx(np.median(sizes[:, 0] / sizes[:, 1]))
    assert sum(row["images"] for row in records(found["Shorter side"])) == 24
    assert records(found["Shorter side"])[0]["pixels"] == "8 to 31"


def test_a_sample_is_declared_and_repeats(pictures: Index) -> None:
    first, second = (by_title(statistics(pictures, sample=5)) for _ in range(2))
    assert "a seeded sample of 5 of 24 readable images" in first["Pixel values"].text
    assert first["Pixel values"].rows == second["Pixel values"].rows
    assert first["Image sizes"].rows == by_title(statistics(pictures))["Image sizes"].rows


def test_problems_are_found_and_named(pictures: Index) -> None:
    root = pictures.root
    (root / "3.png").write_bytes((root / "20.png").read_bytes())
    (root / "5.png").write_bytes((root / "4.png").read_bytes())
    (root / "7.png").write_text("no image")
    (root / "8.png").unlink()
    Image.new("RGB", (1, 1)).save(root / "9.png")
    table = {name: pictures.table[name] for name in pictures.table.column_names}
    sizes = [(0, 0) if row in (7, 8) else open_image(pictures.image(row)).size for row in range(24)]
    table["width"] = [width + (row == 2) for row, (width, _) in enumerate(sizes)]
    table["height"] = [height for _, height in sizes]
    table["split"] = [None if row == 23 else "train" if row < 16 else "val" for row in range(24)]
    index = Index.build(table, pictures.label_space, root, notes=["label 'Cat' is written in two ways"])
    found = by_title(statistics(index))

    unreadable = {row["row"]: row for row in records(found["Unreadable images"])}
    assert list(unreadable) == [7, 8]
    assert "no image of a known format" in unreadable[7]["reason"]
    assert "no such file" in unreadable[8]["reason"]
    assert unreadable[8]["image"] == "8.png"
    groups = records(found["Exact duplicates"])
    assert [(row["images"], row["splits"]) for row in groups] == [
        ("3.png, 20.png", "train, val"),
        ("4.png, 5.png", "train"),
    ]
    targets = index.targets()
    for row, (a, b) in zip(groups, ((3, 20), (4, 5)), strict=True):
        assert row["same labels"] == ("yes" if (targets[a] == targets[b]).all() else "no")
    assert "more than one split: 1; what was trained on" in found["Exact duplicates"].text

    problems = {row["problem"]: (row["count"], row["which"]) for row in records(found["Problems"])}
    assert problems == {
        "labels without positives": (1, "owl"),
        "labels without positives in the split train": (1, "owl"),
        "labels without positives in the split val": (2, "cat, owl"),
        "images without a split": (1, "23.png"),
        "images that cannot be read": (2, "7.png, 8.png"),
        "identical files in several splits": (1, "3.png = 20.png"),
        "images of another size than the label file says": (1, "2.png"),
        "images with a side below 8 pixels": (1, "9.png"),
        "note of the reader": (None, "label 'Cat' is written in two ways"),
    }


def test_nothing_wrong_is_said_too(tmp_path: Path) -> None:
    for row in range(2):
        Image.new("RGB", (16, 16), (row, 0, 0)).save(tmp_path / f"{row}.png")
    columns = {"image": ["0.png", "1.png"], "positives": [[0], [1]]}
    found = by_title(statistics(Index.build(columns, LabelSpace(("a", "b")), tmp_path)))
    for title in ("Problems", "Co-occurrence", "Exact duplicates", "Unreadable images"):
        assert found[title].text
        assert not found[title].rows


def test_no_readable_image_and_no_image(tmp_path: Path) -> None:
    index = Index.build({"image": ["0.png"], "positives": [[0]]}, LabelSpace(("a",)), tmp_path)
    found = by_title(statistics(index))
    assert found["Pixel values"].text == "No image could be decoded."
    assert found["Image sizes"].text == "No image size is known."
    with pytest.raises(DataError, match="no images"):
        statistics(index.subset([]))


def test_files_are_told_to_the_progress(pictures: Index) -> None:
    told: list[Any] = []

    class Listening:
        def task(self, title: str, total: int) -> Any:
            told.append((title, total))
            return self

        def say(self, message: str) -> None: ...

        def advance(self, steps: int = 1, **info: Any) -> None:
            told.append(steps)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

    scan(pictures, workers=2, progress=Listening())
    assert told == [("images", 24)] + [1] * 24


@pytest.mark.real
def test_real_photographs(shared_data: Path) -> None:
    names = [f"images/{number}.jpg" for number in range(1, 41)]
    index = Index.build({"image": names, "positives": [[0]] * 40}, LabelSpace(("scene",)), shared_data / "miml2000")
    found = scan(index)
    assert (found.decoded, found.unreadable) == (40, {})
    pixels = np.concatenate([np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) for path in index.images()])
    mean, deviation = found.moments()
    assert mean == pytest.approx(pixels.mean(axis=0) / 255, rel=1e-9)
    assert deviation == pytest.approx(pixels.std(axis=0) / 255, rel=1e-9)
