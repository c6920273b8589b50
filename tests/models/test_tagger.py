from __future__ import annotations

import numpy as np
import pytest
import torch

from cotag.errors import SettingError
from cotag.models.scoring import score_batches
from cotag.models.tagger import Tagger, build_tagger
from cotag.training.optim import parameter_groups
from cotag.types.batch import Batch
from cotag.types.labels import LabelSpace

SPACE = LabelSpace(("cat", "dog", "owl"))


def built(**settings: object) -> Tagger:
    torch.manual_seed(0)
    return build_tagger(SPACE, "test_resnet", "linear", preprocessing={"image_size": 32, **settings})


def pixels(images: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_the_image_is_normalized_as_its_preprocessing_says(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = built(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    seen = []
    forward = tagger.backbone.forward
    monkeypatch.setattr(tagger.backbone, "forward", lambda images: (seen.append(images), forward(images))[1])
    image = torch.tensor([255, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    tagger.eval()(image)
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([1.0, 3.0, 0.2]))


def test_bytes_and_floats_of_the_same_pixels_give_the_same_logits() -> None:
    tagger = built().eval()
    assert tagger(pixels()).logits_BK.shape == (2, 3)
    assert torch.equal(tagger(pixels()).logits_BK, tagger(pixels().float()).logits_BK)


def test_what_is_not_given_comes_from_the_backbone() -> None:
    tagger = build_tagger(SPACE, "mobilenetv2_100", "linear", preprocessing={"image_size": None, "std": (1, 1, 1)})
    assert tagger.preprocessing.image_size == 224
    assert tagger.preprocessing.mean == tagger.backbone.input["mean"]
    assert tagger.preprocessing.std == (1.0, 1.0, 1.0)


def test_the_settings_make_the_same_model_again() -> None:
    tagger = build_tagger(SPACE, "test_resnet", "linear", {"global_pool": "max"}, "none", {"pooling": "gem"})
    about = tagger.settings
    again = build_tagger(
        SPACE,
        about["backbone"],
        about["head"],
        about["backbone_args"],
        head_args=about["head_args"],
        preprocessing=about["preprocessing"],
    )
    again.load_state_dict(tagger.state_dict())
    assert again.preprocessing == tagger.preprocessing
    assert torch.equal(again.eval()(pixels()).logits_BK, tagger.eval()(pixels()).logits_BK)


@pytest.mark.parametrize(
    ("head", "args", "said"),
    [
        ("lineer", {}, "head 'lineer' is not known; did you mean linear"),
        ("linear", {"poling": "avg"}, "setting 'poling' is not known; did you mean pooling"),
        ("linear", {"pooling": "mean"}, "head_args.pooling 'mean' is not known"),
        ("linear", {"dropout": 1.0}, "head_args.dropout = 1.0: must be at least 0 and under 1"),
    ],
)
def test_a_wrong_head_is_refused(head: str, args: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        build_tagger(SPACE, "test_resnet", head, head_args=args)


def test_a_head_starts_at_the_base_rate_of_its_labels() -> None:
    head = built().head
    head.start_from(torch.tensor([0.5, 0.01, 0.0]))
    assert torch.sigmoid(head.classifier.bias).tolist() == pytest.approx([0.5, 0.01, 1e-4], rel=1e-4)


def test_a_frozen_backbone_stays_in_evaluation_and_keeps_its_running_means() -> None:
    tagger = built()
    parameter_groups(tagger, 0.1, backbone_rate=0.0, weight_decay=0.0)
    before = {key: value.clone() for key, value in tagger.backbone.state_dict().items()}
    tagger.train()
    assert tagger.head.training
    tagger(pixels())
    assert all(torch.equal(value, before[key]) for key, value in tagger.backbone.state_dict().items())
    free = built().train()
    assert free.backbone.training


def batches() -> list[Batch]:
    nothing = torch.zeros(2, 3)
    return [
        Batch(pixels(4)[part], nothing, nothing.bool(), torch.tensor(rows))
        for part, rows in ((slice(0, 2), [7, 3]), (slice(2, 4), [5, 1]))
    ]


def test_a_pass_over_batches_gives_rows_and_logits_in_order_and_leaves_the_mode() -> None:
    tagger = built().train()
    rows, logits = score_batches(tagger, batches())
    assert rows.tolist() == [7, 3, 5, 1]
    assert logits.dtype == np.float32
    assert tagger.training
    with torch.no_grad():
        np.testing.assert_allclose(logits, tagger.eval()(pixels(4)).logits_BK.numpy(), rtol=1e-5, atol=1e-6)
    score_batches(tagger, batches())
    assert not tagger.training


def test_a_pass_over_nothing() -> None:
    rows, logits = score_batches(built(), [])
    assert len(rows) == len(logits) == 0
