"""Batch norms of all processes: what is exchanged, and where there is nothing to exchange."""

from __future__ import annotations

import pytest
import torch

from cotag.errors import SettingError
from cotag.models.backbone import batch_norms
from cotag.models.synchronized import synchronize
from cotag.models.tagger import build_tagger
from cotag.types.labels import LabelSpace

SPACE, GPU, CPU = LabelSpace(("a", "b")), torch.device("cuda"), torch.device("cpu")


def test_every_batch_norm_is_exchanged_and_nothing_else() -> None:
    tagger = build_tagger(SPACE, "test_resnet", "linear").eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    before, logits = {key: value.clone() for key, value in tagger.state_dict().items()}, tagger(images).logits_BK
    synchronize(tagger, 2, GPU)
    norms = batch_norms(tagger)
    assert norms
    assert all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    after = tagger.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert torch.equal(tagger(images).logits_BK, logits)


@pytest.mark.parametrize(("processes", "device", "reason"), [(1, GPU, "there is one"), (2, CPU, "these have none")])
def test_who_cannot_exchange_statistics_is_told(processes: int, device: torch.device, reason: str) -> None:
    tagger = build_tagger(SPACE, "test_resnet", "linear")
    with pytest.raises(SettingError, match=f"sync_batch_norm = true: needs several processes with GPUs, {reason}"):
        synchronize(tagger, processes, device)


def test_a_model_without_batch_norms() -> None:
    tagger = build_tagger(SPACE, "test_vit", "linear", {"img_size": 32})
    with pytest.raises(SettingError, match="has no batch norms"):
        synchronize(tagger, 2, GPU)
