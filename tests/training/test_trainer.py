from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.table import read_table
from cotag.data.transforms import Preprocessing
from cotag.errors import LabelSpaceError, NonFiniteLoss, ResumeError, TrainingError
from cotag.evaluation.metrics import average_precisions
from cotag.models.scoring import score_batches
from cotag.models.tagger import build_tagger
from cotag.registry import OPTIMIZERS
from cotag.training.checkpoint import Checkpoints, TrainingState
from cotag.training.criterion import Criterion
from cotag.training.features import FeatureBatches, FeatureSet
from cotag.training.loop_settings import LoopSettings, choosing_value
from cotag.training.losses.bce import BCE
from cotag.training.losses.loss import Loss
from cotag.training.optim import parameter_groups
from cotag.training.processes import this_process
from cotag.training.schedules import cosine
from cotag.training.trainer import EpochSource, Trainer
from cotag.types.batch import Batch, Output
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

HASH = "0123456789abcdef"


class Small(nn.Module):
    """A convolution, dropout and a linear layer, whose weights depend on numpy's generator alone."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, 6, 3, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(6, 3)
        random = np.random.default_rng(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(random.normal(0, 0.5, tuple(parameter.shape))))

    def forward(self, images: Tensor) -> Output:
        maps = self.filters(images.float() / 255).relu()
        return Output(self.last(self.dropout(maps.mean((2, 3)))))


def pictures(count: int = 12, size: int = 16, unknown: float = 0.2) -> tuple[FeatureSet, np.ndarray]:
    """Pictures of noise as rows 100, 101 ... of an index, and targets with unknown ones."""
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    targets = random.integers(0, 2, (count, 3)).astype(np.int8)
    targets[random.random(targets.shape) < unknown] = -1
    return FeatureSet(images, np.arange(100, 100 + count), {}, 0), targets


def source(batch_size: int = 4, **settings: Any) -> FeatureBatches:
    return FeatureBatches(*pictures(**settings), batch_size, shuffle=True, seed=3)


def evaluate(model: nn.Module) -> dict[str, float]:
    part, targets = pictures()
    _, logits = score_batches(model, FeatureBatches(part, targets, 12))
    known = targets >= 0
    losses = np.logaddexp(0, np.where(targets == 1, -logits, logits))
    return {"val_mAP": float(np.nanmean(average_precisions(logits, targets))), "val_loss": float(losses[known].mean())}


def scripted(name: str, values: list[float], states: list[dict[str, Tensor]] | None = None) -> Any:
    """An evaluation that says these values one after the other, and keeps the weights that it saw."""
    said = iter(values)

    def judge(model: nn.Module) -> dict[str, float]:
        if states is not None:
            states.append(copy.deepcopy(model.state_dict()))
        value = next(said)
        return {"val_mAP": 0.5, "val_loss": 0.5, name: value}

    return judge


def trainer(
    model: nn.Module,
    epochs: int = 4,
    checkpoints: Checkpoints | None = None,
    judge: Any = evaluate,
    loss: nn.Module | None = None,
    rate: float = 0.3,
    decay: float = 0.01,
    **loop: Any,
) -> Trainer:
    groups = parameter_groups(model, rate, 1.0, decay)
    return Trainer(
        model,
        Criterion(loss or BCE()),
        OPTIMIZERS.build("sgd", groups, momentum=0.9),
        cosine(),
        LoopSettings(epochs, **loop),
        judge,
        checkpoints,
        lambda row: f"image-{row}.jpg",
    )


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# Learning


def test_a_tagger_learns_eight_pictures_by_heart() -> None:
    torch.manual_seed(0)
    space = LabelSpace(("a", "b", "c"))
    tagger = build_tagger(space, "test_vit", "linear", {"img_size": 32}, preprocessing={"image_size": 32})
    part, targets = pictures(8, 32, unknown=0.1)
    batches = FeatureBatches(part, targets, 4, shuffle=True)

    def judge(model: nn.Module) -> dict[str, float]:
        _, logits = score_batches(model, FeatureBatches(part, targets, 8))
        return {"val_mAP": float(np.nanmean(average_precisions(logits, targets)))}

    optimizer = OPTIMIZERS.build("adamw", parameter_groups(tagger, 3e-3, 1.0, 0.0))
    fit = Trainer(tagger, Criterion(BCE()), optimizer, cosine(), LoopSettings(25, choose_by="last"), judge)
    state = fit.fit(batches, HASH, Silent())
    assert state.history[0]["val_mAP"] < 0.9
    assert state.history[1]["train_loss"] > 0.4
    assert state.history[-1]["train_loss"] < 0.02
    assert state.history[-1]["val_mAP"] == 1.0


def test_four_losses() -> None:
    # These guard all that enters a step and has no test of its own here: order of the images by seed and epoch,
    # rise and fall of the rate, momentum, decay of matrices alone, clipping, masking, and that the loss of an epoch
    # is the mean over its images. They may change only together with a change of one of these that is meant.
    fit = trainer(Small(), warmup_epochs=1.0, clip_norm=0.5)
    history = fit.fit(source(5), HASH, Silent()).history
    assert [row["train_loss"] for row in history[1:]] == pytest.approx(PINNED, rel=1e-4)
    assert history[1]["learning_rate"] == pytest.approx(0.3 * 3 / 4)


PINNED = [0.8228467206, 0.6422573924, 0.7001758342, 0.6766494612]


def test_a_gradient_that_is_too_long_is_clipped() -> None:
    moved = {}
    for limit in (None, 1e-3):
        model = Small()
        before = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
        fit = trainer(model, epochs=1, rate=1.0, decay=0.0, clip_norm=limit, choose_by="last")
        fit.fit(source(12), HASH, Silent())
        after = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        moved[limit] = float((after - before).norm())
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert moved[None] > 0.1


# Going on


class Stopped(BaseException):
    """Stands for SIGKILL."""


class StopsIn:
    """Batches that stop the training in the middle of an epoch."""

    def __init__(self, batches: EpochSource, epoch: int) -> None:
        self.batches, self.last = batches, epoch

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for place, batch in enumerate(self.batches.epoch(number, start)):
            if number == self.last and place == 1:
                raise Stopped
            yield batch


@pytest.fixture
def loader(draw: Callable[..., Path], tmp_path: Path) -> Callable[[], Loader]:
    """Batches of picture files by another process, anew for each training."""
    index = read_table(draw(tmp_path / "pictures", 12, splits=False))
    order = np.arange(12)
    return lambda: Loader(ImageRows(index, Preprocessing(16)), BatchOrder(order, 4, True, 3), workers=1)


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("files", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, loader: Callable[[], Loader], stop: int, files: bool
) -> None:
    def batches() -> EpochSource:
        return loader() if files else source()

    whole = Checkpoints(tmp_path / "whole" / "checkpoints")
    torch.manual_seed(1)
    model = Small(dropout=0.5)
    wanted = trainer(model, checkpoints=whole).fit(batches(), HASH, Silent())

    parts = Checkpoints(tmp_path / "parts" / "checkpoints")
    torch.manual_seed(1)
    with pytest.raises(Stopped):
        trainer(Small(dropout=0.5), checkpoints=parts).fit(StopsIn(batches(), stop), HASH, Silent())
    assert parts.read_state(HASH).epoch == stop - 1
    torch.manual_seed(77)
    again = Small(dropout=0.5)
    with torch.no_grad():
        again.last.weight.zero_()
    found = trainer(again, checkpoints=parts).fit(batches(), HASH, Silent(), resume=True)

    for row in (*wanted.history, *found.history):
        for name in [name for name in row if name.startswith("seconds")]:
            del row[name]
    assert found == wanted
    assert equal(again.state_dict(), model.state_dict())
    name = Path("last") / "model.safetensors"
    assert (parts.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    first, second = (torch.load(c.folder / "last" / "optimizer.pt", weights_only=True) for c in (whole, parts))
    assert torch.equal(*(one["processes"][0]["random"]["cpu"] for one in (first, second)))
    momenta = [[entry["momentum_buffer"] for entry in o["optimizer"]["state"].values()] for o in (first, second)]
    assert all(torch.equal(one, other) for one, other in zip(*momenta, strict=True))
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2, 3, 4]


class Drifting(Loss):
    """Cross-entropy whose weight depends on the epoch and on the batches so far."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.epoch = 0

    def begin_epoch(self, number: int) -> None:
        self.epoch = number

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        self.seen += 1
        losses: Tensor = BCE()(logits_BK, targets_BK)
        return losses * (1 + 0.1 * self.seen) / self.epoch


