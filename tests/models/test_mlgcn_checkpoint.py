"""Checkpoints of the ML-GCN program: the same logits as a slow run of its equations, and refusals."""

from __future__ import annotations

import collections
import fractions
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from cotag.errors import WeightsError
from cotag.inference.predictor import load
from cotag.labels.embeddings import LabelVectors, label_vectors
from cotag.models.bundle import load_tagger, save_tagger
from cotag.models.mlgcn_checkpoint import load_mlgcn, normalized
from cotag.models.tagger import Tagger
from cotag.types.labels import LabelSpace

SPACE = LabelSpace(("boat", "person", "surfboard"))
# Not symmetric: person is likely where a boat or a surfboard is, not the other way round.
ADJACENCY = [[1.0, 0.25, 0.0], [0.0, 1.0, 0.0], [0.0, 0.25, 1.0]]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Program(nn.Module):
    """The module tree of the published program, around a small ResNet."""

    def __init__(self, widths: tuple[int, ...] = (6, 512), labels: int = 3) -> None:
        super().__init__()
        body = ResNet(BasicBlock, [2, 2, 2, 2])
        self.features = nn.Sequential(
            *(body.conv1, body.bn1, body.relu, body.maxpool, body.layer1, body.layer2, body.layer3, body.layer4)
        )
        for number, (ins, outs) in enumerate(zip((4, *widths), widths, strict=False), 1):
            layer = nn.Module()
            layer.weight = nn.Parameter(torch.randn(ins, outs))
            setattr(self, f"gc{number}", layer)
        self.A = nn.Parameter(torch.tensor(ADJACENCY)[:labels, :labels])

    def logits(self, images_BCHW: Tensor, vectors_KE: Tensor) -> Tensor:
        """The equations in double precision, one entry at a time where they are about the graph."""
        a = self.A.double().tolist()
        count = len(a)
        scale = [sum(row) ** -0.5 for row in a]
        a_hat = torch.tensor([[scale[i] * a[j][i] * scale[j] for j in range(count)] for i in range(count)])
        hidden = vectors_KE.double()
        hidden = a_hat.double() @ hidden @ self.gc1.weight.double()  # type: ignore[operator, union-attr]
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
        hidden = a_hat.double() @ hidden @ self.gc2.weight.double()  # type: ignore[operator, union-attr]
        pooled = self.features(images_BCHW).flatten(2).max(dim=2).values.double()
        return pooled @ hidden.T


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    made = Program()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return made.eval()


@pytest.fixture(scope="module")
def vectors() -> LabelVectors:
    return label_vectors(SPACE, "random", 4)


Save = Callable[..., Path]


@pytest.fixture
def save(program: Program, tmp_path: Path) -> Save:
    """Writes the program's checkpoint, with changes to its state_dict and to what stands beside it."""

    def write(prefix: str = "", without: str = "", more: Any = None, old: bool = False, **beside: Any) -> Path:
        state = {f"{prefix}{key}": value for key, value in program.state_dict().items() if key != without}
        state |= more or {}
        path = tmp_path / "checkpoint.pth.tar"
        whole = {"epoch": 21, "arch": "resnet18", "state_dict": collections.OrderedDict(state), **beside}
        torch.save(whole, path, _use_new_zipfile_serialization=not old)
        return path

    return write


def converted(path: Path, vectors: LabelVectors) -> Tagger:
    return load_mlgcn(path, vectors, "resnet18")


def compared(tagger: Tagger, program: Program, vectors: LabelVectors) -> None:
    torch.manual_seed(1)
    images_BCHW = torch.randint(0, 256, (2, 3, 96, 128)).float()
    inputs_BCHW = (images_BCHW / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.inference_mode():
        expected_BK = program.logits(inputs_BCHW, torch.from_numpy(vectors.vectors_KE))
        found_BK = tagger(images_BCHW).logits_BK
    assert expected_BK.abs().max() > 1
    torch.testing.assert_close(found_BK.double(), expected_BK, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        {"best_score": 83.0},
        {"prefix": "module.", "best_score": torch.tensor(83.0)},
        {"old": True, "best_score": np.float64(83.0)},
        {"prefix": "module.", "old": True, "best_score": np.float32(83.0)},
        {"without": "features.1.num_batches_tracked"},
    ],
    ids=["plain", "module", "old", "old module", "torch 0.3"],
)
def test_the_logits_are_those_of_the_program(
    form: dict[str, Any], save: Save, program: Program, vectors: LabelVectors
) -> None:
    compared(converted(save(**form), vectors), program, vectors)


