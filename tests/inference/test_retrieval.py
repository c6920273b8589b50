"""The spaces of a tagger: pooled features, what its classifiers see of them, and its scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cotag.data.read import read
from cotag.errors import ImageError
from cotag.inference.retrieval import FEATURES, SCORES, SEEN, classifier_span, tagger_spaces
from cotag.models.tagger import Tagger, build_tagger
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent


def tagger(head: str = "linear", labels: int = 3, **args: object) -> Tagger:
    torch.manual_seed(0)
    names = LabelSpace(tuple("abcdefgh"[:labels]))
    return build_tagger(names, "test_resnet", head, head_args=args, preprocessing={"image_size": 48}).eval()


@pytest.fixture
def index(pictures: Path) -> Index:
    return read(str(pictures)).subset(range(6))


def images_of(index: Index, model: Tagger) -> torch.Tensor:
    from cotag.data.images import open_image

    pixels = [model.preprocessing(open_image(index.image(row))) for row in range(len(index))]
    return torch.from_numpy(np.stack(pixels))


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_spaces_of_a_linear_head_are_those_of_its_forward_pass(pooling: str, index: Index) -> None:
    model = tagger(pooling=pooling)
    rows, spaces, skipped = tagger_spaces(model, index, np.arange(6), Silent())
    with torch.inference_mode():
        features = model.features(images_of(index, model)).pool(pooling).numpy()
        logits = model(images_of(index, model)).logits_BK.numpy()
    assert (rows.tolist(), skipped) == (list(range(6)), {})
    assert list(spaces) == [FEATURES, SEEN, SCORES]
    np.testing.assert_allclose(spaces[FEATURES], features, atol=1e-5)
    np.testing.assert_allclose(spaces[SCORES], logits - logits.mean(0), atol=1e-4)


def test_what_the_classifiers_see_decides_every_score_and_nothing_else_is_kept(index: Index) -> None:
    model = tagger()
    basis = classifier_span(model)
    assert basis is not None
    weight = model.head.classifier.weight.detach().numpy()
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(weight @ basis @ basis.T, weight, atol=1e-5)
    _, spaces, _ = tagger_spaces(model, index, np.arange(6), Silent())
    np.testing.assert_allclose(spaces[SEEN] @ (weight @ basis).T, spaces[FEATURES] @ weight.T, atol=1e-4)


def test_classifiers_of_a_lower_rank_span_less_and_none_span_nothing() -> None:
    model = tagger()
    with torch.no_grad():
        model.head.classifier.weight[2] = 2 * model.head.classifier.weight[0]
    basis = classifier_span(model)
    assert basis is not None
    assert basis.shape[1] == 2
    with torch.no_grad():
        model.head.classifier.weight.zero_()
    assert classifier_span(model) is None
    assert classifier_span(tagger(pooling="gem")) is None


@pytest.mark.parametrize("head", ["csra", "query"])
def test_a_head_on_maps_has_features_on_average_and_scores(head: str, index: Index) -> None:
    model = tagger(head)
    _, spaces, _ = tagger_spaces(model, index, np.arange(6), Silent())
    assert list(spaces) == [FEATURES, SCORES]
    with torch.inference_mode():
        features = model.features(images_of(index, model)).pool("avg").numpy()
    np.testing.assert_allclose(spaces[FEATURES], features, rtol=1e-2, atol=1e-2)
    assert spaces[SCORES].shape == (6, 3)


def test_an_image_that_cannot_be_read_stops_or_is_left_out(pictures: Path, tmp_path: Path) -> None:
    found = read(str(pictures)).subset([0, 1, 2])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    columns = {"image": [str(found.image(0).resolve()), str(broken), str(found.image(2).resolve())]}
    index = Index.build({**columns, "positives": [[0], [1], [0]]}, found.label_space)
    with pytest.raises(ImageError, match=r"broken\.png"):
        tagger_spaces(tagger(), index, np.arange(3), Silent())
    rows, spaces, skipped = tagger_spaces(tagger(), index, np.arange(3), Silent(), "skip")
    assert rows.tolist() == [0, 2]
    assert len(spaces[SCORES]) == 2
    assert list(skipped) == [1]
