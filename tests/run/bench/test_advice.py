"""What is advised, from what was measured."""

from __future__ import annotations

import pytest

from cotag.data.transforms import Preprocessing
from cotag.recipe import Recipe
from cotag.recipe_settings import DataSettings, TrainSettings
from cotag.run.bench.advice import compute_advice, input_advice, predict_advice, training_limit
from cotag.run.bench.stages import Stage


def recipe(**settings: object) -> Recipe:
    return Recipe.from_dict({"data": {"workers": settings.pop("workers", 2)}, "train": settings})


def single(reading: float, decoding: float, resizing: float, loader: float) -> list[Stage]:
    parts = {"reading": reading, "decoding": decoding, "resizing": resizing, "all": reading + decoding + resizing}
    return [*(Stage(name, seconds) for name, seconds in parts.items()), Stage("loader", loader)]


@pytest.mark.parametrize(
    ("parts", "fast", "workers", "said", "unsaid"),
    [
        ((1, 8, 1, 10), None, 1, "data.workers=4: there are 4 cores and 1 workers", "data.decode"),
        ((1, 8, 1, 2.5), 4.0, 4, "data.decode=fast: decoding takes 4000.00 ms for 8000.00", "data.workers"),
        ((1, 8, 1, 2.5), 7.9, 4, "data.cache=auto: decoding takes 80%", "data.decode"),
        ((8, 1, 1, 2.5), 1.0, 4, "a faster disk: reading takes 80%", "data.workers"),
        ((1, 3, 6, 2.5), 3.0, 4, "nothing that Cotag can set", "data"),
    ],
)
def test_advice_on_input(parts: tuple[float, ...], fast: float | None, workers: int, said: str, unsaid: str) -> None:
    found = input_advice(recipe(workers=workers), single(*parts), fast, cores=4)
    assert said in "\n".join(found)
    assert unsaid not in "\n".join(found)


def test_a_cache_is_advised_where_it_keeps_something() -> None:
    given = {"workers": 4, "augment": ["crop"]}
    parts = single(1, 8, 1, 2.5)
    found = input_advice(Recipe.from_dict({"data": given}), parts, None, cores=4)
    assert found[0].startswith("smaller copies of the pictures: decoding takes 80%")
    cached = Recipe.from_dict({"data": {**given, "cache": "auto"}, "train": {"mode": "end_to_end"}})
    assert "nothing that Cotag can set" in input_advice(cached, parts, 1.0, cores=4)[0]


def test_the_most_helpful_comes_first() -> None:
    found = input_advice(recipe(workers=1), single(1, 8, 1, 10), 1.0, cores=2)
    assert [line.partition(":")[0] for line in found[:2]] == ["data.decode=fast", "data.workers=2"]


def test_the_slower_is_the_limit() -> None:
    assert training_limit([Stage("input alone", 2.0), Stage("compute alone", 1.0)]) == "input"
    assert training_limit([Stage("input alone", 1.0), Stage("compute alone", 2.0)]) == "compute"


def test_advice_on_arithmetic() -> None:
    stages = [Stage("forward", 3.0), Stage("backward", 4.0), Stage("optimizer", 3.0), Stage("compute alone", 10.0)]
    found = compute_advice(recipe(), "cuda", stages, 1.8)
    assert found[0] == "train.precision=bf16: 1.80 times as fast (measured)"
    assert "the optimizer takes 30% of a step" in "\n".join(found)
    assert "the backward pass takes 40%" in "\n".join(found)
    slower = "\n".join(compute_advice(recipe(compile=True, freeze=["stem"]), "cpu", stages, 0.7))
    assert "precision" not in slower
    assert "train.compile" not in slower
    assert "a GPU" in slower


def test_settings_that_are_advised_exist() -> None:
    assert {"workers", "decode", "cache", "image_size"} <= set(DataSettings.model_fields)
    assert {"precision", "compile", "recompute", "batch_size", "accumulate", "freeze", "mode"} <= set(
        TrainSettings.model_fields
    )


def test_advice_on_predictions() -> None:
    slow = [Stage("preparing", 8.0), Stage("compute", 2.0), Stage("predict", 10.0)]
    assert "preparing takes 80% of it" in predict_advice(slow, Preprocessing(8), "cpu", 9)[0]
    assert "a GPU" in predict_advice([slow[1], slow[0], slow[2]], Preprocessing(8), "cpu", 9)[0]
    assert "only one picture" in predict_advice(slow, Preprocessing(8), "cpu", 1)[-1]
