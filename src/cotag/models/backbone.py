"""Backbones: any timm model as a source of plain features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cotag.errors import SettingError, WeightsError, listing, suggestion
from cotag.models.features import Features

# What torch says of a batch norm that is to find the spread of a single number.
ONE_VALUE = "Expected more than 1 value per channel"


class Backbone(nn.Module):
    """A timm model without its classifier.

    Args:
        name: a timm name, with its tag where wanted (``resnet50.a1_in1k``).
        args: keywords of ``timm.create_model``.
        weights: ``hub`` (timm's pretrained weights), ``none`` (random), or the path of a safetensors file
            with timm's key names.

    Attributes:
        num_features: D.
        trained_on_several: whether it was given a batch of several images in training.
        input: the model's own ``image_size``, ``mean``, ``std`` and ``interpolation``, read from timm.

    Raises:
        SettingError: timm has no such model, or it does not take these arguments.
        WeightsError: the weights are missing or do not fit; the message lists the keys.
    """

    def __init__(self, name: str, args: dict[str, Any] | None = None, weights: str = "none") -> None:
        super().__init__()
        self.body = _create(name, dict(args or {}), pretrained=weights == "hub")
        self.name = name
        self._forward_features: Callable[[Tensor], Any] = getattr(self.body, "forward_features")  # noqa: B009
        self.num_features = int(getattr(self.body, "num_features"))  # noqa: B009
        self.trained_on_several = False
        settings = timm.data.resolve_model_data_config(self.body)
        # timm's own settings do not follow this argument.
        side = (args or {}).get("img_size", settings["input_size"][1])
        self.input = {
            "image_size": int(side if isinstance(side, int) else side[0]),
            "mean": tuple(settings["mean"]),
            "std": tuple(settings["std"]),
            "interpolation": settings["interpolation"] if settings["interpolation"] != "random" else "bicubic",
        }
        if weights not in ("hub", "none"):
            load_weights(self.body, weights, name)

    def forward(self, images_BCHW: Tensor) -> Features:
        """Features of normalized float images.

        In training, a single image whose maps are one pixel has no statistics: it is normalized by the running ones.

        Raises:
            SettingError: the model does not take images of this size, or does not give one feature map; or all
                training batches hold a single image, and its maps are one pixel.
        """
        try:
            found = self._forward_features(images_BCHW)
            self.trained_on_several |= self.training and len(images_BCHW) > 1
        except ValueError as error:
            if ONE_VALUE not in str(error):
                raise
            found = self._by_running_statistics(images_BCHW)
        except AssertionError as error:
            side = images_BCHW.shape[-1]
            raise SettingError(
                f"backbone {self.name}: does not take {side} x {side} pixels ({error}); set data.image_size="
                f"{self.input['image_size']}, or model.backbone_args={{img_size: {side}}}"
            ) from error
        if isinstance(found, tuple | list):
            found = found[-1]
        if found.ndim == 3:
            found = self._grid(found[:, getattr(self.body, "num_prefix_tokens", 0) :], images_BCHW)
        elif found.ndim == 4 and getattr(self.body, "output_fmt", "NCHW") == "NHWC":
            found = found.permute(0, 3, 1, 2)
        elif found.ndim == 2:
            found = found[:, :, None, None]
        if found.shape[1] != self.num_features:
            raise SettingError(
                f"backbone {self.name}: gives {found.shape[1]} features where {self.num_features} are declared, "
                "so it has no single feature map; choose another"
            )
        return Features(found)

    def _by_running_statistics(self, images_BCHW: Tensor) -> Any:
        """The features of the last batch of an epoch, of which one image was left."""
        if not self.trained_on_several:
            side = images_BCHW.shape[-1]
            raise SettingError(
                f"backbone {self.name}: a batch of one image of {side} x {side} pixels gives its batch norms a "
                "single value, which has no spread; set train.batch_size=2 or more, a larger data.image_size, or "
                "train.norm_statistics=frozen"
            )
        norms = [module for module in batch_norms(self.body) if module.training]
        for module in norms:
            module.eval()
        try:
            return self._forward_features(images_BCHW)
        finally:
            for module in norms:
                module.train()

    def _grid(self, tokens_BTD: Tensor, images_BCHW: Tensor) -> Tensor:
        count = tokens_BTD.shape[1]
        height, width = images_BCHW.shape[2:]
        rows = max(1, round((count * height / width) ** 0.5))
        if count % rows:
            rows = 1
        return tokens_BTD.transpose(1, 2).unflatten(2, (rows, count // rows))


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The batch norms of a model."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def rest_frozen(module: nn.Module) -> None:
    """Switch every part of which no parameter trains to evaluation: its running statistics stay as they are."""
    flags = [parameter.requires_grad for parameter in module.parameters()]
    if flags and not any(flags):
        module.eval()
    elif not all(flags):
        for child in module.children():
            rest_frozen(child)


def _create(name: str, args: dict[str, Any], pretrained: bool) -> nn.Module:
    if not timm.is_model(name.split(".")[0]) and not name.startswith("hf-hub:"):
        raise SettingError(f"backbone {name!r} is not a timm model{suggestion(name, timm.list_models())}")
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **args)
    # timm checks its arguments, and what the hub gives, with exceptions of every kind.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, OSError) or (pretrained and isinstance(error, RuntimeError)):
            raise WeightsError(
                f"backbone {name}: could not be fetched from the hub ({reason}); "
                "connect, or set model.weights to a safetensors file or to none"
            ) from error
        if not args:
            raise SettingError(f"backbone {name}: {reason}; choose another") from error
        raise SettingError(f"backbone {name}: backbone_args {args}: {reason.split('() ')[-1]}") from error
    if not hasattr(model, "forward_features"):
        raise SettingError(f"backbone {name}: backbone_args {args} make something else of it; leave them out")
    return model


def load_weights(model: nn.Module, path: str, name: str) -> None:
    """Load a safetensors file; every key must be there, none may be left over, all shapes must fit.

    Keys of the model's own classifier, which a backbone does not have, are passed over.

    Raises:
        WeightsError: there is no such file, it is no safetensors file, or keys or shapes do not fit.
    """
    if not Path(path).is_file():
        raise WeightsError(f"model.weights = {path!r}: there is no such file; give a safetensors file, hub or none")
    try:
        given = load_file(path)
    except Exception as error:
        raise WeightsError(f"{path}: is not a safetensors file ({str(error).splitlines()[0]})") from None
    wanted = model.state_dict()
    about: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    classifier = about.get("classifier")
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    extra = [k for k in given if k not in wanted and not any(k.startswith(f"{head}.") for head in heads)]
    missing = [k for k in wanted if k not in given]
    odd = [
        f"{k} {tuple(given[k].shape)} for {tuple(wanted[k].shape)}"
        for k in wanted
        if k in given and given[k].shape != wanted[k].shape
    ]
    if missing or extra or odd:
        parts = (("missing", missing), ("left over", extra), ("of another shape", odd))
        told = "; ".join(f"{len(keys)} {what}: {listing(keys, 3)}" for what, keys in parts if keys)
        raise WeightsError(f"{path}: does not fit backbone {name}: {told}; name the backbone that it belongs to")
    model.load_state_dict({k: given[k] for k in wanted})


def parameter_count(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that change with any weight or buffer of the model."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