def test_what_a_loss_keeps_and_the_epoch_that_it_is_told_survive_resuming(tmp_path: Path) -> None:
    wanted = trainer(Small(), loss=Drifting()).fit(source(), HASH, Silent())
    kept = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(Stopped):
        trainer(Small(), checkpoints=kept, loss=Drifting()).fit(StopsIn(source(), 3), HASH, Silent())
    found = trainer(Small(), checkpoints=kept, loss=Drifting()).fit(source(), HASH, Silent(), resume=True)
    assert [row["train_loss"] for row in found.history[1:]] == [row["train_loss"] for row in wanted.history[1:]]


def test_dropout_draws_from_the_random_state(tmp_path: Path) -> None:
    """Without this, the test above would not notice a random state that is lost."""
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses.append(trainer(Small(dropout=0.5)).fit(source(), HASH, Silent()).history[1]["train_loss"])
    assert losses[0] != losses[1]


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    wanted = trainer(Small(), checkpoints=kept).fit(source(), HASH, Silent())
    model = Small()
    assert trainer(model, checkpoints=kept).fit(source(), HASH, Silent(), resume=True) == wanted
    best = Small()
    kept.load_best(best)
    assert equal(model.state_dict(), best.state_dict())


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="keeps no checkpoints"):
        trainer(Small()).fit(source(), HASH, Silent(), resume=True)
    kept = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(ResumeError, match="holds no checkpoint"):
        trainer(Small(), checkpoints=kept).fit(source(), HASH, Silent(), resume=True)
    trainer(Small(), 1, kept).fit(source(), HASH, Silent())
    with pytest.raises(LabelSpaceError, match="was trained for another label space"):
        trainer(Small(), checkpoints=kept).fit(source(), "ffff", Silent(), resume=True)


