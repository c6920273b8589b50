from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._inductor.exc import InvalidCxxCompiler

from cotag.errors import SettingError
from cotag.models.scoring import score_batches
from cotag.models.tagger import Tagger, build_tagger
from cotag.registry import OPTIMIZERS
from cotag.training.compiling import Compiled
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.loop_settings import LoopSettings, StepSettings
from cotag.training.losses.bce import BCE
from cotag.training.optim import parameter_groups
from cotag.training.schedules import constant
from cotag.training.trainer import Trainer
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The sizes of the batches for which something was compiled, by a compiler that takes no time."""
    found: list[int] = []

    def backend(graph: Any, given: Any) -> Callable[..., Any]:
        found.append(next(value.shape[0] for value in given if value.dtype == torch.uint8))
        return graph.forward  # type: ignore[no-any-return]

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield found
    torch.compiler.reset()


def tagger() -> Tagger:
    torch.manual_seed(0)
    return build_tagger(LabelSpace(("a", "b", "c")), "test_resnet", "linear", preprocessing={"image_size": 32})


def source(batch_size: int = 4) -> FeatureBatches:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (11, 3, 32, 32), dtype=np.uint8)
    targets = random.integers(-1, 2, (11, 3)).astype(np.int8)
    return FeatureBatches(FeatureSet(images, np.arange(11), {}, 0), targets, batch_size, shuffle=True, seed=1)


def trained(compile: bool, **step: Any) -> tuple[Tagger, list[dict[str, float]]]:
    model = tagger()

    def judge(model: nn.Module) -> dict[str, float]:
        return {"val_loss": float(np.square(score_batches(model, source(11))[1]).mean())}

    optimizer = OPTIMIZERS.build("sgd", parameter_groups(model, 0.01, 1.0, 0.0))
    loop = LoopSettings(2, choose_by="last", step=StepSettings(compile=4 if compile else None, **step))
    fit = Trainer(model, Criterion(BCE()), optimizer, constant(), loop, judge)
    return model, fit.fit(source(), "", Silent()).history


def test_full_batches_are_compiled_once_and_the_small_one_and_validation_are_not(graphs: list[int]) -> None:
    """11 pictures in batches of 4: two full ones and one of 3."""
    model, history = trained(True)
    assert graphs == [4]
    assert list(model.state_dict()) == list(tagger().state_dict())
    wanted, rows = trained(False)
    assert [row["val_loss"] for row in history] == pytest.approx([row["val_loss"] for row in rows], rel=1e-5)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, wanted.state_dict()[key], rtol=1e-4, atol=1e-6)


def test_it_compiles_in_the_precision_that_is_asked_for(graphs: list[int]) -> None:
    model, _ = trained(True, precision="bf16", accumulate=2)
    assert graphs == [4]
    wanted, _ = trained(False, precision="bf16", accumulate=2)
    other, _ = trained(False, accumulate=2)
    name = "head.classifier.weight"
    found = [one.state_dict()[name] for one in (model, wanted, other)]
    assert (found[0] - found[1]).abs().max() < (found[0] - found[2]).abs().max()


def test_a_missing_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: Any, given: Any) -> Callable[..., Any]:
        raise InvalidCxxCompiler

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    wanted = r"train.compile = true: .*No working C\+\+ compiler.*; it needs a C\+\+ compiler"
    with pytest.raises(SettingError, match=wanted) as caught:
        Compiled(nn.Linear(3, 2), 4)(torch.ones(4, 3))
    assert "\n" not in str(caught.value)
    torch.compiler.reset()
