"""What processes that train together must have alike before they judge together."""

from __future__ import annotations

import torch
from accelerate.utils import broadcast
from torch import nn

from cotag.training.processes import this_process


@torch.no_grad()
def agree_on_buffers(model: nn.Module) -> None:
    """Give all processes the first one's buffers, such as the running statistics of batch norms.

    Each process counts those of its own batches, and the first one's are saved.
    """
    if this_process().num_processes > 1:
        for buffer in model.buffers():
            broadcast(buffer.detach())
