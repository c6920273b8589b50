from __future__ import annotations

import pytest

from cotag.errors import SettingError
from cotag.recipe import Recipe
from cotag.run.sweep.plan import parse_grid
from cotag.run.sweep.space import Choice, Range, parse_space


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("train.epochs=5..40", Range("train.epochs", 5, 40, whole=True)),
        ("graph.tau=0..1", Range("graph.tau", 0.0, 1.0)),
        ("train.learning_rate=1e-4..1e-1:log", Range("train.learning_rate", 1e-4, 0.1, log=True)),
        ("train.batch_size=8..128:log", Range("train.batch_size", 8, 128, whole=True, log=True)),
        ("model.head_args.dropout=0.0..0.5", Range("model.head_args.dropout", 0.0, 0.5)),
        ("model.head_args.depth=1..4", Range("model.head_args.depth", 1, 4, whole=True)),
        ("head=gcn,linear,gcn", Choice("model.head", ("gcn", "linear"))),
        ("graph.file=../a.npz,../b.npz", Choice("graph.file", ("../a.npz", "../b.npz"))),
    ],
)
def test_ranges_and_values(given: str, part: Range | Choice) -> None:
    assert parse_space([given]) == [part]


def test_a_number_is_drawn_as_it_is_named() -> None:
    rate = Range("train.learning_rate", 1e-5, 0.1, log=True)
    for value, text in ((0.012345678, "0.01235"), (1e-5, "1e-05"), (0.0999999, "0.1")):
        assert rate.text(value) == text
        assert Recipe.load("quick", [f"train.learning_rate={text}"]).train.learning_rate == float(text)
    assert Range("graph.tau", 0.12344, 0.2).text(0.12344) == "0.12344"
    assert Range("train.epochs", 5, 40, whole=True).text(7) == "7"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("graph.tau=0.1..7", "--grid graph.tau=0.1..7: setting graph.tau = 7: must be less than or equal to 1"),
        ("graph.tua=0..1", "--grid graph.tua: there is no such setting; did you mean graph.tau?"),
        ("model.head=1..2", "--grid model.head=1..2: setting model.head = 1: must be text"),
        ("train.epochs=1.5..4", "setting train.epochs = 1.5: must be a whole number"),
        ("graph.tau=0.5..0.1", "--grid graph.tau=0.5..0.1: the first number must be the lower one"),
        ("graph.tau=0..1:log", "a logarithmic scale begins above 0"),
        ("graph.tau=0.1,0.2..0.4", "--grid graph.tau=0.1,0.2..0.4: a range stands alone; give it, or values"),
    ],
)
def test_what_is_no_range_is_refused(given: str, message: str) -> None:
    with pytest.raises(SettingError) as raised:
        parse_space([given])
    assert message in str(raised.value)


def test_a_plain_grid_refuses_a_range() -> None:
    with pytest.raises(SettingError, match=r"--grid graph\.tau=0\.1\.\.0\.6: a range cannot be tried whole; search it"):
        parse_grid(["graph.tau=0.1..0.6"])
