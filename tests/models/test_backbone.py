from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cotag.errors import SettingError, WeightsError
from cotag.models.backbone import Backbone, fingerprint, parameter_count

SMALL_SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}
SMALL_VIT = {"img_size": 32, "embed_dim": 12, "depth": 1, "num_heads": 2}


def images(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def built(name: str, **args: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone(name, args).eval()


def saved(path: Path, name: str, **args: Any) -> Path:
    state = timm.create_model(name, **args).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


# The map


@pytest.mark.parametrize(("name", "shape"), [("test_resnet", (2, 96, 2, 2)), ("test_efficientnet", (2, 256, 2, 2))])
def test_a_convolutional_model_gives_its_map_and_pooled_what_timm_gives(name: str, shape: tuple[int, ...]) -> None:
    backbone = built(name, global_pool="avg")
    with torch.no_grad():
        features = backbone(images())
        assert features.map_BDHW.shape == shape
        assert backbone.num_features == shape[1]
        torch.testing.assert_close(features.map_BDHW, backbone.body.forward_features(images()))
        torch.testing.assert_close(features.pool("avg"), backbone.body(images()))


@pytest.mark.parametrize("args", [{}, {"reg_tokens": 4}, {"class_token": False, "global_pool": "avg"}])
def test_a_vision_transformer_gives_its_patches_as_a_grid(args: dict[str, Any]) -> None:
    backbone = built("vit_tiny_patch16_224", **SMALL_VIT, **args)
    with torch.no_grad():
        features = backbone(images(32))
        tokens = backbone.body.forward_features(images(32))[:, -4:]
    assert features.map_BDHW.shape == (2, 12, 2, 2)
    assert torch.equal(features.tokens, tokens)
    assert torch.equal(features.map_BDHW[:, :, 1, 0], tokens[:, 2])


def test_the_grid_has_the_shape_of_the_image() -> None:
    backbone = built("vit_tiny_patch16_224", **{**SMALL_VIT, "img_size": (32, 64)})
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 32, 64)).map_BDHW.shape == (1, 12, 2, 4)


def test_a_model_with_channels_last_gives_its_map_with_channels_first() -> None:
    backbone = built("swin_tiny_patch4_window7_224", **SMALL_SWIN)
    with torch.no_grad():
        features = backbone(images())
        found = backbone.body.forward_features(images())
        assert features.map_BDHW.shape == (2, 16, 8, 8)
        assert torch.equal(features.map_BDHW[:, :, 2, 5], found[:, 2, 5])
        torch.testing.assert_close(features.pool("avg"), backbone.body(images()))


def test_the_input_settings_are_those_of_timm() -> None:
    found = built("mobilenetv2_100").input
    assert found == {
        "image_size": 224,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
    }
    assert built("vit_tiny_patch16_224", **SMALL_VIT).input["image_size"] == 32


# Weights


