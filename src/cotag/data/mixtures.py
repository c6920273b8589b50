"""Mixing the pictures of a batch, and their labels with them.

A mixture is a function with settings that gives a function of a batch and a generator. The targets become shares:
what part of a picture has the label. An entry that is unknown in either part is unknown in the mixture; a part that
takes no place in it tells and hides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cotag.errors import SettingError
from cotag.types.batch import Batch

Mixture = Callable[[Batch, np.random.Generator], Batch]


def mixup(alpha: float = 0.2, chance: float = 1.0) -> Mixture:
    """Each picture of a batch blended with another one of it, all by one share.

    Args:
        alpha: of the beta distribution of the share, 0 or more; 0 for no change.
        chance: that a batch is mixed, in [0, 1].

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, mixup, ICLR 2018, equation in section 2; one share for each batch, as in
        the authors' program.
    Differs: pixels are rounded to whole values.
    """
    _require("mixup", alpha, chance)

    def apply(batch: Batch, random: np.random.Generator) -> Batch:
        drawn = _drawn(alpha, chance, len(batch), random)
        if drawn is None:
            return batch
        share, partner = drawn
        own = batch.images_BCHW.float()
        images = torch.lerp(own, own[partner], 1 - share).round().to(batch.images_BCHW.dtype)
        return _mixed(batch, images, share, partner)

    return apply


def cutmix(alpha: float = 1.0, chance: float = 1.0) -> Mixture:
    """A rectangle of each picture of a batch taken from another one of it, the same rectangle for all.

    Args:
        alpha: of the beta distribution of the share that a picture keeps, 0 or more; 0 for no change. Then both sides
            of the rectangle are sqrt(1 - share) of the picture's, its center is anywhere, and the share becomes what
            is really kept.
        chance: that a batch is mixed, in [0, 1].

    Source: Yun et al., CutMix, ICCV 2019, equations 1 and 2 and algorithm A1.
    """
    _require("cutmix", alpha, chance)

    def apply(batch: Batch, random: np.random.Generator) -> Batch:
        drawn = _drawn(alpha, chance, len(batch), random)
        if drawn is None:
            return batch
        share, partner = drawn
        height, width = batch.images_BCHW.shape[-2:]
        top, bottom = _span(height, share, random)
        left, right = _span(width, share, random)
        images = batch.images_BCHW.clone()
        images[..., top:bottom, left:right] = batch.images_BCHW[partner][..., top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return _mixed(batch, images, kept, partner)

    return apply


def _require(name: str, alpha: float, chance: float) -> None:
    for setting, value, most, said in (("alpha", alpha, np.inf, "0 or more"), ("chance", chance, 1.0, "0 to 1")):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise SettingError(f"data.mix_args.{setting} = {value!r}: {name} takes a number, {said}")


def _drawn(alpha: float, chance: float, count: int, random: np.random.Generator) -> tuple[float, Tensor] | None:
    """The share of a picture's own part, and with which picture each is mixed; None for a batch that stays."""
    if alpha == 0 or random.random() >= chance:
        return None
    share = float(random.beta(alpha, alpha))
    return share, torch.from_numpy(random.permutation(count))


def _span(side: int, share: float, random: np.random.Generator) -> tuple[int, int]:
    """First and behind the last pixel of a rectangle along one side; cut at the edges."""
    length = int(side * (1 - share) ** 0.5)
    start = int(random.integers(side)) - length // 2
    return max(0, start), min(side, start + length)


def _mixed(batch: Batch, images: Tensor, share: float, partner: Tensor) -> Batch:
    """The batch with these pictures, of which ``share`` is each one's own."""
    own, other = batch.targets_BK, batch.targets_BK[partner]
    known = batch.known_BK.clone() if share > 0 else torch.ones_like(batch.known_BK)
    if share < 1:
        known &= batch.known_BK[partner]
    targets = torch.lerp(own, other, 1 - share) * known
    return replace(batch, images_BCHW=images, targets_BK=targets, known_BK=known)
