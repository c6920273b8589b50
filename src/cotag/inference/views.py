"""Several views of a picture when it is judged: mirrored, and at other sizes; their logits are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from cotag.data.transforms import Preprocessing
from cotag.errors import SettingError
from cotag.models.tagger import Tagger
from cotag.types.batch import Output

SMALLEST, LARGEST = 0.1, 10.0


@dataclass(frozen=True)
class Views:
    """Which views of a picture are averaged.

    Attributes:
        flip: each view also mirrored, left to right.
        scales: sides of the square that a picture is fitted to, as factors of the model's own.

    Raises:
        SettingError: no scale, one out of range, or one that stands twice.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))
        wrong = [scale for scale in self.scales if not SMALLEST <= scale <= LARGEST]
        if wrong or not self.scales:
            given = f"{wrong[0]:g}" if wrong else "none"
            raise SettingError(
                f"scales: given {given}; give factors from {SMALLEST:g} to {LARGEST:g}, such as 0.875,1,1.125"
            )
        if len(set(self.scales)) < len(self.scales):
            raise SettingError(f"scales: given {listed(self.scales)}, where one stands twice; name each once")

    def __len__(self) -> int:
        return len(self.scales) * (1 + self.flip)

    def preprocessings(self, own: Preprocessing) -> list[Preprocessing]:
        """How a picture is prepared for each scale, from the model's own preprocessing."""
        return [replace(own, image_size=max(1, round(scale * own.image_size))) for scale in self.scales]

    def require(self, tagger: Tagger) -> None:
        """Refuse sizes that a model does not take.

        Raises:
            SettingError: names the scale and why.
        """
        for scale, prepare in zip(self.scales, self.preprocessings(tagger.preprocessing), strict=True):
            side = prepare.image_size
            if side == tagger.preprocessing.image_size:
                continue
            device = next(tagger.parameters()).device
            try:
                with torch.inference_mode():
                    tagger.eval()(torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device))
            except (RuntimeError, ValueError, SettingError) as error:
                reason = str(error.__cause__ or error).splitlines()[0].rstrip(".")
                raise SettingError(
                    f"scales: {scale:g} makes pictures of {side} pixels, which backbone {tagger.settings['backbone']} "
                    f"does not take ({reason}); take scale 1 alone"
                ) from error

    def describe(self) -> str:
        """In words, for whoever reads the scores."""
        flipped = ", each also mirrored" if self.flip else ""
        return (
            f"logits are averaged over {len(self)} views of each picture (scales {listed(self.scales)}{flipped}); the "
            "decision and calibration stay those that were fitted on one view"
        )


ONE_VIEW = Views()


class Mirrored(nn.Module):
    """A tagger whose logits are the mean of those of a picture and of its mirror image."""

    def __init__(self, tagger: nn.Module) -> None:
        super().__init__()
        self.tagger = tagger

    def forward(self, images_BCHW: Tensor) -> Output:
        """Logits as the tagger's; float (B, K)."""
        own, other = self.tagger(images_BCHW), self.tagger(images_BCHW.flip(3))
        return Output((own.logits_BK.float() + other.logits_BK.float()) / 2)


def viewer(tagger: Tagger, views: Views) -> nn.Module:
    """What gives the logits of one scale."""
    # A new module begins in training, and whoever puts it into evaluation puts it, and the tagger, back into that.
    return Mirrored(tagger).train(tagger.training) if views.flip else tagger


def mean_logits(found: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of the logits of each scale, float32 (B, K); those of one scale as they are."""
    logits_BK: np.ndarray = found[0] if len(found) == 1 else np.stack(found).mean(0)
    return logits_BK


def parse_scales(text: str) -> tuple[float, ...]:
    """The numbers of a text with commas between them.

    Raises:
        SettingError: one is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"--scales {text!r}: give numbers with commas between them, such as 0.875,1,1.125") from None


def listed(scales: Sequence[float]) -> str:
    """Scales as a person writes them."""
    return ", ".join(f"{scale:g}" for scale in scales)