def test_weights_of_a_file_are_loaded_and_the_classifier_is_passed_over(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", "test_resnet", num_classes=7)
    whole = timm.create_model("test_resnet", num_classes=7)
    whole.load_state_dict(load_file(path))
    backbone = Backbone("test_resnet", weights=str(path)).eval()
    with torch.no_grad():
        assert torch.equal(backbone(images()).map_BDHW, whole.eval().forward_features(images()))


def test_half_precision_weights_become_single_precision(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "w.safetensors")
    backbone = Backbone("test_resnet", weights=str(tmp_path / "w.safetensors"))
    assert all(parameter.dtype == torch.float32 for parameter in backbone.parameters())


def test_weights_of_another_architecture_are_refused_with_their_keys(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", "test_vit")
    with pytest.raises(WeightsError) as caught:
        Backbone("test_resnet", weights=str(path))
    said = str(caught.value)
    assert said.startswith(f"{path}: does not fit backbone test_resnet: ")
    assert "missing: conv1.0.weight, " in said
    assert "left over: blocks.0.attn.proj.bias, " in said
    assert "\n" not in said


def lose(state: dict[str, Tensor]) -> str:
    del state["conv1.0.weight"]
    return "1 missing: conv1.0.weight;"


def add(state: dict[str, Tensor]) -> str:
    state["extra.weight"] = torch.zeros(1)
    return "1 left over: extra.weight;"


def reshape(state: dict[str, Tensor]) -> str:
    shape = tuple(state["conv1.0.weight"].shape)
    state["conv1.0.weight"] = torch.zeros(5)
    return f"1 of another shape: conv1.0.weight (5,) for {shape};"


@pytest.mark.parametrize("change", [lose, add, reshape])
def test_a_single_key_that_does_not_fit_is_named(tmp_path: Path, change: Callable[[dict[str, Tensor]], str]) -> None:
    state = dict(timm.create_model("test_resnet", num_classes=0).state_dict())
    told = change(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError) as caught:
        Backbone("test_resnet", weights=str(tmp_path / "w.safetensors"))
    assert f"does not fit backbone test_resnet: {told} name the backbone" in str(caught.value)


def test_a_missing_weights_file() -> None:
    with pytest.raises(WeightsError, match=r"model.weights = 'no/such.safetensors': there is no such file"):
        Backbone("test_resnet", weights="no/such.safetensors")


@pytest.mark.parametrize("content", [b"", b"just text, no weights", b"\x80\x02}q\x00."])
def test_a_file_that_holds_no_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w.safetensors: is not a safetensors file \("):
        Backbone("test_resnet", weights=str(tmp_path / "w.safetensors"))


@pytest.mark.real
def test_the_local_weights_fit_strictly_and_give_the_map(shared_data: Path) -> None:
    path = shared_data / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    backbone = Backbone("mobilenetv2_100", {"pad_type": "same"}, str(path)).eval()
    with torch.no_grad():
        found = backbone(images(224)).map_BDHW
    assert found.shape == (2, 1280, 7, 7)
    assert found.isfinite().all()
    assert found.std() > 0.1


# Names and arguments


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(SettingError, match="backbone 'mobilenetv2_10' is not a timm model; did you mean mobilenetv2_1"):
        Backbone("mobilenetv2_10")


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("test_resnet", {"nope": 1}, "backbone_args {'nope': 1}: got an unexpected keyword argument 'nope'"),
        ("test_resnet", {"global_pool": "nope"}, "backbone_args {'global_pool': 'nope'}: Invalid pool type: nope"),
        ("test_resnet", {"act_layer": "nope"}, "backbone_args {'act_layer': 'nope'}: 'nope'"),
        ("test_resnet", {"features_only": True}, "backbone_args {'features_only': True} make something else"),
        ("test_resnet.nope", {}, "Invalid pretrained tag (nope)"),
    ],
)
def test_what_timm_does_not_take_is_one_line(name: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        Backbone(name, args)
    assert str(caught.value).startswith(f"backbone {name}: {said}")
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"could not be fetched from the hub \(no route to host\); connect, or set"):
        Backbone("test_resnet", weights="hub")


def test_an_image_size_that_a_model_does_not_take() -> None:
    backbone = built("vit_tiny_patch16_224", **SMALL_VIT)
    with pytest.raises(SettingError, match=r"does not take 48 x 48 pixels .*data.image_size=32.*img_size: 48"):
        backbone(torch.zeros(1, 3, 48, 48))


def test_a_model_without_a_single_map_is_refused() -> None:
    backbone = built("crossvit_tiny_240", depth=([1, 1, 0],))
    with pytest.raises(SettingError, match="crossvit_tiny_240: gives 192 features where 288 are declared"):
        backbone(torch.zeros(1, 3, 240, 240))


# A batch of one image


def one_pixel(images: int) -> Tensor:
    """Images that ``test_resnet`` turns into maps of one pixel."""
    return torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(images))


def test_a_last_batch_of_one_image_is_normalized_by_the_running_statistics() -> None:
    backbone = built("test_resnet").train()
    backbone(one_pixel(4))
    running = {key: value.clone() for key, value in backbone.body.layer4.state_dict().items() if "running" in key}
    found = backbone(one_pixel(1))
    assert found.map_BDHW.shape == (1, 96, 1, 1)
    assert found.map_BDHW.requires_grad
    assert running
    assert all(torch.equal(backbone.body.layer4.state_dict()[key], value) for key, value in running.items())
    assert all(module.training for module in backbone.modules())
    assert not torch.equal(backbone(one_pixel(4)).map_BDHW, backbone.eval()(one_pixel(4)).map_BDHW)


def test_batches_of_one_image_alone_are_refused_where_they_have_no_spread() -> None:
    backbone = built("test_resnet")
    backbone(one_pixel(4))
    with pytest.raises(SettingError, match=r"test_resnet: a batch of one image of 32 x 32 .*train.batch_size=2"):
        backbone.train()(one_pixel(1))
    assert backbone(images()[:1]).map_BDHW.shape == (1, 96, 2, 2)


# Identity


def test_the_fingerprint_changes_with_any_weight_or_buffer() -> None:
    backbone = built("test_resnet")
    first = fingerprint(backbone)
    assert fingerprint(built("test_resnet")) == first
    assert len(first) == 16
    found = {first}
    state = backbone.state_dict()
    for key in (next(iter(state)), next(key for key in state if key.endswith("running_mean"))):
        state[key].view(-1)[0] += 1
        found.add(fingerprint(backbone))
    assert len(found) == 3


def test_the_number_of_parameters() -> None:
    assert parameter_count(torch.nn.Linear(3, 2)) == 8
