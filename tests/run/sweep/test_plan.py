from __future__ import annotations

import pytest

from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.run.sweep.plan import BASELINE, parse_grid, plan


def names(*grid: str, one_at_a_time: bool = False) -> list[str]:
    return [setting.name for setting in plan(Recipe(), parse_grid(grid), one_at_a_time)]


def test_a_grid_holds_all_combinations_and_the_recipe_first() -> None:
    assert names("graph.tau=0.1,0.3", "head=gcn,linear") == [
        BASELINE, "tau=0.1, head=gcn", "tau=0.1, head=linear", "tau=0.3, head=gcn", "tau=0.3, head=linear",
    ]  # fmt: skip


def test_one_key_at_a_time() -> None:
    assert names("graph.tau=0.1,0.3", "head=gcn", one_at_a_time=True) == [BASELINE, "tau=0.1", "tau=0.3", "head=gcn"]


def test_a_setting_that_is_the_recipe_or_stands_twice_is_tried_once() -> None:
    assert names("graph.tau=0.4,0.1,0.10") == [BASELINE, "tau=0.1"]
    assert names("head=linear,gcn", "graph.tau=0.4", one_at_a_time=True) == [BASELINE, "head=gcn"]


def test_keys_that_end_alike_are_named_in_full() -> None:
    assert names("train.loss_args.gamma_neg=1", "train.loss_args.clip=0.1")[1] == "gamma_neg=1, clip=0.1"
    assert (
        names("graph.kind=binary", "model.backbone_args.kind=1")[1] == "graph.kind=binary, model.backbone_args.kind=1"
    )


def test_commas_in_brackets_do_not_separate() -> None:
    found = plan(Recipe(), parse_grid(["model.head_args.widths=[8],[8, 9],[]"]), False)
    assert [setting.recipe.model.head_args["widths"] for setting in found[1:] if setting.recipe] == [[8], [8, 9], []]


def test_a_value_that_is_not_allowed_is_left_to_fail_by_itself() -> None:
    bad = plan(Recipe(), parse_grid(["graph.tau=0.1,7"]), False)[2]
    assert bad.recipe is None
    assert bad.message == "recipe: setting graph.tau = 7: must be less than or equal to 1"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("graph.tua=0.1", "--grid graph.tua: there is no such setting; did you mean graph.tau?"),
        ("graph.tau", "--grid 'graph.tau': expected key=value,value, such as graph.tau=0.2,0.4"),
        ("graph.tau=", "--grid 'graph.tau=': expected key=value,value"),
        ("train.seed=1,2", "--grid train.seed: seeds are no settings to choose among; give --seeds N"),
        ("graph.tau=0.4", "the grid holds nothing but the recipe as it is"),
    ],
)
def test_what_is_no_grid_is_refused(grid: str, message: str) -> None:
    with pytest.raises(SettingError) as raised:
        names(grid)
    assert message in str(raised.value)


def test_a_key_stands_once() -> None:
    with pytest.raises(SettingError, match=r"model\.head: stands twice"):
        names("head=gcn", "model.head=linear")


def test_some_of_the_grid_at_random() -> None:
    grid = parse_grid(["graph.tau=0.1,0.2,0.3", "graph.p=0.3,0.5,0.7"])
    drawn = [
        [setting.name for setting in plan(Recipe.load("quick", [f"train.seed={s}"]), grid, False, 4)] for s in (0, 0, 1)
    ]
    everything = names("graph.tau=0.1,0.2,0.3", "graph.p=0.3,0.5,0.7")
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5
    assert set(drawn[0]) < set(everything)
    assert len(plan(Recipe(), grid, False, 100)) == 10
