"""Two processes against one: the same steps, the same scores, and an end where one of them fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from cotag.errors import CotagError
from cotag.models.tagger import Tagger, build_tagger
from cotag.recipe import Recipe
from cotag.registry import LOSSES, OPTIMIZERS
from cotag.run.loaders import judging_loader, score_together, training_loader
from cotag.run.train import train
from cotag.training import sharding
from cotag.training.checkpoint import Checkpoints
from cotag.training.criterion import Criterion
from cotag.training.gathering import gathered_reasons
from cotag.training.loop_settings import LoopSettings, StepSettings
from cotag.training.optim import parameter_groups
from cotag.training.processes import this_process
from cotag.training.schedules import constant
from cotag.training.trainer import Trainer
from cotag.training.watch import end_by
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

TINY = ("model.backbone=test_vit", "model.weights=none", "data.image_size=32", "model.backbone_args={img_size: 32}")
# A mean over known entries, over all entries, over images, with a penalty, of several batches at a step, with weights
# in shares, and so stopped and resumed.
TRAININGS = ("bce", "assume_negative", "zlpr", "l1", "accumulate", "fsdp", "resumed")
ROWS, BAD, ENDED = 21, (4, 13, 17), 7


def pictured(pictures: Path) -> Index:
    """Rows of which each has more unknown labels than the one before, and the first three nothing else."""
    random = np.random.default_rng(4)
    hidden = random.random((ROWS, 3)) < np.linspace(0, 0.8, ROWS)[:, None]
    hidden[:3] = True
    present = random.random((ROWS, 3)) < 0.5
    lists = {
        name: [np.flatnonzero(row).tolist() for row in chosen]
        for name, chosen in (("positives", present & ~hidden), ("unknowns", hidden))
    }
    images = [str(pictures.parent / f"p{number:02}.png") for number in range(ROWS)]
    return Index.build({"image": images, **lists}, LabelSpace(("a", "b", "c")))


def recipe(batch_size: int) -> Recipe:
    own = ("train.optimizer=sgd", "data.workers=0", f"train.batch_size={batch_size}", "data.bad_images=skip")
    return Recipe.load("finetune", [*TINY, *own])


def tagger_of(index: Index) -> Tagger:
    torch.manual_seed(0)
    return build_tagger(index.label_space, "test_vit", "linear", {"img_size": 32}, preprocessing={"image_size": 32})


def trained(index: Index, name: str, batch_size: int, folder: Path | None = None) -> dict[str, np.ndarray]:
    """The losses of two epochs of three steps, the last of 4 or 5 images, and all weights after them.

    With a folder those that share weights do so, keep checkpoints, and one is stopped after the first epoch.
    """
    kept = Checkpoints(folder / name / "checkpoints") if folder and name in ("fsdp", "resumed") else None
    if kept is not None and name == "resumed":
        fitted(index, name, batch_size, kept, stop_after=1)
    return fitted(index, name, batch_size, kept, resume=name == "resumed" and kept is not None)


def fitted(
    index: Index,
    name: str,
    batch_size: int,
    kept: Checkpoints | None,
    stop_after: int | None = None,
    resume: bool = False,
) -> dict[str, np.ndarray]:
    """See ``trained``."""
    tagger = tagger_of(index)
    loss = LOSSES.build(name if name in LOSSES.names() else "bce")
    accumulate, parallel = 2 if name == "accumulate" else 1, "ddp" if kept is None else "fsdp"
    fit = Trainer(
        tagger,
        Criterion(loss, 1e-3 if name == "l1" else 0.0, tagger.parameters()),
        OPTIMIZERS.build("sgd", parameter_groups(tagger, 0.1, 1.0, 0.01), momentum=0.9),
        constant(),
        LoopSettings(2, 0.0, 0.3, None, "last", None, stop_after, StepSettings("fp32", accumulate, None, parallel)),
        lambda model: {},
        kept,
    )
    if parallel == "fsdp":
        shares = [parameter for parameter in fit.steps.model.parameters() if isinstance(parameter, DTensor)]
        assert len(shares) == len(list(tagger.parameters()))
        assert sum(isinstance(module, FSDPModule) for module in fit.steps.model.modules()) > 2
    own = recipe(batch_size // accumulate)
    # A last batch of one image would be repeated in the second process, and weigh twice beside others of its step.
    rows = np.arange(ROWS if accumulate == 1 else ROWS - 1)
    history = fit.fit(training_loader(tagger, index, rows, own), "hash", Silent(), resume).history
    weights = torch.cat([parameter.detach().flatten() for parameter in tagger.parameters()])
    losses = np.array([row["train_loss"] for row in history[1:]])
    return {f"{name}-loss": losses, f"{name}-weights": weights.numpy()}


def scored(index: Index, bad: Index, tagger: Tagger) -> dict[str, np.ndarray]:
    """Rows and scores of 21 images, of one, and of 21 with some that cannot be read."""
    found = {}
    for name, rows, of in (("all", ROWS, index), ("one", 1, index), ("bad", ROWS, bad)):
        loader = judging_loader(tagger, of, np.arange(rows)[::-1], recipe(4))
        found[f"{name}-rows"], found[f"{name}-scores"] = score_together(tagger, loader, Silent(), name)
        found[f"{name}-skipped"] = np.array(list(gathered_reasons(loader.skipped.reasons)), dtype=np.int64)
    return found


def spoiled(index: Index, folder: Path) -> Index:
    """The same rows, of which some have no picture."""
    column = index.table.column_names.index("image")
    images = [
        str(folder / "none.png") if row in BAD else image for row, image in enumerate(index.table["image"].to_pylist())
    ]
    return Index(index.table.set_column(column, index.table.schema.field(column), [images]), index.label_space)


def in_process(pictures: Path, folder: Path) -> None:
    """What each of the two processes does; the last training fails in the second."""
    place, index = this_process(), pictured(pictures)
    assert place.num_processes == 2
    found = scored(index, spoiled(index, folder), tagger_of(index))
    sharding.PART_WEIGHTS = 20_000
    for name in TRAININGS:
        found.update(trained(index, name, 4, folder))
    np.savez(folder / f"{place.process_index}.npz", **found)  # type: ignore[arg-type]

    def leave(told: str) -> None:
        (folder / "told").write_text(told)
        os._exit(ENDED)

    end_by(leave)
    settings = [*TINY, "data.workers=0", "data.choose=0.3", "train.batch_size=5", "train.epochs=1", "data.test=0.3"]
    data: Index = index
    if place.process_index == 1:
        data = spoiled(index, folder)
    try:
        train(data, "finetune", folder / "run", settings)
    except CotagError as error:
        (folder / f"error-{place.process_index}").write_text(f"{type(error).__name__}: {error}")


def test_two_processes_do_what_one_does(pictures: Path, tmp_path: Path, launched: Callable[..., Any]) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_together import *; "
    code += f"in_process(Path({str(pictures)!r}), Path({str(tmp_path)!r}))"
    processes = launched(["-c", code])
    said = [process.communicate(timeout=240) for process in processes]
    assert all((tmp_path / f"{rank}.npz").is_file() for rank in range(2)), said
    first, second = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(2))
    index = pictured(pictures)

    wanted = scored(index, spoiled(index, tmp_path), tagger_of(index))
    assert wanted["all-rows"].tolist() == list(range(ROWS))[::-1]
    assert sorted(wanted["bad-skipped"].tolist()) == list(BAD)
    for name, value in wanted.items():
        if name.endswith("skipped"):
            value.sort()
        # To the bit: each batch has the pictures that it has with one process.
        np.testing.assert_array_equal(first[name], value, name)
        np.testing.assert_array_equal(second[name], value, name)

    for training in TRAININGS:
        for name, value in trained(index, training, 8).items():
            np.testing.assert_array_equal(first[name], second[name], name)
            np.testing.assert_allclose(first[name], value, rtol=1e-5, atol=1e-6, err_msg=name)

    # A checkpoint of shares is one of whole weights.
    tagger = tagger_of(index)
    checkpoints = Checkpoints(tmp_path / "resumed" / "checkpoints")
    optimizer = OPTIMIZERS.build("sgd", parameter_groups(tagger, 0.1, 1.0, 0.01), momentum=0.9)
    checkpoints.load_last(tagger, optimizer, "hash")
    weights = torch.cat([parameter.detach().flatten() for parameter in tagger.parameters()]).numpy()
    np.testing.assert_array_equal(weights, first["resumed-weights"])
    assert all(state["momentum_buffer"].shape == weight.shape for weight, state in optimizer.state.items())

    # The second could not read an image; the first was told so, whether it noticed by itself or not.
    assert (tmp_path / "error-1").read_text().startswith("ImageError: ")
    told = tmp_path / ("told" if processes[0].returncode == ENDED else "error-0")
    assert "process 1 of 2 stopped with an error, which it told itself" in told.read_text(), said
