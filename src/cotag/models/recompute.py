"""Less memory in training: what lies inside a backbone's blocks is computed again when its gradient is due."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.models.backbone import Backbone, batch_norms


@contextmanager
def recomputing(backbone: Backbone) -> Iterator[None]:
    """Inside, the blocks of a backbone keep only what goes into them, and are computed twice in a training step.

    The gradients are the same; the random numbers of dropout too. Batch norms take each batch into their running
    statistics once, as without it.

    Raises:
        SettingError: timm cannot do this for this backbone.
    """
    switch = getattr(backbone.body, "set_grad_checkpointing", None)
    try:
        if switch is None:
            raise AssertionError
        switch(True)
    except AssertionError:
        raise SettingError(
            f"train.recompute = true: timm cannot compute the blocks of backbone {backbone.name} twice; leave it out, "
            "lower train.batch_size (train.accumulate makes up for it), or choose another backbone"
        ) from None
    norms = [_Statistics(module) for module in batch_norms(backbone) if module.track_running_stats]
    try:
        yield
    finally:
        for norm in norms:
            norm.remove()
        switch(False)


class _Statistics:
    """Keeps the running statistics of a batch norm as they are while it is computed again."""

    def __init__(self, module: nn.Module) -> None:
        self._kept: dict[str, Tensor | None] = {}
        self._hooks = (
            module.register_forward_pre_hook(self._put_copies),
            module.register_forward_hook(self._put_back, always_call=True),
        )

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _put_copies(self, module: nn.Module, given: Any) -> None:
        # Only what is computed again is computed while gradients are. Compiled, it changes nothing by itself.
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            self._kept = dict(module._buffers)
            for name, value in self._kept.items():
                module._buffers[name] = None if value is None else value.clone()

    def _put_back(self, module: nn.Module, given: Any, found: Any) -> None:
        if not torch.compiler.is_compiling() and self._kept:
            module._buffers.update(self._kept)
            self._kept = {}
