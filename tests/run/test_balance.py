"""Samplers in a whole run: end to end, on features, in a sweep, resumed, refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cotag.data.loader import Loader
from cotag.data.read import read
from cotag.data.splits import assign_roles
from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.run.balance import balance_of
from cotag.run.checks import check_recipe
from cotag.run.sweep.sweep import sweep
from cotag.run.train import train
from cotag.training.checkpoint import Checkpoints
from cotag.training.feature_set import FeatureBatches
from cotag.types.batch import Batch
from cotag.types.progress import Silent
from cotag.types.scores import Scores

OVER = ["balance.infrequent=rarest:1", "balance.sampler=over", "balance.sampler_args={times: 2.5}"]
LOOP = ["train.optimizer=adamw", "train.weight_decay=0.01", "train.epochs=3", "train.batch_size=16"]
END_TO_END = ["train.epochs=4", "train.batch_size=8", "data.augment=[flip, crop]", "model.head_args.dropout=0.3"]


class Said(Silent):
    """Keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def expected(data: Path, settings: list[str], recipe: str = "scenes-tiny") -> tuple[Any, Any, Any]:
    """(plan, train rows, held) of a run."""
    given = Recipe.load(recipe, settings)
    index = read(data)
    roles = assign_roles(index, seed=given.train.seed)
    balance = balance_of(given, index, roles)
    assert balance is not None
    rare = balance.infrequent_K
    targets = index.targets(roles.train)
    factors = np.where((targets[:, rare] == 1).any(1), 2.5, 1.0)
    return factors, roles.train, targets


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[int]]]:
    """The rows of each epoch that trained, of pictures and of features."""
    found: dict[str, list[list[int]]] = {"pictures": [], "features": []}

    def watch(kind: str, of: type[Any], trains: Callable[[Any], bool]) -> None:
        epoch = of.epoch

        def noted(self: Any, number: int, start: int = 0) -> Iterator[Batch]:
            rows: list[int] = []
            if trains(self):
                found[kind].append(rows)
            for batch in epoch(self, number, start):
                rows += batch.rows_B.tolist()
                yield batch

        monkeypatch.setattr(of, "epoch", noted)

    watch("pictures", Loader, lambda one: one.order.shuffle)
    watch("features", FeatureBatches, lambda one: one.order.shuffle)
    return found


