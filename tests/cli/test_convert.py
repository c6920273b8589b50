"""``cotag convert``: another program's checkpoint in, a model that predicts out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18

from cotag.models.bundle import load_tagger

NAMES = ("boat", "person", "surf board")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its label vectors, its labels as a list, as a table and as COCO with ids in another order."""
    made = tmp_path_factory.mktemp("theirs")
    body = resnet18()
    parts = (body.conv1, body.bn1, body.relu, body.maxpool, body.layer1, body.layer2, body.layer3, body.layer4)
    torch.manual_seed(0)
    weights = {"gc1.weight": torch.randn(2, 5), "gc2.weight": torch.randn(5, 512), "A": torch.eye(3)}
    state = {f"features.{key}": value for key, value in nn.Sequential(*parts).state_dict().items()} | weights
    torch.save({"epoch": 1, "arch": "resnet18", "state_dict": state, "best_score": 83.0}, made / "theirs.pth.tar")
    (made / "vectors.txt").write_text("person 1 2\nboat 3 4\nsurf 5 6\nboard 7 8\n")
    (made / "labels.txt").write_text("".join(f"{name}\n" for name in NAMES))
    (made / "labels.csv").write_text("image,labels\np.png,boat|person\nq.png,surf board\n")
    for name in ("p.png", "q.png"):
        Image.new("RGB", (40, 30), (10, 200, 90)).save(made / name)
    categories = [{"id": 3 - number, "name": name} for number, name in enumerate(NAMES)]
    images = [{"id": 1, "file_name": "p.png", "width": 40, "height": 30}]
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0, "segmentation": []}
    (made / "instances_val.json").write_text(
        json.dumps({"images": images, "annotations": [one], "categories": categories})
    )
    return made


@pytest.fixture
def convert(cotag: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the verb in the folder, with options that replace the usual ones."""
    monkeypatch.chdir(folder)

    def run(out: Path, *more: str, program: str = "mlgcn", checkpoint: str = "theirs.pth.tar", **changes: str) -> Any:
        usual = {"labels": "labels.txt", "vectors": "vectors.txt", "out": str(out), "backbone": "resnet18"}
        options = [part for key, value in {**usual, **changes}.items() for part in (f"--{key}", value)]
        return cotag("convert", program, checkpoint, *options, *more)

    return run


def test_the_model_predicts(convert: Callable[..., Any], cotag: Callable[..., Any], tmp_path: Path) -> None:
    ran = convert(tmp_path / "model")
    assert (ran.code, ran.out) == (
        0,
        f"labels: 3, in the order 0 boat, 1 person, 2 surf board\nmodel:  {tmp_path / 'model'}\n",
    )
    assert "note: vectors.txt: labels put together of words (1): surf board (surf, board)" in ran.err
    _, about = load_tagger(tmp_path / "model")
    assert (about["head"], about["preprocessing"]["image_size"]) == ("gcn", 448)
    assert about["decision"] == {"rule": "threshold", "threshold": 0.5}
    assert about["origin"]["converted"] == "mlgcn"
    found = cotag("predict", tmp_path / "model", "p.png", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(found.out))
    assert [0 <= float(row[name]) <= 1 for name in NAMES] == [True] * 3


@pytest.mark.parametrize("labels", ["coco:instances_val.json", "instances_val.json", "table:labels.csv"])
def test_labels_of_data(convert: Callable[..., Any], labels: str, tmp_path: Path) -> None:
    """Those of COCO in the order of their names, which is that of the published checkpoints."""
    assert "0 boat, 1 person, 2 surf board" in convert(tmp_path / "model", labels=labels).out


def test_another_order_can_be_asked_for(convert: Callable[..., Any], tmp_path: Path) -> None:
    ran = convert(tmp_path / "model", "--read", "order=id", labels="coco:instances_val.json")
    assert "0 surf board, 1 person, 2 boat" in ran.out


def test_many_labels_are_shown_by_their_ends(convert: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(folder / "theirs.pth.tar", weights_only=True)
    checkpoint["state_dict"]["A"] = torch.eye(9)
    torch.save(checkpoint, tmp_path / "nine.pth")
    (tmp_path / "nine.txt").write_text("\n".join("abcdefghi"))
    (tmp_path / "words.txt").write_text("".join(f"{word} 1 2\n" for word in "abcdefghi"))
    places = {name: str(tmp_path / f"{file}.txt") for name, file in (("labels", "nine"), ("vectors", "words"))}
    ran = convert(tmp_path / "model", checkpoint=str(tmp_path / "nine.pth"), **places)
    assert ran.out.startswith("labels: 9, in the order 0 a, 1 b, 2 c, ..., 6 g, 7 h, 8 i\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"program": "mlgnc"}, "program 'mlgnc' is not known; did you mean mlgcn?"),
        ({"checkpoint": "no.pth"}, "no.pth: there is no such file"),
        ({"labels": "no.txt"}, "no.txt: cannot be read (No such file or directory)"),
        ({"labels": "vectors.txt"}, "was trained on 3 labels (A has the shape (3, 3)), and 4 are given"),
        ({"vectors": "labels.txt"}, "labels.txt, line 1: is not a word and its numbers"),
        ({"vectors": "no.txt"}, "vectors.source = 'no.txt': there is no such file"),
        ({"backbone": "resnet34"}, "does not fit resnet34: "),
        ({"backbone": "resnet19"}, "backbone 'resnet19' is not a timm model"),
    ],
)
def test_one_line_says_what_is_wrong(
    convert: Callable[..., Any], changes: dict[str, str], said: str, folder: Path, tmp_path: Path
) -> None:
    if changes.get("labels") == "vectors.txt":
        (tmp_path / "four.txt").write_text("person\nboat\nsurf\nboard\n")
        changes = {"labels": str(tmp_path / "four.txt")}
    assert said in convert(tmp_path / "model", **changes).error
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\n\nb\n", "line 2: is empty"),
        (b"a\nb\na\n", "label names stand twice: a"),
        (b"", "a label space needs at least one label"),
        (b"a\n\xff\n", "it is not UTF-8"),
    ],
)
def test_a_list_of_labels_that_is_wrong(convert: Callable[..., Any], content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    error = convert(tmp_path / "model", labels=str(tmp_path / "names.txt")).error
    assert "names.txt" in error
    assert said in error


def test_only_a_model_is_overwritten_and_only_when_told(convert: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert convert(out).code == 0
    assert "exists already; give --force" in convert(out).error
    assert convert(out, "--force").code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_text("mine")
    assert "holds something else than a model" in convert(tmp_path / "mine", "--force").error
    assert (tmp_path / "mine" / "photo.jpg").read_text() == "mine"


def test_reader_options_with_a_list_are_refused(convert: Callable[..., Any], tmp_path: Path) -> None:
    assert "--read is for data" in convert(tmp_path / "model", "--read", "order=id").error
