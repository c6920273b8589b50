"""Layers and stages of backbones against those of timm, and what freezing stops."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from cotag.errors import SettingError
from cotag.models.backbone import Backbone, batch_norms
from cotag.models.backbone_parts import freeze_parts, frozen_told, layer_depths
from cotag.models.tagger import Tagger, build_tagger
from cotag.types.labels import LabelSpace

# A residual network, one with a convolution after its blocks, a transformer, and a norm below the classifier.
BACKBONES = ("test_resnet", "test_efficientnet", "test_vit", "test_convnext")


@pytest.mark.parametrize("name", BACKBONES)
def test_depths_are_those_of_timm_whose_model_has_its_classifier(name: str) -> None:
    whole = timm.create_model(name, num_classes=3)
    scale = {}
    for group in param_groups_layer_decay(whole, layer_decay=0.5):
        scale.update({id(parameter): group["lr_scale"] for parameter in group["params"]})
    wanted = {key: scale[id(parameter)] for key, parameter in whole.named_parameters()}
    depths = layer_depths(Backbone(name))
    assert len(depths) >= len(wanted) - 2
    assert {key: 0.5**depth for key, depth in depths.items()} == {key: wanted[key] for key in depths}
    assert max(depths.values()) > 2


def frozen(backbone: Backbone) -> set[str]:
    return {name for name, parameter in backbone.body.named_parameters() if not parameter.requires_grad}


def names(backbone: Backbone, *beginnings: str) -> set[str]:
    return {name for name, _ in backbone.body.named_parameters() if name.startswith(beginnings)}


@pytest.mark.parametrize(
    ("name", "parts", "beginnings"),
    [
        ("test_resnet", ["stem"], ("conv1", "bn1")),
        ("test_resnet", [2], ("conv1", "bn1", "layer1", "layer2")),
        ("test_resnet", ["layer2", "bn1.bias"], ("layer2", "bn1.bias")),
        ("test_resnet", ["layer1.0.conv1"], ("layer1.0.conv1.",)),
        ("test_resnet", ["stem", "layer3"], ("conv1", "bn1", "layer3")),
        ("test_resnet", ["backbone"], ("",)),
        ("test_vit", [1], ("cls_token", "pos_embed", "patch_embed", "reg_token", "blocks.0.")),
        ("test_vit", ["stem"], ("cls_token", "pos_embed", "patch_embed", "reg_token")),
        ("test_convnext", ["stem"], ("stem",)),
        ("test_convnext", [4], ("stem", "stages")),
        ("test_resnet", [], ("nothing",)),
    ],
)
def test_what_is_named_is_frozen_and_nothing_else(name: str, parts: list[str | int], beginnings: tuple[str]) -> None:
    backbone = Backbone(name)
    freeze_parts(backbone, parts)
    assert frozen(backbone) == names(backbone, *beginnings)


@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        (
            "test_resnet",
            0,
            r"train.freeze = \[0\]: backbone test_resnet has 4 stages; give 1 to 4, stem or ",
        ),
        ("test_resnet", 5, r"\[5\]: backbone test_resnet has 4 stages"),
        ("test_convnext", -1, "has 4 stages"),
        ("test_resnet", "layer5", "has no part 'layer5' with parameters; did you mean layer"),
        ("test_resnet", "maxpool", "has no part 'maxpool' with parameters; allowed: stem, backbone, conv1"),
        ("test_resnet", "layer", "has no part 'layer' with parameters"),
    ],
)
def test_what_is_not_there_is_refused(name: str, part: str | int, said: str) -> None:
    backbone = Backbone(name)
    with pytest.raises(SettingError, match=said):
        freeze_parts(backbone, ["conv1" if name == "test_resnet" else "stem", part])
    assert not frozen(backbone)


def test_a_backbone_whose_layers_timm_does_not_know() -> None:
    backbone = Backbone("test_resnet")
    backbone.body = nn.Sequential(nn.Conv2d(3, 4, 1))
    for ask in (lambda: layer_depths(backbone), lambda: freeze_parts(backbone, ["stem"])):
        with pytest.raises(SettingError, match="timm does not say what its layers are"):
            ask()
    freeze_parts(backbone, ["0"])
    assert frozen(backbone) == {"0.weight", "0.bias"}


def tagger(name: str = "test_resnet", **args: float) -> Tagger:
    torch.manual_seed(0)
    return build_tagger(LabelSpace(("a", "b")), name, "linear", dict(args))


def test_frozen_batch_norms_are_in_evaluation_whenever_the_rest_trains() -> None:
    model = tagger()
    freeze_parts(model.backbone, ["stem", "layer2"])
    for _ in range(2):
        model.eval()
        model.train()
        training = {name: module.training for name, module in model.backbone.body.named_modules()}
        assert not any(training[name] for name in training if name.startswith(("bn1", "conv1", "layer2")))
        assert all(training[name] for name in training if name.startswith(("layer1", "layer3")))
        assert training[""]
        assert model.head.training
    assert frozen_told(model.backbone).startswith("frozen: ")
    model.eval()
    assert not any(norm.training for norm in batch_norms(model))


def test_a_frozen_part_drops_nothing_out() -> None:
    model = tagger("test_vit", drop_path_rate=0.9, proj_drop_rate=0.9)
    freeze_parts(model.backbone, ["stem", "blocks"])
    images = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    model.train()
    frozen_twice = [model.features(images).map_BDHW for _ in range(2)]
    assert torch.equal(*frozen_twice)
    loose = tagger("test_vit", drop_path_rate=0.9, proj_drop_rate=0.9).train()
    assert not torch.equal(*[loose.features(images).map_BDHW for _ in range(2)])
