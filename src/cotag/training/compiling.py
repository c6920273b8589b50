"""A model's forward compiled for the one shape that almost all batches of a training have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from cotag.errors import SettingError
from cotag.models.backbone import Backbone
from cotag.types.batch import Output


class Compiled:
    """Computes a model, compiled for full batches; others are computed as without it.

    So the last batch of an epoch, which may be smaller, costs no second compilation, and none of its images has to be
    made up: padding would change the statistics of batch norms. The model itself stays as it is: its weights, their
    names, and whatever else calls it.

    Args:
        model: takes images (B, C, H, W).
        size: B of a full batch.
    """

    def __init__(self, model: nn.Module, size: int) -> None:
        self.model, self.size = model, size
        self._compiled = torch.compile(model, dynamic=False)
        for module in model.modules():
            # It would change in the first batch, and the second would compile everything once more.
            if isinstance(module, Backbone) and size > 1:
                module.trained_on_several = True

    def __call__(self, images_BCHW: Tensor) -> Output:
        """What the model returns.

        Raises:
            SettingError: there is no compiler, or the model cannot be compiled.
        """
        if len(images_BCHW) != self.size:
            small: Output = self.model(images_BCHW)
            return small
        try:
            found: Output = self._compiled(images_BCHW)
        except TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
            raise SettingError(
                f"train.compile = true: torch cannot compile this model here ({reason}); it needs a C++ compiler such "
                "as g++, and Triton on a GPU; install it, or set train.compile=false"
            ) from error
        return found
