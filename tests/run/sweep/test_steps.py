from __future__ import annotations

from pathlib import Path

import pytest

from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.run.checks import check_recipe
from cotag.run.sweep.steps import Step, parse_step, plan_steps, read_steps, step_lists


def test_a_step_is_a_name_and_its_settings() -> None:
    assert parse_step("wide heads: head=gcn, model.head_args.widths=[8, 9],train.epochs=3") == Step(
        "wide heads", ("model.head=gcn", "model.head_args.widths=[8, 9]", "train.epochs=3")
    )


def test_steps_stay_on() -> None:
    steps = [parse_step("a: train.epochs=3"), parse_step("b: graph.tau=0.1, head=gcn"), parse_step("c: train.epochs=9")]
    found = plan_steps(Recipe(), steps)
    assert [setting.name for setting in found] == ["recipe", "a", "b", "c"]
    recipes = [setting.recipe for setting in found if setting.recipe]
    assert [one.train.epochs for one in recipes] == [30, 3, 3, 9]
    assert [one.model.head for one in recipes] == ["linear", "linear", "gcn", "gcn"]


def test_a_value_that_is_not_allowed_is_left_to_fail_by_itself() -> None:
    found = plan_steps(Recipe(), [Step("bad", ("graph.tau=7",)), Step("more", ("train.epochs=3",))])
    assert [bool(setting.recipe) for setting in found] == [True, False, False]
    assert "setting graph.tau = 7" in found[2].message


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["train.epochs=3"], "--step 'train.epochs=3': expected 'name: key=value, key=value'"),
        (["fast"], "--step 'fast': expected 'name: key=value, key=value'"),
        (["fast: "], "--step 'fast: ': expected 'name: key=value, key=value'"),
        ([": train.epochs=3"], "expected 'name: key=value, key=value'"),
        (["fast: train.epohcs=3"], "step fast: train.epohcs: there is no such setting; did you mean train.epochs?"),
        (["a: train.epochs=3", "b: train.epochs=3"], "step b: changes nothing; after it all is as after step a"),
        (["a: train.epochs=30"], "step a: changes nothing; after it all is as after the recipe as it is"),
        (["a: train.epochs=3", "a: graph.tau=0"], "step a: stands twice; give each step a name of its own"),
        (["recipe: train.epochs=3"], "step recipe: stands twice"),
        (["a: train.seed=3"], "train.seed is no technique; give --seeds N"),
        ([], "a waterfall needs steps"),
    ],
)
def test_what_is_no_step_is_refused(steps: list[str], message: str) -> None:
    with pytest.raises(SettingError) as raised:
        plan_steps(Recipe(), [parse_step(step) for step in steps])
    assert message in str(raised.value)


def test_steps_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("- {name: fast, set: [train.epochs=3]}\n- name: deep\n  set:\n  - head=gcn\n")
    assert read_steps(str(file)) == [Step("fast", ("train.epochs=3",)), Step("deep", ("model.head=gcn",))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "holds no steps; give a list of {name: ..., set: [key=value, ...]}"),
        ("[", "is not YAML"),
        ("- fast", "step 1: is 'fast'; give name and set"),
        ("- {name: fast, sets: [a=1]}", "step 1: 'sets' is not known; did you mean set?"),
        ("- {name: fast, set: {a: 1}}", "step 1: set = {'a': 1}; give a list of key=value texts"),
        ("- {name: fast}", "step 1: expected 'name: key=value, key=value'"),
    ],
)
def test_a_file_without_steps_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text(text)
    with pytest.raises(SettingError) as raised:
        read_steps(str(file))
    assert str(raised.value).startswith(str(file))
    assert message in str(raised.value)


def test_a_list_that_is_not_there() -> None:
    with pytest.raises(SettingError, match="--waterfall 'nothing': is neither a file of steps nor a list that ships"):
        read_steps("nothing")


@pytest.mark.parametrize("name", sorted(step_lists()))
def test_the_lists_that_ship_can_be_planned(name: str) -> None:
    found = plan_steps(
        Recipe.load(
            "quick", ["train.optimizer=adamw", "train.refit=false", "data.mean=[0, 0, 0]", "data.std=[1, 1, 1]"]
        ),
        read_steps(name),
    )
    assert len(found) > 3
    for setting in found:
        assert setting.recipe is not None, setting.message
        check_recipe(setting.recipe)


def test_a_list_says_what_it_is() -> None:
    assert "psg" in step_lists()
    assert all(len(line) > 20 for line in step_lists().values())
