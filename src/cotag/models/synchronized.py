"""Batch norms whose statistics are those of the batches of all processes."""

from __future__ import annotations

import torch
from timm.layers import convert_sync_batchnorm

from cotag.errors import SettingError
from cotag.models.backbone import batch_norms
from cotag.models.tagger import Tagger


def synchronize(tagger: Tagger, processes: int, device: torch.device) -> None:
    """Have the batch norms of a tagger count the batches of all processes; weights and their names stay as they are.

    Raises:
        SettingError: there is one process, it has no GPU, or there are no batch norms.
    """
    if processes == 1 or device.type == "cpu":
        given = "there is one" if processes == 1 else "these have none"
        raise SettingError(f"train.sync_batch_norm = true: needs several processes with GPUs, {given}; leave it out")
    if not batch_norms(tagger):
        raise SettingError("train.sync_batch_norm = true: this model has no batch norms; leave it out")
    convert_sync_batchnorm(tagger)
