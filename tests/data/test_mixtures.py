from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cotag.data import mixtures
from cotag.data.mixtures import Mixture, cutmix, mixup
from cotag.errors import SettingError
from cotag.registry import MIXTURES
from cotag.types.batch import Batch


def batch(count: int = 6, side: int = 10, labels: int = 4, unknown: float = 0.3) -> Batch:
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, 3, side, side + 4), dtype=np.uint8)
    known = random.random((count, labels)) >= unknown
    targets = (random.random((count, labels)) < 0.5) & known
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(targets).float(),
        torch.from_numpy(known),
        torch.arange(count) + 100,
    )


def mixed(mixture: Mixture, given: Batch, seed: int) -> Batch:
    return mixture(given, np.random.default_rng(seed))


@pytest.fixture(params=MIXTURES.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Every mixture


def test_it_gives_a_batch_by_its_random_numbers_alone(name: str) -> None:
    mixture = MIXTURES.build(name, alpha=1.0)
    given, untouched = batch(), batch()
    first, again, other = (mixed(mixture, given, seed) for seed in (1, 1, 2))
    for key in ("images_BCHW", "targets_BK", "known_BK", "rows_B"):
        value = getattr(first, key)
        assert torch.equal(value, getattr(again, key))
        assert torch.equal(getattr(given, key), getattr(untouched, key))
        assert (value.dtype, value.shape) == (getattr(given, key).dtype, getattr(given, key).shape)
    assert not torch.equal(first.images_BCHW, other.images_BCHW)
    assert torch.equal(first.rows_B, given.rows_B)


def test_it_never_changes_anything_with_an_alpha_or_a_chance_of_0(name: str) -> None:
    for settings in ({"alpha": 0}, {"chance": 0}):
        given = batch()
        found = mixed(MIXTURES.build(name, **settings), given, 1)
        assert torch.equal(found.images_BCHW, given.images_BCHW)
        assert torch.equal(found.targets_BK, given.targets_BK)
        assert torch.equal(found.known_BK, given.known_BK)


def test_half_of_the_batches_with_a_chance_of_one_half(name: str) -> None:
    mixture, given = MIXTURES.build(name, chance=0.5), batch()
    same = [torch.equal(mixed(mixture, given, seed).images_BCHW, given.images_BCHW) for seed in range(100)]
    assert 30 < sum(same) < 75


def test_a_picture_alone_stays_as_it_is(name: str) -> None:
    given = batch(1)
    for seed in range(5):
        found = mixed(MIXTURES.build(name, alpha=1.0), given, seed)
        assert torch.equal(found.images_BCHW, given.images_BCHW)
        assert torch.equal(found.targets_BK, given.targets_BK)
        assert torch.equal(found.known_BK, given.known_BK)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0])
def test_targets_are_the_shares_of_the_parts_and_what_is_unknown_in_one_is_unknown(name: str, alpha: float) -> None:
    """By slow loops, with shares and partners drawn as they are told."""
    given, mixture = batch(), MIXTURES.build(name, alpha=alpha)
    height, width = given.images_BCHW.shape[2:]
    for seed in range(30):
        random = np.random.default_rng(seed)
        random.random()
        share, partner = random.beta(alpha, alpha), random.permutation(6)
        box = np.zeros((height, width), dtype=bool)
        if name == "cutmix":
            spans = []
            for side in (height, width):
                length, center = int(side * np.sqrt(1 - share)), random.integers(side)
                spans.append(range(max(0, center - length // 2), min(side, center - length // 2 + length)))
            for y in spans[0]:
                for x in spans[1]:
                    box[y, x] = True
            share = 1 - box.mean()
        found = mixed(mixture, given, seed)
        for i, j in enumerate(partner):
            own, other = given.images_BCHW[i].numpy().astype(float), given.images_BCHW[j].numpy().astype(float)
            wanted = np.where(box, other, own) if name == "cutmix" else share * own + (1 - share) * other
            assert np.abs(found.images_BCHW[i].numpy() - wanted).max() <= 0.501
            for k in range(4):
                known = (share == 0 or bool(given.known_BK[i, k])) and (share == 1 or bool(given.known_BK[j, k]))
                target = share * float(given.targets_BK[i, k]) + (1 - share) * float(given.targets_BK[j, k])
                assert bool(found.known_BK[i, k]) == known
                assert float(found.targets_BK[i, k]) == pytest.approx(target if known else 0.0, abs=1e-6)


def test_what_both_parts_have_stays_exactly_1(name: str) -> None:
    given = batch(unknown=0.0)
    given.targets_BK[:, 0], given.targets_BK[:, 1] = 1.0, 0.0
    for seed in range(20):
        found = mixed(MIXTURES.build(name, alpha=1.0), given, seed)
        assert (found.targets_BK[:, 0] == 1).all()
        assert (found.targets_BK[:, 1] == 0).all()
        assert found.known_BK.all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_part_that_takes_no_place_hides_nothing(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch()
    monkeypatch.setattr(mixtures, "_drawn", lambda *args: (share, torch.tensor([1, 2, 3, 4, 5, 0])))
    found = mixed(mixup(1.0), given, 0)
    rows = [1, 2, 3, 4, 5, 0] if share == 0 else [0, 1, 2, 3, 4, 5]
    assert torch.equal(found.images_BCHW, given.images_BCHW[rows])
    assert torch.equal(found.known_BK, given.known_BK[rows])
    assert torch.equal(found.targets_BK, given.targets_BK[rows])


# The drawn shares


def test_shares_of_mixup_are_of_the_beta_distribution() -> None:
    given = Batch(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.eye(2), torch.ones(2, 2).bool(), torch.arange(2))
    for alpha in (0.2, 1.0):
        found = [mixed(mixup(alpha), given, seed).targets_BK[0] for seed in range(800)]
        swapped = [float(row[0]) for row in found if 0 < float(row[0]) < 1]
        # Half of all permutations of two leave both alone; the variance of beta(a, a) is 1 / (8 a + 4).
        assert 300 < len(swapped) < 500
        assert np.mean(swapped) == pytest.approx(0.5, abs=0.05)
        assert np.var(swapped) == pytest.approx(1 / (8 * alpha + 4), rel=0.15)


def test_a_rectangle_reaches_every_place_and_is_cut_at_the_edges() -> None:
    given = Batch(
        torch.stack([torch.zeros(3, 20, 30), torch.full((3, 20, 30), 255)]).to(torch.uint8),
        torch.eye(2),
        torch.ones(2, 2).bool(),
        torch.arange(2),
    )
    covered = np.zeros((20, 30), dtype=int)
    for seed in range(300):
        found = mixed(cutmix(1.0), given, seed)
        taken = (found.images_BCHW[0, 0] == 255).numpy()
        covered += taken
        assert float(found.targets_BK[0, 1]) == pytest.approx(taken.mean(), abs=1e-6)
        if taken.any():
            rows, columns = np.flatnonzero(taken.any(1)), np.flatnonzero(taken.any(0))
            assert taken[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert covered.min() > 0


# Settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alpha": -1}, "data.mix_args.alpha = -1: {name} takes a number, 0 or more"),
        ({"alpha": "much"}, "data.mix_args.alpha = 'much'"),
        ({"chance": 2}, "data.mix_args.chance = 2: {name} takes a number, 0 to 1"),
        ({"chance": True}, "data.mix_args.chance = True"),
        ({"alhpa": 1}, "mixture {name}: setting 'alhpa' is not known; did you mean alpha"),
    ],
)
def test_wrong_settings_are_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said.format(name=name)):
        MIXTURES.build(name, **settings)
