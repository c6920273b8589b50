from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cotag.errors import LabelSpaceError, ResumeError, StorageError
from cotag.storage import seal
from cotag.training import checkpoint
from cotag.training.checkpoint import Checkpoints, TrainingState, Unfinished, own_share
from cotag.types.progress import Silent

HASH = "0123456789abcdef"


def model_and_optimizer(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    return model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model.train()(torch.ones(4, 3) * torch.arange(4)[:, None]).sum().backward()
    optimizer.step()


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoints:
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    found = Checkpoints(tmp_path / "checkpoints")
    found.save_best(model)
    found.save_last(model, optimizer, TrainingState(HASH, 2, 1, 0.5, [{"epoch": 0, "val_mAP": 0.25}]))
    return found


def test_training_goes_on_as_it_would_have(saved: Checkpoints) -> None:
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    other, again = model_and_optimizer(seed=5)
    state = saved.load_last(other, again, HASH)
    assert state == TrainingState(HASH, 2, 1, 0.5, [{"epoch": 0, "val_mAP": 0.25}])
    states = []
    for one, by in ((model, optimizer), (other, again)):
        torch.manual_seed(3)
        step(one, by)
        states.append(copy.deepcopy(one.state_dict()))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_random_state_is_restored(saved: Checkpoints) -> None:
    model, optimizer = model_and_optimizer()
    saved.save_last(model, optimizer, TrainingState(HASH))
    wanted = torch.rand(5)
    torch.manual_seed(99)
    saved.load_last(model, optimizer, HASH)
    assert torch.equal(torch.rand(5), wanted)


def test_the_best_weights_are_kept_apart(saved: Checkpoints) -> None:
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    wanted = copy.deepcopy(model.state_dict())
    step(model, optimizer)
    saved.save_last(model, optimizer, TrainingState(HASH, 3))
    saved.load_best(model)
    assert all(torch.equal(value, wanted[key]) for key, value in model.state_dict().items())


def test_another_label_space_is_refused(saved: Checkpoints) -> None:
    model, optimizer = model_and_optimizer(seed=5)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LabelSpaceError, match=r"hash 0123456789abcdef, the data's is ffff\); resume with the data"):
        saved.load_last(model, optimizer, "ffff")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"none: holds no checkpoint to go on from; train without --resume"):
        Checkpoints(tmp_path / "none").load_last(*model_and_optimizer(), HASH)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose(path: Path) -> None:
    path.unlink()


FILES = ["model.safetensors", "optimizer.pt", "state.json", "sha256sums"]


@pytest.mark.parametrize("damage", [cut, alter, lose])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_one_line(saved: Checkpoints, name: str, damage: Callable[[Path], None]) -> None:
    damage(saved.folder / "last" / name)
    model, optimizer = model_and_optimizer(seed=5)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ResumeError, match=r"last: is damaged \(.*\); train again$") as caught:
        saved.load_last(model, optimizer, HASH)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def saved_twice(saved: Checkpoints) -> tuple[Checkpoints, list[dict[str, Tensor]]]:
    """Checkpoints after epoch 2 and 3, and the weights of these."""
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    states = [copy.deepcopy(model.state_dict())]
    step(model, optimizer)
    saved.save_last(model, optimizer, TrainingState(HASH, 3))
    return saved, [*states, copy.deepcopy(model.state_dict())]


@pytest.mark.parametrize("damage", [cut, alter, lose])
@pytest.mark.parametrize("name", FILES)
def test_where_the_last_is_damaged_the_one_before_is_taken_and_that_is_said(
    saved_twice: tuple[Checkpoints, list[dict[str, Tensor]]], name: str, damage: Callable[[Path], None]
) -> None:
    saved, states = saved_twice
    damage(saved.folder / "last" / name)
    model, optimizer = model_and_optimizer(seed=5)
    said = Said()
    state = saved.load_last(model, optimizer, HASH, progress=said)
    assert state.epoch == saved.read_state(HASH).epoch == 2
    assert all(torch.equal(value, states[0][key]) for key, value in model.state_dict().items())
    (line,) = said.lines
    assert line.startswith(f"{saved.folder / 'last'}: is damaged (")
    assert line.endswith(f"); goes on from {saved.folder / 'before'}")
    # The next one takes the place of the damaged one, not of the one that it went on from.
    saved.save_last(model, optimizer, TrainingState(HASH, 4))
    damage(saved.folder / "last" / name)
    assert Checkpoints(saved.folder).read_state(HASH).epoch == 2