# Choosing and stopping


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("choose_by", "name", "values", "best"),
    [
        ("mAP", "val_mAP", [0.2, 0.1, 0.6, 0.6, 0.5], 2),
        ("loss", "val_loss", [0.7, 0.8, 0.9, 0.3, 0.4], 3),
        ("last", "val_mAP", [0.9, 0.1, 0.1, 0.1, 0.0], 4),
        ("mAP", "val_mAP", [0.9, 0.1, 0.1, 0.1, 0.1], 0),
    ],
)
def test_the_model_keeps_the_weights_of_the_chosen_epoch(
    tmp_path: Path, kept: bool, choose_by: str, name: str, values: list[float], best: int
) -> None:
    states: list[dict[str, Tensor]] = []
    model = Small()
    checkpoints = Checkpoints(tmp_path / "checkpoints") if kept else None
    judge = scripted(name, values, states)
    state = trainer(model, checkpoints=checkpoints, judge=judge, choose_by=choose_by).fit(source(), HASH, Silent())
    assert state.best_epoch == best
    assert [row[name] for row in state.history] == values
    assert not any(equal(states[best], other) for place, other in enumerate(states) if place != best)
    assert equal(model.state_dict(), states[best])


def test_it_can_end_before_its_schedule_does() -> None:
    states: list[dict[str, Tensor]] = []
    whole = trainer(Small(), 4, judge=scripted("val_mAP", [0.5] * 5, states))
    rates = [row.get("learning_rate") for row in whole.fit(source(), HASH, Silent()).history]
    model = Small()
    short = trainer(model, 4, judge=lambda model: {}, stop_after=2, choose_by="last")
    state = short.fit(source(), HASH, Silent())
    assert (state.epoch, state.best_epoch) == (2, 2)
    assert [row.get("learning_rate") for row in state.history] == rates[:3]
    assert equal(model.state_dict(), states[2])


