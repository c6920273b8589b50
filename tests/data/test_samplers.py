"""Samplers against slow and obvious loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.data.holdings import Holdings
from cotag.data.samplers import Sampler
from cotag.errors import SettingError
from cotag.registry import SAMPLERS
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

LABELS = 6
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "under": {"keep": 0.25},
    "over": {"times": 2.5},
    "under_over": {"keep": 0.3, "times": 4.0},
    "repeat_factor": {"threshold": 0.3},
    "class_aware": {},
    "square_root": {},
}


def targets(images: int = 90, seed: int = 0) -> np.ndarray:
    """A long tail: label k has about images / (k + 1)^2 of the images, some are unknown, some images are empty."""
    random = np.random.default_rng(seed)
    found = (random.random((images, LABELS)) < 0.7 / (1 + np.arange(LABELS)) ** 1.3).astype(np.int8)
    found[random.random(found.shape) < 0.05] = -1
    found[:5] = 0
    # Every label has an image, and the rarest only two.
    found[5:, -1] = np.minimum(found[5:, -1], 0)
    found[[7, 8], -1] = 1
    return found


INFREQUENT = np.array([False, False, False, False, True, True])


def slow_factors(name: str, given: dict[str, Any], targets_NK: np.ndarray, infrequent: np.ndarray) -> list[float]:
    """What each sampler's paper or description says, image by image."""
    images, labels = targets_NK.shape
    count = [sum(1 for n in range(images) if targets_NK[n, k] == 1) for k in range(labels)]
    known = [sum(1 for n in range(images) if targets_NK[n, k] != -1) for k in range(labels)]
    empty = sum(1 for n in range(images) if all(targets_NK[n, k] != 1 for k in range(labels)))
    power = {"class_aware": 0.0, "square_root": 0.5}.get(name, 0.0)
    total = sum(c**power for c in [*count, empty] if c)
    found = []
    for row in targets_NK:
        held = [k for k in range(labels) if row[k] == 1]
        rare = any(infrequent[k] for k in held)
        unsure = any(infrequent[k] and row[k] == -1 for k in range(labels))
        only_frequent = bool(held) and not rare and not unsure
        if name in ("under", "under_over") and only_frequent:
            found.append(given["keep"])
        elif name in ("over", "under_over") and rare:
            found.append(given["times"])
        elif name == "repeat_factor":
            factors = [math.sqrt(given["threshold"] / (count[k] / known[k])) for k in held]
            found.append(max([1.0, *factors]))
        elif name in ("class_aware", "square_root"):
            drawn_for = [count[k] for k in held] if held else [empty]
            found.append(sum(images * c**power / total / c for c in drawn_for))
        else:
            found.append(1.0)
    return found


def test_every_sampler_is_tested() -> None:
    assert sorted(SETTINGS) == SAMPLERS.names()


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("seed", [0, 1])
def test_factors_equal_slow_loops(name: str, seed: int) -> None:
    targets_NK = targets(seed=seed)
    sampler: Sampler = SAMPLERS.build(name, **SETTINGS[name])
    found = sampler.factors(Holdings.of_targets(targets_NK), INFREQUENT)
    np.testing.assert_allclose(found, slow_factors(name, SETTINGS[name], targets_NK, INFREQUENT), rtol=1e-12)
    # The settings do something to these data.
    assert (name == "none") == bool(np.allclose(found, 1))


@pytest.mark.parametrize("name", ["class_aware", "square_root"])
def test_draws_by_label_are_what_the_factors_expect(name: str) -> None:
    targets_NK, random = targets(40), np.random.default_rng(5)
    lists = [np.flatnonzero(targets_NK[:, k] == 1) for k in range(LABELS)]
    lists.append(np.flatnonzero((targets_NK != 1).all(1)))
    assert all(len(one) for one in lists)
    shares = np.array([len(one) ** (0.5 if name == "square_root" else 0.0) for one in lists])
    draws = 200_000
    counts = np.zeros(40)
    for label in random.choice(len(lists), draws, p=shares / shares.sum()):
        counts[lists[label][int(random.integers(len(lists[label])))]] += 1
    factors = SAMPLERS.build(name).factors(Holdings.of_targets(targets_NK), INFREQUENT)
    assert factors.sum() == pytest.approx(40)
    np.testing.assert_allclose(counts / draws * 40, factors, rtol=0.06, atol=0.01)


def test_each_label_is_drawn_for_as_often_as_promised() -> None:
    held = Holdings.of_targets(targets())
    drawn = held.histogram(SAMPLERS.build("class_aware").factors(held, INFREQUENT))
    assert (drawn >= held.images / (LABELS + 1) - 1e-9).all()
    counts = held.counts()
    roots = np.sqrt([*counts, (held.labels_of_each() == 0).sum()])
    drawn = held.histogram(SAMPLERS.build("square_root").factors(held, INFREQUENT))
    assert (drawn >= held.images * np.sqrt(counts) / roots.sum() - 1e-9).all()
    repeated = held.histogram(SAMPLERS.build("repeat_factor", threshold=0.3).factors(held, INFREQUENT))
    share = counts / held.known()
    assert (repeated >= counts * np.maximum(1, np.sqrt(0.3 / share)) - 1e-9).all()