def test_numpy_1_named_its_scalars_otherwise(
    save: Save, program: Program, vectors: LabelVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(old=True, best_score=np.float64(83.0))
    content = path.read_bytes()
    assert b"cnumpy._core.multiarray\nscalar" in content
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\nscalar", b"cnumpy.core.multiarray\nscalar"))
    compared(converted(path, vectors), program, vectors)


def test_a_state_dict_alone(program: Program, vectors: LabelVectors, tmp_path: Path) -> None:
    path = tmp_path / "state.pth"
    torch.save(program.state_dict(), path)
    compared(converted(path, vectors), program, vectors)


def test_the_model_is_saved_and_used(save: Save, program: Program, vectors: LabelVectors, tmp_path: Path) -> None:
    tagger = converted(save(), vectors)
    save_tagger(tagger, tmp_path / "model", {"rule": "threshold", "threshold": 0.5}, {})
    for fold in (False, True):
        compared(load_tagger(tmp_path / "model", fold)[0], program, vectors)
    prepare = load_tagger(tmp_path / "model")[0].preprocessing
    assert (prepare.image_size, prepare.resize, prepare.interpolation) == (448, "squash", "bilinear")
    assert (prepare.mean, prepare.std) == (MEAN, STD)
    picture = tmp_path / "p.png"
    Image.new("RGB", (300, 200), (200, 90, 20)).save(picture)
    (prediction,) = load(tmp_path / "model").predict([picture])
    assert list(prediction.scores) == list(SPACE.names)


def test_knowledge_flows_against_the_arrow() -> None:
    """Boat makes person likely, so person receives from boat: A_hat is D A^T D."""
    graph_KK = normalized(torch.tensor(ADJACENCY)).to_dense()
    assert graph_KK[1, 0] == pytest.approx(0.25 * 1.25**-0.5)
    assert graph_KK[0, 1] == 0
    assert graph_KK.diag().tolist() == pytest.approx([1 / 1.25, 1, 1 / 1.25])


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"without": "A"}, "lacks A; give a checkpoint of the ML-GCN program"),
        ({"without": "gc1.weight"}, "lacks gc1.weight;"),
        ({"without": "gc2.weight"}, "lacks gc2.weight;"),
        ({"more": {"gc4.weight": torch.ones(2, 2)}}, "lacks a graph convolution between others"),
        ({"more": {"A": torch.eye(4)}}, r"was trained on 4 labels \(A has the shape \(4, 4\)\), and 3 are given"),
        ({"more": {"A": torch.zeros(3, 3)}}, "A has rows that are not finite or add up to 0 or less"),
        ({"more": {"A": torch.eye(3) * torch.inf}}, "A has rows that are not finite"),
        ({"more": {"gc1.weight": torch.ones(300, 6)}}, "reads label vectors of 300 values, and those of random"),
        (
            {"more": {"gc2.weight": torch.ones(6, 2048)}},
            r"1 of another shape: head.weights.1 \(6, 2048\) for \(6, 512\)",
        ),
        ({"more": {"gc1.bias": torch.ones(6)}}, "does not fit resnet18: 1 left over: gc1.bias; name the backbone"),
        ({"more": {"features.6.2.conv1.weight": torch.ones(1)}}, "1 left over: backbone.body.layer3.2.conv1.weight"),
        ({"more": {"fc.weight": torch.ones(1)}}, "1 left over: fc.weight"),
        ({"more": {"head.edge_starts_K": torch.ones(3)}}, "1 left over: head.edge_starts_K"),
        ({"without": "features.7.0.conv1.weight"}, "1 missing: backbone.body.layer4.0.conv1.weight"),
        ({"state_dict": {}}, "holds no state_dict of tensors"),
        ({"state_dict": {"A": 3}}, "holds no state_dict of tensors"),
        ({"best_score": fractions.Fraction(1, 2)}, r"holds fractions.Fraction, which is code .* nothing of it was run"),
    ],
)
def test_what_does_not_fit_is_refused(form: dict[str, Any], said: str, save: Save, vectors: LabelVectors) -> None:
    with pytest.raises(WeightsError, match=said) as caught:
        converted(save(**form), vectors)
    assert "\n" not in str(caught.value)


def test_another_depth_is_refused(save: Save, vectors: LabelVectors) -> None:
    with pytest.raises(WeightsError, match=r"does not fit resnet34: \d+ missing: backbone.body.layer1.2.conv1.weight"):
        load_mlgcn(save(), vectors, "resnet34")


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint", pickle.dumps({"state_dict": {}}, protocol=2), b"PK\x03\x04 cut short"]
)
def test_what_is_no_checkpoint_is_refused(content: bytes, vectors: LabelVectors, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    with pytest.raises(WeightsError, match="there is no such file"):
        converted(path, vectors)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint.pth.tar: ") as caught:
        converted(path, vectors)
    assert "\n" not in str(caught.value)


def test_code_in_a_checkpoint_is_not_run(vectors: LabelVectors, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "trap.pth"
    torch.save({"state_dict": Trap()}, path)
    with pytest.raises(WeightsError, match="nothing of it was run"):
        converted(path, vectors)
    assert not (tmp_path / "ran").exists()