def test_the_last_is_taken_where_it_is_whole(saved_twice: tuple[Checkpoints, list[dict[str, Tensor]]]) -> None:
    saved, states = saved_twice
    model, optimizer = model_and_optimizer(seed=5)
    said = Said()
    assert saved.load_last(model, optimizer, HASH, progress=said).epoch == 3
    assert said.lines == []
    assert all(torch.equal(value, states[1][key]) for key, value in model.state_dict().items())
    saved.save_last(model, optimizer, TrainingState(HASH, 4))
    cut(saved.folder / "last" / "state.json")
    assert saved.read_state(HASH).epoch == 3


def test_where_both_are_damaged_both_are_named(saved_twice: tuple[Checkpoints, list[dict[str, Tensor]]]) -> None:
    saved, _ = saved_twice
    cut(saved.folder / "last" / "optimizer.pt")
    lose(saved.folder / "before" / "model.safetensors")
    with pytest.raises(ResumeError) as caught:
        saved.load_last(*model_and_optimizer(), HASH)
    told = "last: is damaged (optimizer.pt is not what was written); "
    assert told in str(caught.value)
    assert str(caught.value).endswith("before: is damaged (model.safetensors: No such file or directory); train again")
    assert "\n" not in str(caught.value)


def test_damaged_weights_of_the_chosen_epoch_are_refused(saved: Checkpoints) -> None:
    alter(saved.folder / "best" / "model.safetensors")
    with pytest.raises(
        ResumeError, match=r"best: is damaged \(model.safetensors is not what was written\); train again"
    ):
        saved.load_best(model_and_optimizer()[0])


@pytest.mark.parametrize("text", ["{cut", "[]", '{"epoch": 3}', '{"label_hash": "a", "added": 1}'])
def test_a_position_of_another_form_is_one_line(saved: Checkpoints, text: str) -> None:
    (saved.folder / "last" / "state.json").write_text(text)
    seal(saved.folder / "last")
    with pytest.raises(ResumeError, match=r"state.json: is damaged \("):
        saved.read_state(HASH)


def test_the_position_within_an_epoch_is_kept_to_the_bit(saved: Checkpoints) -> None:
    model, optimizer = model_and_optimizer()
    given = TrainingState(HASH, 3, unfinished=Unfinished(7, 0.1 + 0.2, 56.0, 1.5), skipped={"12": "p12.png: no image"})
    saved.save_last(model, optimizer, given)
    assert saved.load_last(*model_and_optimizer(seed=5), HASH) == given


def test_within_an_epoch_the_number_of_processes_must_stay(saved: Checkpoints) -> None:
    model, optimizer = model_and_optimizer()
    for state, refused in ((TrainingState(HASH, 3), False), (TrainingState(HASH, 3, unfinished=Unfinished(7)), True)):
        saved.save_last(model, optimizer, state, shares=[own_share(state)] * 2)
        with (
            pytest.raises(ResumeError, match="by 2 processes, now there are 1; resume with 2")
            if refused
            else nullcontext()
        ):
            saved.load_last(model, optimizer, HASH)


def test_a_checkpoint_of_another_model_does_not_fit(saved: Checkpoints) -> None:
    other = nn.Linear(7, 2)
    with pytest.raises(ResumeError, match=r"last/model.safetensors: does not fit or cannot be read \("):
        saved.load_last(other, torch.optim.SGD(other.parameters(), 0.1), HASH)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(saved: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    model, optimizer = model_and_optimizer(seed=5)
    with pytest.raises(StorageError, match=r"last: could not be written \(No space left"):
        saved.save_last(model, optimizer, TrainingState(HASH, 3))
    assert saved.read_state(HASH).epoch == 2
    assert sorted(path.name for path in saved.folder.iterdir()) == ["best", "last"]


def test_the_position_is_plain_json(saved: Checkpoints) -> None:
    about = json.loads((saved.folder / "last" / "state.json").read_text())
    assert about["epoch"] == 2
    assert about["label_hash"] == HASH
