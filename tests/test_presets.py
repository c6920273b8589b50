"""The recipes that ship: each says how to run it, and builds."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
import torch

from cotag.recipe import Recipe, presets
from cotag.registry import LOSSES, OPTIMIZERS, SCHEDULES
from cotag.run.checks import check_recipe
from cotag.run.train import make_tagger
from cotag.training.optim import parameter_groups
from cotag.types.labels import LabelSpace

NAMES = ["finetune", "quick", "scenes-tiny"]
REPOSITORY = Path(__file__).resolve().parents[1]


def test_how_many_there_are() -> None:
    files = [file.name for file in (resources.files("cotag") / "recipes").iterdir() if file.name.endswith(".yaml")]
    assert sorted(files) == [f"{name}.yaml" for name in NAMES]
    assert list(presets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_command_hardware_minutes_and_what_to_expect(name: str) -> None:
    text = (resources.files("cotag") / "recipes" / f"{name}.yaml").read_text("utf-8")
    header = "\n".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    assert re.match(rf"cotag .*\b{name}\b.*: \w+", header)
    assert re.search(r"^Hardware: \w+", header, re.MULTILINE)
    assert re.search(r"\bMinutes: [^.]*\d", header)
    expected = re.search(r"^Expected: (.+)", header, re.MULTILINE | re.DOTALL)
    assert expected is not None
    for page in re.findall(r"\b(?:docs|benchmarks)/[\w.]+\w", header):
        assert (REPOSITORY / page).is_file(), f"{name} names {page}, which is not there"
    assert presets()[name] == header.splitlines()[0]


@pytest.mark.parametrize("name", NAMES)
def test_it_builds_a_tiny_model_that_can_be_trained(name: str, tiny: list[str]) -> None:
    recipe = Recipe.load(name, tiny)
    check_recipe(recipe)
    tagger = make_tagger(recipe, LabelSpace(("a", "b", "c")))
    assert tagger.preprocessing.image_size == 48
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    logits = tagger(images).logits_BK
    assert logits.shape == (2, 3)
    given = recipe.train
    assert LOSSES.build(given.loss, **given.loss_args)(logits, torch.ones(2, 3)).shape == (2, 3)
    assert 0 <= SCHEDULES.build(given.schedule, **given.schedule_args)(0.5) <= 1
    if given.optimizer != "lbfgs":
        groups = parameter_groups(tagger, given.learning_rate, given.backbone_rate, 0.1)
        assert OPTIMIZERS.build(given.optimizer, groups, **given.optimizer_args).param_groups