def test_end_to_end(pictures: Path, tiny: list[str], tmp_path: Path, watched: Any) -> None:
    settings, said = [*tiny, *END_TO_END, *OVER], Said()
    factors, rows, targets = expected(pictures, settings)
    run = train(pictures, "scenes-tiny", tmp_path / "run", settings, progress=said)
    assert len(watched["pictures"]) == 4
    for epoch in watched["pictures"]:
        assert len(epoch) == round(factors.sum()) > len(rows)
        counts = Counter(epoch)
        scale = len(epoch) / factors.sum()
        for row, factor in zip(rows.tolist(), factors * scale, strict=True):
            assert np.floor(factor) <= counts[row] <= np.ceil(factor)
    # The schedule ends with the last step: a cosine over 4 epochs of so many.
    steps = -(-round(factors.sum()) // 8)
    history = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    given = Recipe.load("scenes-tiny", settings).train
    warmup = round(given.warmup_epochs * steps)
    last = 0.5 * (1 + np.cos(np.pi * (4 * steps - 1 - warmup) / (4 * steps - warmup)))
    assert history[-1]["learning_rate"] == pytest.approx(given.learning_rate * last, rel=1e-6)
    (section,) = [section for section in run.sections if section.title == "Balance"]
    positives = (targets * factors[:, None] * (round(factors.sum()) / factors.sum())).clip(0).sum(0)
    infrequent = section.rows[-1]
    assert infrequent[0] == "infrequent"
    assert infrequent[3] == pytest.approx(positives[np.argmin((targets == 1).sum(0))])
    assert sum(line.startswith("balance: ") for line in said.lines) >= 3
    assert "Balance" in run.report.read_text("utf-8")


def test_on_features_the_images_that_choose_are_sampled_once_they_train(
    pictures: Path, tiny: list[str], tmp_path: Path, watched: Any
) -> None:
    settings = [*tiny, *LOOP, *OVER]
    factors, rows, _ = expected(pictures, settings, "quick")
    train(pictures, "quick", tmp_path / "run", settings)
    lengths = [len(epoch) for epoch in watched["features"]]
    assert lengths[:3] == [round(factors.sum())] * 3
    # Fitted again with those that chose: 40 images instead of 32.
    assert len(lengths) == 3 or all(length > 40 for length in lengths[3:])
    assert set(watched["features"][0]) == set(rows.tolist())


def test_a_sampled_run_is_resumed_bit_for_bit(
    pictures: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = [*tiny, *END_TO_END, *OVER]
    whole = train(pictures, "scenes-tiny", tmp_path / "whole", settings).folder
    save = Checkpoints.save_last

    def save_until(self: Checkpoints, model: Any, optimizer: Any, state: Any, *more: Any) -> None:
        if state.epoch == 3:
            raise KeyboardInterrupt
        save(self, model, optimizer, state, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_last", save_until)
        with pytest.raises(KeyboardInterrupt):
            train(pictures, "scenes-tiny", tmp_path / "cut", settings)
    train(pictures, resume=tmp_path / "cut")
    first, second = (Scores.load(folder / "scores" / "test.parquet") for folder in (whole, tmp_path / "cut"))
    assert np.array_equal(first.scores_NK, second.scores_NK)
    torch.set_num_threads(threads)


def test_a_sweep_over_samplers_is_what_training_alone_gives(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    settings = [*tiny, *LOOP, "balance.infrequent=rarest:1"]
    grid = ["balance.sampler=over,class_aware,undre"]
    found = sweep(pictures, "quick", grid, 2, out=tmp_path / "sweep", overrides=settings)
    assert [(one.setting, one.seed) for one in found.failed] == [("sampler=undre", 0), ("sampler=undre", 1)]
    assert "did you mean under" in found.failed[0].message
    own = {}
    for path in (found.folder / "trials").glob("*.parquet"):
        scores = Scores.load(path)
        own[scores.origin["setting"], scores.origin["seed"]] = scores.scores_NK
    for name in ("over", "class_aware"):
        alone = train(pictures, "quick", tmp_path / name, [*settings, f"balance.sampler={name}"])
        wanted = Scores.load(alone.folder / "scores" / "test.parquet").scores_NK
        np.testing.assert_allclose(own[f"sampler={name}", 0], wanted, atol=1e-4)
        assert not np.allclose(own["recipe", 0], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["balance.sampler=class_awere"], "sampler 'class_awere' is not known; did you mean class_aware"),
        (["balance.sampler=over", "balance.sampler_args={time: 2}"], "'time' is not known; did you mean times"),
        (["balance.sampler=over", "balance.sampler_args={times: 0.5}"], "times = 0.5: must be above 1"),
        (["balance.sampler_args={times: 2}"], "sampler none: setting 'times' is not known; it takes none"),
        (["balance.epoch=same"], "balance.epoch: sampler none does not use it"),
        (["balance.infrequent=tial"], "infrequent = 'tial' is not a rule; did you mean tail"),
        (["balance.infrequent=share:2"], "the share must be above 0 and under 1"),
        (["balance.sampler=under", "balance.labels_without_images=ignore"], "under repeats nothing and does not use"),
        (["balance.sampler=over", "train.optimizer=lbfgs"], "lbfgs takes all images at once; choose adamw or sgd"),
    ],
)
def test_settings_that_are_refused(settings: list[str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        check_recipe(Recipe.load("quick", [*LOOP, *settings]))


def test_no_infrequent_label_costs_nothing_of_what_the_folder_held(
    pictures: Path, tiny: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=r"'below:2': no label is infrequent .* set balance.infrequent=half"):
        train(pictures, "quick", tmp_path / "run", [*tiny, *LOOP, *OVER, "balance.infrequent=below:2"])
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_a_rule_without_a_sampler_is_told_in_the_report(pictures: Path, tiny: list[str], tmp_path: Path) -> None:
    run = train(pictures, "quick", tmp_path / "run", [*tiny, "balance.infrequent=rarest:2"])
    (section,) = [section for section in run.sections if section.title == "Balance"]
    assert "infrequent (rarest:2: the 2 with the fewest images): 2 of 3 labels" in section.text
    assert section.rows[-1][1] == 2
