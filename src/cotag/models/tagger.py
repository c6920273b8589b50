"""The tagger: a backbone and a head, with everything that is needed to use them on a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cotag.data.transforms import Preprocessing
from cotag.errors import SettingError, listing
from cotag.models.backbone import Backbone, batch_norms, rest_frozen
from cotag.models.features import Features
from cotag.models.heads.linear import LinearHead
from cotag.registry import HEADS
from cotag.types.batch import Output
from cotag.types.labels import LabelSpace


class Tagger(nn.Module):
    """A backbone and a head for one label space.

    Args:
        backbone: gives the features.
        head: turns features into K logits.
        label_space: the K labels.
        preprocessing: how a picture becomes the tensor that ``forward`` takes.
        settings: the names and arguments that ``build_tagger`` needs to make the same model again.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        label_space: LabelSpace,
        preprocessing: Preprocessing,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.label_space = label_space
        self.preprocessing = preprocessing
        self.settings = settings
        self.norm_statistics = "batch"
        scale = 255.0 * torch.tensor(preprocessing.std).view(1, 3, 1, 1)
        shift = torch.tensor(preprocessing.mean).view(1, 3, 1, 1) / torch.tensor(preprocessing.std).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def train(self, mode: bool = True) -> Tagger:
        """Switch to training or evaluation; what is frozen of the backbone stays in evaluation.

        So its running statistics stay as they are, and it drops nothing out.
        """
        super().train(mode)
        rest_frozen(self.backbone)
        if self.norm_statistics == "frozen":
            for module in batch_norms(self.backbone):
                module.eval()
        return self

    def features(self, images_BCHW: Tensor) -> Features:
        """Features of images with values 0 to 255 (uint8 or float), float (B, 3, H, W)."""
        normalized = (images_BCHW * self.scale).sub_(self.shift)
        found: Features = self.backbone(normalized)
        return found

    def forward(self, images_BCHW: Tensor) -> Output:
        """Logits of images.

        Args:
            images_BCHW: uint8, or float with values 0 to 255; normalization is done here, on the device.
        """
        return Output(self.head(self.features(images_BCHW)))

    @torch.no_grad()
    def fold(self) -> Tagger:
        """Turn a head whose classifier is made of other weights into the linear head that it amounts to."""
        fold: Callable[[], LinearHead] | None = getattr(self.head, "fold", None)
        if fold is not None:
            self.head = fold().train(self.head.training)
            self.settings = {**self.settings, "head": "linear", "head_args": {"pooling": self.head.pooling}}
        return self


def are_folded(model: nn.Module) -> bool:
    """Whether the model's batch norms hold no statistics, as after they were folded into the filters.

    Such a model works in evaluation, and falls apart when trained with the statistics of each batch.
    """
    statistics = [
        (module.running_mean, module.running_var)
        for module in batch_norms(model)
        if module.running_mean is not None and module.running_var is not None
    ]
    return bool(statistics) and all(
        not mean.any() and torch.equal(variance, torch.ones_like(variance)) for mean, variance in statistics
    )


def head_needs(head: str) -> tuple[str, ...]:
    """What the head of a name wants to know of the labels: of ``graph`` and ``vectors``."""
    return tuple(getattr(HEADS.get(head), "needs", ()))


def build_tagger(
    label_space: LabelSpace,
    backbone: str,
    head: str,
    backbone_args: dict[str, Any] | None = None,
    weights: str = "none",
    head_args: dict[str, Any] | None = None,
    preprocessing: dict[str, Any] | None = None,
    supplies: Mapping[str, Tensor] | None = None,
) -> Tagger:
    """Make a tagger of plain settings.

    Args:
        supplies: what the head's ``needs`` names: ``graph``, the normalized adjacency (K, K) as a sparse tensor, and
            ``vectors`` (K, E). What it does not need is passed over.
        preprocessing: ``image_size``, ``resize``, ``interpolation``, ``mean``, ``std``; what is missing or None
            is taken from the backbone's own settings in timm.

    Raises:
        SettingError: an unknown name or argument.
        WeightsError: weights that do not fit.
    """
    HEADS.check(head, dict(head_args or {}))
    needed = {name: (supplies or {}).get(name) for name in head_needs(head)}
    for name in {"num_features", "num_labels", *needed} & set(head_args or {}):
        raise SettingError(f"head {head}: {name} comes from the backbone and the data; leave it out of head_args")
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise SettingError(f"head {head}: needs {listing(missing)} of the labels, which were not given")
    body = Backbone(backbone, backbone_args, weights)
    given = {key: value for key, value in (preprocessing or {}).items() if value is not None}
    prepare = Preprocessing(**{**body.input, **given})
    top = HEADS.build(head, num_features=body.num_features, num_labels=len(label_space), **needed, **(head_args or {}))
    settings = {
        "backbone": backbone,
        "backbone_args": dict(backbone_args or {}),
        "head": head,
        "head_args": dict(head_args or {}),
        "preprocessing": prepare.to_json(),
    }
    return Tagger(body, top, label_space, prepare, settings)
