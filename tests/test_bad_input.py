"""Bad input from end to end: one line that names the file, the row and the way out; and nothing is lost."""

from __future__ import annotations

import csv
import json
import resource
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

from cotag.types.scores import Scores

Command = Callable[..., Any]


@pytest.fixture
def data(draw: Callable[..., Path], tmp_path: Path) -> Path:
    """Pictures and their table, to be spoiled."""
    return draw(tmp_path / "pictures")


@pytest.fixture
def train(cotag: Command, set_tiny: list[str], tmp_path: Path) -> Command:
    """Trains ``quick`` on some data into ``run``."""

    def run(data: object, *options: object) -> Any:
        return cotag("train", data, *set_tiny, "--out", tmp_path / "run", *options)

    return run


def rows_of(table: Path) -> list[list[str]]:
    return list(csv.reader(table.open(newline="")))[1:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb() -> bytes:
    """A PNG of 200 bytes that declares 60,000 by 60,000 pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b"")


def truncated(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


# Scores, through every command that takes them


def scores_file(path: Path, **changes: Any) -> Path:
    """Scores of six images and three labels, with columns, labels or metadata replaced, whatever they then are."""
    random = np.random.default_rng(0)
    given: dict[str, Any] = {
        "ids": [f"i{row}" for row in range(6)],
        "names": ["a", "b", "c"],
        "kind": "logit",
        **changes,
    }
    shape = len(given["ids"]), len(given["names"])
    scores = given.get("scores", random.normal(size=shape).astype(np.float32))
    targets = given.get("targets", np.arange(shape[0] * shape[1]).reshape(shape) % 2)
    about = {"cotag_scores": 1, "kind": given["kind"], "label_space": {"names": given["names"]}, "origin": {}}
    if given["kind"] is None:
        del about["kind"]
    columns = {"id": given["ids"], "scores": list(scores), "targets": list(np.asarray(targets, dtype=np.int8))}
    pq.write_table(pa.table(columns).replace_schema_metadata({"cotag": json.dumps(about)}), path)
    return path


def spoiled(value: float) -> np.ndarray:
    scores = np.full((6, 3), 0.5, dtype=np.float32)
    scores[4, 1] = value
    return scores


WRONG_SCORES: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"scores": spoiled(np.nan)}, "image 'i4', label 'b': nan in scores_NK must be a logit: a finite number"),
    "infinite": ({"scores": spoiled(-np.inf)}, "image 'i4', label 'b': -inf in scores_NK must be a logit"),
    "outside [0, 1]": (
        {"scores": spoiled(1.5), "kind": "probability"},
        "image 'i4', label 'b': 1.5 in scores_NK must be a probability: a number from 0 to 1; where these are logits",
    ),
    "strings": ({"scores": [["high"] * 3] * 6}, "scores are list<element: string>; give each image a list of 3"),
    "kind not declared": ({"kind": None}, "the kind is not declared; declare whether"),
    "missing labels": ({"scores": np.zeros((6, 2))}, "row 0: 2 scores for 3 labels; give each image one for each"),
}


def judged_by(verb: str, path: Path) -> tuple[object, ...]:
    """The arguments with which a command looks at some scores."""
    if verb == "compare":
        return verb, scores_file(path.with_name("other.parquet")), path
    return {
        "evaluate": (verb, path, "--json"),
        "decide": (verb, path, "--objective", "CF1"),
        "report": (verb, path, "--resamples", "39", "--out", path.with_suffix(".html"), "--json"),
    }[verb]


@pytest.mark.parametrize("verb", ["evaluate", "compare", "decide", "report"])
@pytest.mark.parametrize("what", WRONG_SCORES)
def test_wrong_scores_are_one_line_in_every_command(cotag: Command, tmp_path: Path, verb: str, what: str) -> None:
    changes, said = WRONG_SCORES[what]
    path = scores_file(tmp_path / "wrong.parquet", **changes)
    assert f"cotag: {path}: {said}" in cotag(*judged_by(verb, path)).error
    assert not path.with_suffix(".html").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"ids": [f"i{row}" for row in range(2, 8)]},
            "4 image ids are in one only; the second has no i0, i1; score the",
        ),
        ({"names": ["b", "a", "c"]}, "the same names in another order, first at 0: a and b; write both scores with"),
        ({"names": ["a", "c"]}, "only in the first: b; write both scores with the same labels"),
        ({"targets": np.zeros((6, 3))}, "image 'i0', label 'b': the targets are 1 and 0 (9 cells differ); judge both"),
    ],
)
def test_scores_of_something_else_are_not_compared(
    cotag: Command, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = scores_file(tmp_path / "second.parquet", **changes)
    message = cotag(*judged_by("compare", path)).error
    for part in (f"{tmp_path / 'other.parquet'} and {path}: ", said):
        assert part in message


NO_POSITIVES = "known positive"
FEW_SCORES: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, str | None]] = {
    "one row": (
        {"ids": ["i0"], "targets": [[1, 0, 0]]},
        {"R@3": 1.0},
        "1 image; a comparison needs",
        "1 images cannot",
    ),
    "one label": ({"names": ["a"], "targets": [[1]] * 6}, {"mAP": 1.0, "OP": 1.0, "R@3": 1.0}, None, None),
    "one of both": (
        {"ids": ["i0"], "names": ["a"], "targets": [[1]]},
        {"mAP": 1.0, "R@3": 1.0},
        "1 image; a comparison needs",
        "1 images cannot",
    ),
    "no positives": ({"targets": np.zeros((6, 3))}, {"mAP": None, "CF1": None, "R@3": None}, *[NO_POSITIVES] * 2),
    "nothing known": ({"targets": np.full((6, 3), -1)}, {"mAP": None, "Brier": None}, *[NO_POSITIVES] * 2),
}


@pytest.mark.parametrize("what", FEW_SCORES)
def test_scores_that_say_little_have_defined_values_or_one_line(cotag: Command, tmp_path: Path, what: str) -> None:
    def strict(ran: Any) -> Any:
        assert ran.code == 0, ran.err
        return json.loads(ran.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    changes, wanted, compared, decided = FEW_SCORES[what]
    first, second = (scores_file(tmp_path / f"{name}.parquet", **changes) for name in ("first", "second"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = strict(cotag(*judged_by("evaluate", first)))["metrics"]
        assert {name: metrics[name] for name in wanted} == wanted
        assert strict(cotag(*judged_by("report", first)))["sections"]
        assert "<title>Report</title>" in first.with_suffix(".html").read_text()
        for said, ran in ((compared, cotag("compare", first, second)), (decided, cotag(*judged_by("decide", first)))):
            assert ran.code == 0 if said is None else said in ran.error


@pytest.mark.parametrize("verb", ["evaluate", "compare", "decide", "report"])
def test_scores_without_an_image_are_refused(cotag: Command, tmp_path: Path, verb: str) -> None:
    path = scores_file(tmp_path / "none.parquet", ids=[], scores=[], targets=[])
    about = pq.read_table(path).schema.metadata
    empty = {"id": pa.array([], pa.string())}
    empty.update({name: pa.array([], pa.list_(pa.float32())) for name in ("scores", "targets")})
    pq.write_table(pa.table(empty).replace_schema_metadata(about), path)
    message = cotag(*judged_by(verb, path)).error
    assert {"evaluate": "hold no image", "compare": "i0, i1", "decide": "no known positive", "report": "no image"}[
        verb
    ] in message
    assert not path.with_suffix(".html").exists()


# The label file


@pytest.mark.parametrize("verb", ["train", "stats", "evaluate"])
@pytest.mark.parametrize(
    "data", ["table:none.csv", "coco:none.json", "voc:none", "psg:none.json", "folder:none", "none"]
)
def test_a_missing_label_file(cotag: Command, trained: Path, verb: str, data: str) -> None:
    ran = cotag(verb, *([trained] if verb == "evaluate" else []), data)
    assert "none" in ran.error
    assert "there is no such" in ran.error or "is not a folder" in ran.error
    assert "; " in ran.error


@pytest.mark.parametrize("verb", ["train", "stats", "evaluate"])
def test_missing_images_are_counted_and_listed(cotag: Command, trained: Path, data: Path, verb: str) -> None:
    for name in ("p03.png", "p07.png", "p08.png"):
        (data.parent / name).unlink()
    given = [trained] if verb == "evaluate" else []
    message = cotag(verb, *given, data).error
    for part in (str(data), "3 of 60 images are missing", "'p03.png', 'p07.png', 'p08.png'", "missing=skip", "images="):
        assert part in message
    if verb == "stats":
        assert cotag(verb, data, "--read", "missing=keep").code == 0


def test_missing_images_left_out_on_request(train: Command, data: Path, tmp_path: Path) -> None:
    (data.parent / "p05.png").unlink()
    ran = train(data, "--read", "missing=skip")
    assert ran.code == 0
    assert "1 of 60 images are missing and left out: p05.png" in ran.err
    assert len(Scores.load(tmp_path / "run" / "scores" / "test.parquet")) == 19


def test_a_row_that_stands_twice(train: Command, data: Path, table: Callable[..., Path]) -> None:
    rows = rows_of(data)
    message = train(table(data, [*rows, rows[4]])).error
    for part in (f"{data}: line 62: ", "'p04.png'", "line 6", "keep one row"):
        assert part in message


def test_an_unknown_split(train: Command, data: Path, table: Callable[..., Path]) -> None:
    rows = rows_of(data)
    rows[9][2] = "tset"
    message = train(table(data, rows)).error
    for part in (f"{data}: line 11: ", "'tset'", "did you mean test?", "splits="):
        assert part in message


def test_a_label_spelled_two_ways_is_warned_of_once(train: Command, data: Path, table: Callable[..., Path]) -> None:
    rows = [
        [name, labels.replace("red", "RED") if name < "p20" else labels, split] for name, labels, split in rows_of(data)
    ]
    ran = train(table(data, rows))
    assert ran.code == 0
    said = [line for line in ran.err.splitlines() if "look like one label" in line]
    assert len(said) == 1
    for part in (str(data), "'RED'", "'red'", "rename"):
        assert part in said[0]


def test_a_label_without_positives_is_noted_and_left_out_of_the_means(
    train: Command, data: Path, tmp_path: Path
) -> None:
    lines = ["image,split,red,never"]
    lines += [f"{name},{split},{int('red' in labels)},0" for name, labels, split in rows_of(data)]
    data.write_text("\n".join(lines) + "\n")
    ran = train(data, "--json")
    assert ran.code == 0
    assert "1 of 2 labels has no positive image: 'never'" in ran.err
    found = json.loads(ran.out)
    assert found["coverage"].startswith("mAP, CP and CR over 1 of 2 labels")
    by_name = {label["label"]: label for label in found["labels"]}
    assert by_name["never"]["AP"] is None
    assert found["metrics"]["mAP"] == by_name["red"]["AP"] > 0.6


@pytest.mark.parametrize("settings", [[], ["--recipe", "scenes-tiny", "--set", "train.epochs=1"]])
def test_one_label_only_is_trained(
    train: Command, cotag: Command, data: Path, tmp_path: Path, settings: list[str]
) -> None:
    lines = ["image,split,red"] + [f"{name},{split},{int('red' in labels)}" for name, labels, split in rows_of(data)]
    data.write_text("\n".join(lines) + "\n")
    ran = train(data, *settings)
    assert ran.code == 0
    assert "there is only one label, 'red'" in ran.err
    ran = cotag("predict", tmp_path / "run", data.parent / "p00.png", "--format", "jsonl")
    assert list(json.loads(ran.out)["scores"]) == ["red"]


def coco(data: Path, order: list[int]) -> Path:
    """The table as COCO annotations with category ids 70, 2 and 9, listed in an order."""
    ids = {"blue": 70, "green": 2, "red": 9}
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    annotations = [
        {"id": 100 * row + ids[label], "image_id": row + 1, "category_id": ids[label], "bbox": [0, 0, 8, 8]}
        for row, (_, labels, _) in enumerate(rows_of(data))
        for label in filter(None, labels.split("|"))
    ]
    images = [{"id": row + 1, "file_name": name} for row, (name, _, _) in enumerate(rows_of(data))]
    path = data.parent / f"coco{''.join(map(str, order))}.json"
    value = {"images": images, "annotations": annotations, "categories": [categories[place] for place in order]}
    path.write_text(json.dumps(value))
    return path


def test_category_ids_out_of_order_change_nothing(
    cotag: Command, data: Path, set_tiny: list[str], tmp_path: Path
) -> None:
    models = []
    for place, order in enumerate(([0, 1, 2], [2, 0, 1])):
        out = tmp_path / str(place)
        assert cotag("train", f"coco:{coco(data, order)}", *set_tiny, "--out", out).code == 0
        settings = json.loads((out / "model" / "settings.json").read_text())
        assert settings["label_space"]["names"] == ["green", "red", "blue"]
        assert settings["label_space"]["source_ids"] == [2, 9, 70]
        models.append(load_file(out / "model" / "weights.safetensors"))
    assert all(np.array_equal(models[0][key], models[1][key]) for key in models[0])
    row = next(row for row in rows_of(data) if row[1] == "blue")
    ran = cotag("predict", tmp_path / "1", data.parent / row[0], "--format", "jsonl")
    assert json.loads(ran.out)["labels"] == ["blue"]


def test_nan_in_a_table(train: Command, data: Path) -> None:
    lines = ["image,split,red"] + [f"{name},{split},{int('red' in labels)}" for name, labels, split in rows_of(data)]
    lines[3] = "p02.png,test,nan"
    data.write_text("\n".join(lines) + "\n")
    message = train(data).error
    for part in (f"{data}: line 4: ", "'red'", "'nan'", "1 (present), 0 (absent), empty (unknown)"):
        assert part in message


def test_nan_in_a_box(train: Command, data: Path) -> None:
    path = coco(data, [0, 1, 2])
    path.write_text(path.read_text().replace("[0, 0, 8, 8]", "[NaN, 0, 8, 8]", 1))
    message = train(f"coco:{path}").error
    for part in (str(path), "annotation id ", "[nan, 0, 8, 8]", "four finite numbers"):
        assert part in message


@pytest.mark.parametrize("cell", ["nan", "inf", "", "high"])
def test_nan_in_scores(cotag: Command, tmp_path: Path, cell: str) -> None:
    scores, targets = tmp_path / "s.csv", tmp_path / "t.csv"
    scores.write_text(f"id,cat,dog\na,1.5,0\nb,{cell},2\n")
    targets.write_text("id,cat,dog\na,1,0\nb,0,\n")
    message = cotag("evaluate", "--scores", scores, "--targets", targets, "--kind", "logit").error
    for part in ("image 'b', label 'cat'", "number"):
        assert part in message


@pytest.mark.parametrize("reference", ["../p00.png", "../../etc/passwd", "ABSOLUTE"])
def test_a_path_outside_the_root(train: Command, data: Path, table: Callable[..., Path], reference: str) -> None:
    outside = data.parent.parent / "p00.png"
    outside.write_bytes((data.parent / "p00.png").read_bytes())
    given = reference.replace("ABSOLUTE", str(outside))
    rows = rows_of(data)
    rows[6][0] = given
    message = train(table(data, rows)).error
    for part in (f"{data}: line 8: ", repr(given), "outside the root", "images="):
        assert part in message


# Pictures


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "bomb"])
def test_a_picture_that_cannot_be_read_stops_or_is_counted(
    train: Command, cotag: Command, data: Path, tmp_path: Path, kind: str
) -> None:
    bad = data.parent / "p05.png"
    said = {"truncated": "truncated", "empty": "0 bytes", "text": "is no image", "bomb": "decompression bomb"}[kind]
    bad.write_bytes({"truncated": truncated(bad), "empty": b"", "text": b"hello", "bomb": bomb()}[kind])
    message = train(data).error
    for part in (f"{bad} (row 5)", said, "data.bad_images=skip"):
        assert part in message
    assert not (tmp_path / "run" / "result.json").exists()
    ran = train(data, "--force", "--set", "data.bad_images=skip")
    assert ran.code == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert list(result["skipped"]) == ["5"]
    assert said in result["skipped"]["5"]
    assert "1 images could not be read and were left out" in (tmp_path / "run" / "report.html").read_text()
    assert len(Scores.load(tmp_path / "run" / "scores" / "test.parquet")) == 19
    ran = cotag("predict", tmp_path / "run", bad)
    assert said in ran.error
    assert "images that cannot be read" in " ".join(cotag("stats", data).out.split())


def unusual(data: Path) -> dict[str, Path]:
    """One picture saved in every unusual way; the table names them all in place of the first seven."""
    picture = Image.open(data.parent / "p00.png").convert("RGB")
    folder = data.parent
    exif = Image.Exif()
    exif[0x0112] = 6
    places = {
        name: folder / name for name in ("cmyk.jpg", "deep.png", "palette.png", "exif.png", "moving.gif", "dot.png")
    }
    picture.convert("CMYK").save(places["cmyk.jpg"], quality=95)
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 256).save(places["deep.png"])
    palette = picture.convert("P")
    palette.save(places["palette.png"], transparency=bytes(range(256)))
    picture.transpose(Image.Transpose.ROTATE_90).save(places["exif.png"], exif=exif)
    others = [Image.new("RGB", picture.size, color) for color in ("red", "blue")]
    picture.save(places["moving.gif"], save_all=True, append_images=others)
    Image.new("RGB", (1, 1), (230, 30, 30)).save(places["dot.png"])
    return places


@pytest.mark.parametrize(
    "way", [[], ["--recipe", "scenes-tiny", "--set", "train.epochs=1", "--set", "data.augment=[flip, crop, color]"]]
)
def test_unusual_pictures_are_trained_on_and_predicted_without_complaint(
    train: Command, cotag: Command, data: Path, table: Callable[..., Path], tmp_path: Path, way: list[str]
) -> None:
    places = unusual(data)
    rows = rows_of(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ran = train(table(data, [[name, "red", "train"] for name in places] + rows), *way)
        assert ran.code == 0
        assert json.loads((tmp_path / "run" / "result.json").read_text())["skipped"] == {}
        ran = cotag("predict", tmp_path / "run", *places.values(), "--format", "jsonl")
        assert (ran.code, ran.err) == (0, "")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [Path(one["image"]).name for one in found] == list(places)
    assert all(len(one["scores"]) == 3 for one in found)
    upright = json.loads(cotag("predict", tmp_path / "run", data.parent / "p00.png", "--format", "jsonl").out)
    rotated = next(one for one in found if one["image"].endswith("exif.png"))
    assert rotated["scores"] == pytest.approx(upright["scores"], abs=1e-4)


# Weights, disks and runs


def test_weights_of_another_architecture(train: Command, data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_efficientnet", num_classes=5).state_dict(), weights)
    message = train(data, "--set", f"model.weights={weights}").error
    for part in (
        str(weights),
        "does not fit backbone test_resnet",
        "missing: conv1.",
        "left over: ",
        "name the backbone",
    ):
        assert part in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("batch_size", [1, 16])
def test_batches_of_one_image_with_maps_of_one_pixel(
    train: Command, pictures: Path, tmp_path: Path, batch_size: int
) -> None:
    settings = ["train.epochs=1", "train.warmup_epochs=0", "data.image_size=32", f"train.batch_size={batch_size}"]
    ran = train(pictures, "--recipe", "scenes-tiny", *(part for one in settings for part in ("--set", one)))
    # In batches of 16, one is left over.
    assert "trains: 33 images" in ran.err
    if batch_size == 16:
        assert ran.code == 0
        assert json.loads((tmp_path / "run" / "result.json").read_text())["test"]["metrics"]["mAP"] > 0
        return
    for part in ("test_resnet: a batch of one image", "train.batch_size=2", "image_size", "norm_statistics=frozen"):
        assert part in ran.error


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full: no file of this process grows larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def assert_whole(folder: Path) -> None:
    """No file that a process began and did not finish."""
    for path in folder.rglob("*"):
        assert not path.name.startswith("."), path
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".parquet":
            Scores.load(path)
        elif path.suffix == ".npy":
            np.load(path)


FULL = {
    "recipe": (100, [], "run/recipe.yaml: could not be written (File too large); free space or choose another --out"),
    "features": (5_000, [], "free space or set COTAG_CACHE"),
    "weights": (200_000, [], "run/model/weights.safetensors: could not be written"),
    "report": (2_000_000, [], "run/report.html: could not be written"),
    "best checkpoint": (
        200_000,
        ["--recipe", "scenes-tiny"],
        "checkpoints/best/model.safetensors: could not be written",
    ),
    "last checkpoint": (2_000_000, ["--recipe", "scenes-tiny"], "checkpoints/last/optimizer.pt: could not be written"),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_leaves_nothing_half_written(
    what: str, train: Command, cotag: Command, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    size, recipe, part = FULL[what]
    options = [*recipe, *(["--set", "train.epochs=2"] if recipe else [])]
    with files_of_at_most(size):
        ran = train(pictures, *options)
    assert part in ran.error
    assert ran.out == ""
    assert_whole(tmp_path)
    run = tmp_path / "run"
    assert not (run / "result.json").exists()
    if what != "recipe":
        assert f"to go on give --resume {run}" in ran.err
        assert cotag("train", pictures, "--resume", run).code == 0
    else:
        assert train(pictures, *options).code == 0
    assert (run / "result.json").exists()
    assert (run / "report.html").exists()


def test_a_full_disk_leaves_the_prediction_that_was_there(
    cotag: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.csv"
    out.write_text("mine")
    with files_of_at_most(300):
        ran = cotag("predict", trained, pictures.parent, "--format", "csv", "--out", out, "--force")
    assert f"{out}: could not be written (File too large)" in ran.error
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
    assert out.read_text() == "mine"


def test_resume_with_another_label_space(
    train: Command, cotag: Command, data: Path, table: Callable[..., Path], tmp_path: Path
) -> None:
    assert train(data).code == 0
    before = json.loads((tmp_path / "run" / "data.json").read_text())["label_space"]["hash"]
    table(data, [[name, labels.replace("red", "crimson"), split] for name, labels, split in rows_of(data)])
    message = cotag("train", data, "--resume", tmp_path / "run").error
    for part in (str(tmp_path / "run"), before, "crimson", "another --out"):
        assert part in message
