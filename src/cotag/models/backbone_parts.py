"""The layers and stages of a backbone as timm names them, and freezing some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from timm.models import group_parameters
from torch import nn

from cotag.errors import SettingError, suggestion
from cotag.models.backbone import Backbone

ALL, STEM = "backbone", "stem"
# A name that no backbone has: timm puts what it does not know into one group with the classifier.
CLASSIFIER = "\0"


def layer_depths(backbone: Backbone, stages: bool = False) -> dict[str, int]:
    """How many layers each parameter of ``backbone.body`` is below the head; 0 beside the head itself.

    Args:
        stages: whether whole stages are counted and not their blocks.

    Raises:
        SettingError: timm does not know the layers of this backbone.

    Source: the grouping of ``timm.optim.param_groups_layer_decay``: the stem, each block, and what follows the last
        block with it or with the classifier, as the model's ``group_matcher`` says.
    """
    matcher = getattr(backbone.body, "group_matcher", None)
    if matcher is None:
        raise SettingError(
            f"backbone {backbone.name}: timm does not say what its layers are; leave train.layer_decay and numbers and "
            "stem in train.freeze out, or choose another backbone"
        )
    with_classifier = cast(nn.Module, _WithClassifier(backbone.body))
    found = group_parameters(with_classifier, matcher(coarse=stages), reverse=True)
    top = found.pop(CLASSIFIER)
    return {name: max(0, top - layer) for name, layer in found.items()}


class _WithClassifier:
    """The names of a body's parameters, and that of the classifier which it was made without."""

    def __init__(self, body: nn.Module) -> None:
        self.body = body

    def named_parameters(self) -> Iterator[tuple[str, None]]:
        yield from ((name, None) for name, _ in self.body.named_parameters())
        yield CLASSIFIER, None


def freeze_parts(backbone: Backbone, parts: Sequence[str | int]) -> None:
    """Stop parts of a backbone from training.

    Whatever has no parameter that trains is in evaluation from then on, in training too: no statistics of its batch
    norms move, no dropout and no stochastic depth is in it.

    Args:
        parts: ``backbone`` for all of it, ``stem``, a number n for the stem and the first n stages (of a transformer
            without stages: blocks), or names of timm's modules and parameters, such as ``layer1``.

    Raises:
        SettingError: there is no such part, or not so many stages.
    """
    names = [name for name, _ in backbone.body.named_parameters()]
    chosen: set[str] = set()
    for part in parts:
        chosen.update(_names_of(backbone, part, names))
    for name, parameter in backbone.body.named_parameters():
        if name in chosen:
            parameter.requires_grad_(False)


def frozen_told(backbone: Backbone) -> str:
    """How much of a backbone is frozen, in words."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in backbone.parameters()]
    frozen = sum(size for size, trains in sizes if not trains)
    return f"frozen: {frozen:,} of the backbone's {sum(size for size, _ in sizes):,} parameters, with their statistics"


def _names_of(backbone: Backbone, part: str | int, names: list[str]) -> list[str]:
    """The parameters of one part."""
    if part == ALL:
        return names
    if part == STEM or isinstance(part, int):
        depths = layer_depths(backbone, stages=True)
        lowest = max(depths.values())
        wanted = 0 if isinstance(part, str) else part
        # The stem and the stages; what lies beside the head is neither.
        if wanted >= lowest or (wanted < 1 and part != STEM):
            raise SettingError(
                f"train.freeze = [{part}]: backbone {backbone.name} has {lowest - 1} stages; give 1 to {lowest - 1}, "
                f"{STEM} or {ALL}"
            )
        return [name for name in names if depths[name] >= lowest - wanted]
    found = [name for name in names if name == part or name.startswith(f"{part}.")]
    if not found:
        parts = [STEM, ALL, *(name for name, module in backbone.body.named_children() if list(module.parameters()))]
        raise SettingError(
            f"train.freeze: backbone {backbone.name} has no part {part!r} with parameters{suggestion(part, parts)}"
        )
    return found