def test_the_threshold_of_repeat_factor_is_where_labels_stop_being_infrequent() -> None:
    targets_NK = targets()
    held = Holdings.of_targets(targets_NK)
    share = (held.counts() / held.known())[~INFREQUENT].min()
    wanted = slow_factors("repeat_factor", {"threshold": share}, targets_NK, INFREQUENT)
    np.testing.assert_allclose(SAMPLERS.build("repeat_factor").factors(held, INFREQUENT), wanted)
    rare = (targets_NK[:, INFREQUENT] == 1).any(1)
    assert (np.array(wanted)[rare] > 1).all()
    assert (np.array(wanted)[~rare] == 1).all()


def test_where_all_labels_are_infrequent_repeat_factor_goes_up_to_the_most_frequent() -> None:
    held = Holdings.of_targets(targets())
    share = (held.counts() / held.known()).max()
    found = SAMPLERS.build("repeat_factor").factors(held, np.ones(LABELS, dtype=bool))
    assert np.allclose(found, SAMPLERS.build("repeat_factor", threshold=float(share)).factors(held, INFREQUENT))


def test_unknown_labels_are_neither_present_nor_absent() -> None:
    targets_NK = np.array([[1, 0], [1, -1], [0, 1], [-1, 1], [1, 0]], dtype=np.int8)
    held, infrequent = Holdings.of_targets(targets_NK), np.array([False, True])
    assert SAMPLERS.build("under", keep=0.5).factors(held, infrequent).tolist() == [0.5, 1, 1, 1, 0.5]
    assert SAMPLERS.build("over", times=3).factors(held, infrequent).tolist() == [1, 1, 3, 3, 1]
    # Known of 4 images each: shares 3/4 and 2/4.
    expected = [1, 1, math.sqrt(0.7 / 0.5), math.sqrt(0.7 / 0.5), 1]
    assert SAMPLERS.build("repeat_factor", threshold=0.7).factors(held, infrequent) == pytest.approx(expected)


def test_a_label_without_images_changes_nothing() -> None:
    without = targets()
    more = np.concatenate([without, np.zeros((len(without), 1), dtype=np.int8)], axis=1)
    for name, given in SETTINGS.items():
        sampler = SAMPLERS.build(name, **given)
        plain = sampler.factors(Holdings.of_targets(without), INFREQUENT)
        assert np.allclose(sampler.factors(Holdings.of_targets(more), np.append(INFREQUENT, True)), plain)


@pytest.mark.parametrize("difficult", ["unknown", "positive", "absent"])
def test_holdings_of_an_index_are_those_of_its_targets(difficult: str) -> None:
    columns = {
        "image": [f"{n}.png" for n in range(4)],
        "positives": [[0], [], [2], [1, 2]],
        "unknowns": [[1], [], [0], []],
        "difficult": [[], [1], [1], [0]],
    }
    index = Index.build(columns, LabelSpace(("cat", "dog", "sea")), Path())
    rows = np.array([3, 1, 2])
    found, wanted = Holdings.of_index(index, rows, difficult), Holdings.of_targets(index.targets(rows, difficult))
    assert found.counts().tolist() == wanted.counts().tolist()
    assert found.known().tolist() == wanted.known().tolist()
    for one, other in ((found.rows_P, wanted.rows_P), (found.rows_U, wanted.rows_U)):
        assert sorted(one.tolist()) == sorted(other.tolist())


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("undre", {}, "sampler 'undre' is not known; did you mean under"),
        ("under", {"keep": 0}, "keep = 0: a share above 0 and under 1, such as 0.5"),
        ("under", {"keep": 1}, "keep = 1: a share above 0 and under 1"),
        ("under_over", {"keep": float("nan")}, "keep = nan: a share above 0"),
        ("over", {"times": 1}, "times = 1: must be above 1, such as 3"),
        ("over", {"times": float("inf")}, "times = inf: must be above 1"),
        ("over", {"time": 3}, "setting 'time' is not known; did you mean times"),
        ("repeat_factor", {"threshold": 0}, "threshold = 0: a share above 0 and under 1, such as 0.01"),
        ("repeat_factor", {"threshold": 1.5}, "threshold = 1.5: a share above 0 and under 1"),
        ("over", {"times": "often"}, "sampler over: cannot be made with times='often'"),
        ("class_aware", {"keep": 0.5}, "setting 'keep' is not known"),
    ],
)
def test_what_is_refused(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        SAMPLERS.build(name, **given)