def test_it_stops_when_patience_ends_and_stays_stopped(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    values = [0.1, 0.5, 0.4, 0.5, 0.3, 0.9]
    fit = trainer(Small(), 9, kept, scripted("val_mAP", values), patience=2)
    state = fit.fit(source(), HASH, Silent())
    assert (state.best_epoch, state.epoch) == (1, 3)
    again = trainer(Small(), 9, kept, scripted("val_mAP", values), patience=2)
    assert again.fit(source(), HASH, Silent(), resume=True) == state


def test_what_choosing_compares() -> None:
    row = {"epoch": 3, "val_mAP": 0.4, "val_loss": 0.7}
    assert [choosing_value(row, by) for by in ("mAP", "loss", "last")] == [0.4, -0.7, 3]


# Stopping at what is wrong


class SpoiledIn(nn.Module):
    """Cross-entropy that becomes infinite at one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        self.left -= 1
        losses: Tensor = BCE()(logits_BK, targets_BK)
        return losses / 0 if self.left == 0 else losses


def test_a_loss_that_is_not_finite_stops_names_the_images_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(NonFiniteLoss) as caught:
        trainer(Small(), checkpoints=kept, loss=SpoiledIn(3 + 2), clip_norm=1.0).fit(source(), HASH, Silent())
    second = list(source().epoch(2))[1].rows_B.tolist()
    names = ", ".join(f"image-{row}.jpg" for row in second)
    assert str(caught.value) == (
        f"epoch 2: the loss became inf on the images {names}; lower train.learning_rate or set train.clip_norm"
        f"; the last checkpoint is in {kept.folder}"
    )
    model = Small()
    state = trainer(model, checkpoints=kept).fit(source(), HASH, Silent(), resume=True)
    whole = Small()
    assert state.epoch == 4
    trainer(whole).fit(source(), HASH, Silent())
    assert equal(model.state_dict(), whole.state_dict())


def test_many_images_of_a_spoiled_batch_are_counted() -> None:
    with pytest.raises(NonFiniteLoss, match=r"(image-\d+.jpg, ){7}image-\d+.jpg and 4 more;"):
        trainer(Small(), loss=SpoiledIn(1)).fit(source(12), HASH, Silent())


def test_weights_that_are_spoiled_do_not_replace_the_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    judge = scripted("val_loss", [0.7, 0.6, float("nan")])
    with pytest.raises(NonFiniteLoss, match="epoch 2: the loss became nan on the images that choose; lower"):
        trainer(Small(), checkpoints=kept, judge=judge).fit(source(), HASH, Silent())
    assert kept.read_state(HASH).epoch == 1


def test_images_that_cannot_choose_are_said_so() -> None:
    with pytest.raises(TrainingError, match="no image that chooses has a label"):
        trainer(Small(), judge=scripted("val_mAP", [float("nan")])).fit(source(), HASH, Silent())


def test_no_images_to_train_on() -> None:
    class Nothing:
        def __len__(self) -> int:
            return 1

        def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
            return iter(())

    with pytest.raises(TrainingError, match="no image could be read for training"):
        trainer(Small()).fit(Nothing(), HASH, Silent())


def test_progress_counts_every_step_and_speaks_after_every_epoch() -> None:
    class Noted(Silent):
        def __init__(self) -> None:
            self.said: list[str] = []
            self.steps = 0

        @contextmanager
        def task(self, title: str, total: int) -> Iterator[Any]:
            assert (title, total) == ("training", 4 * 3)
            yield self

        def advance(self, steps: int = 1, **info: Any) -> None:
            self.steps += steps

        def say(self, message: str) -> None:
            self.said.append(message)

    progress = Noted()
    trainer(Small()).fit(source(), HASH, progress)
    assert progress.steps == 4 * 3
    assert [line.split(":")[0] for line in progress.said] == [f"epoch {number}" for number in range(5)]
    assert "train_loss" in progress.said[4]
    assert "val_mAP" in progress.said[4]


# Several processes

SHARED = """
import json, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_trainer import Checkpoints, equal, shared_training, this_process
state, model = shared_training(4)
place, out = this_process(), Path(sys.argv[1])
assert place.num_processes == 2
(out / str(place.process_index)).write_text(
    json.dumps([state.history, [parameter.flatten().tolist() for parameter in model.parameters()]])
)
if not place.is_main_process:
    Checkpoints.save_best = Checkpoints.save_last = "only the first process writes"
_, other = shared_training(4, Checkpoints(out / "run" / "checkpoints"))
assert equal(other.state_dict(), model.state_dict())
"""


def shared_training(batch_size: int, checkpoints: Checkpoints | None = None) -> tuple[TrainingState, nn.Module]:
    """Train on this process's share of the pictures."""
    model = Small()
    fit = trainer(model, checkpoints=checkpoints, clip_norm=1.0, choose_by="loss")
    place = this_process()
    part, targets = pictures(21, unknown=0.4)

    class Share(FeatureBatches):
        def __init__(self) -> None:
            super().__init__(part, targets, batch_size)
            rows = np.arange(21)
            self.order = BatchOrder(rows, batch_size, True, 5, place.process_index, place.num_processes)

    return fit.fit(Share(), HASH, Silent()), model


def test_two_processes_reach_what_one_reaches_with_twice_the_batch(together: Callable[[str], list[str]]) -> None:
    (history, weights), (_, others) = map(json.loads, together(SHARED))
    assert weights == others
    state, model = shared_training(8)
    for found, wanted in zip(history, state.history, strict=True):
        assert found["val_loss"] == pytest.approx(wanted["val_loss"], rel=1e-5)
        assert found.get("train_loss", 0) == pytest.approx(wanted.get("train_loss", 0), rel=0.02)
    for found, parameter in zip(weights, model.parameters(), strict=True):
        np.testing.assert_allclose(found, parameter.detach().flatten().numpy(), rtol=1e-4, atol=1e-5)
