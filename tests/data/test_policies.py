from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from cotag.data import policies
from cotag.data.policies import MIXED, OPERATIONS, augmix, randaugment


def coded(width: int, height: int) -> Image.Image:
    """A picture whose red is the column and whose green is the row."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(pixels)


def after(name: str, image: Image.Image, share: float, sign: int = 1) -> np.ndarray:
    return np.asarray(OPERATIONS[name](image, share, sign))


# The operations


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("autocontrast", "equalize")])
@pytest.mark.parametrize("sign", [1, -1])
def test_without_strength_an_operation_changes_nothing(name: str, sign: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8))
    assert np.array_equal(after(name, image, 0.0, sign), np.asarray(image))


def test_values_are_changed_as_written() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    plain = np.asarray(ramp).astype(int)
    assert np.array_equal(after("solarize", ramp, 1.0), 255 - plain)
    # The upper quarter of the values is turned.
    assert np.array_equal(after("solarize", ramp, 0.25), np.where(plain >= 192, 255 - plain, plain))
    assert np.array_equal(after("posterize", ramp, 1.0), plain // 16 * 16)
    assert np.array_equal(after("posterize", ramp, 0.5), plain // 4 * 4)
    dark = after("brightness", ramp, 1.0, -1).astype(int)
    assert np.abs(dark - plain * 0.1).max() <= 1
    for name, kind in (("color", ImageEnhance.Color), ("contrast", ImageEnhance.Contrast)):
        image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8))
        assert np.array_equal(after(name, image, 0.5), np.asarray(kind(image).enhance(1.45)))
    narrow = Image.fromarray(np.array([[[100] * 3, [150] * 3, [200] * 3]], dtype=np.uint8))
    assert np.abs(after("autocontrast", narrow, 0.7)[0, :, 0].astype(int) - [0, 127, 255]).max() <= 1
    steps = Image.fromarray(np.repeat(np.array([10, 20, 30, 40], dtype=np.uint8), 64).reshape(16, 16)).convert("RGB")
    levels = np.unique(after("equalize", steps, 0.7))
    assert len(levels) == 4
    assert np.ptp(np.diff(levels.astype(int))) <= 1


def test_pictures_are_moved_as_written() -> None:
    image = coded(331, 60)
    right = after("translate_x", image, 1.0, -1)
    assert np.array_equal(right[:, 150:], np.asarray(image)[:, :-150])
    assert (right[:, :150] == 128).all()
    left = after("translate_x", image, 1.0, 1)
    assert np.array_equal(left[:, :-150], np.asarray(image)[:, 150:])
    tall = coded(20, 331 * 2)
    down = after("translate_y", tall, 0.5, -1)
    assert np.array_equal(down[150:], np.asarray(tall)[:-150])
    # One row further down is 0.3 columns further left.
    sheared = after("shear_x", coded(200, 100), 1.0)
    for row in (0, 50, 90):
        assert sheared[row, 20, 0] == pytest.approx(20 + 0.3 * row, abs=1)
        assert sheared[row, 20, 1] == row
    sheared = after("shear_y", coded(100, 200), 1.0, -1)
    for column in (0, 50, 90):
        assert sheared[60, column, 1] == pytest.approx(60 - 0.3 * column, abs=1)
    turned = after("rotate", coded(101, 101), 1.0)
    angle = np.deg2rad(30)
    # 20 to the right of the center, turned against the clock.
    assert turned[50, 70, 0] == pytest.approx(50 + 20 * np.cos(angle), abs=1.5)
    assert turned[50, 70, 1] == pytest.approx(50 + 20 * np.sin(angle), abs=1.5)


# RandAugment


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, int]]:
    """What operations are asked for; they keep the picture."""
    asked: list[tuple[str, float, int]] = []

    def stand_in(name: str) -> policies.Operation:
        def keep(image: Image.Image, share: float, sign: int) -> Image.Image:
            asked.append((name, share, sign))
            return image

        return keep

    monkeypatch.setattr(policies, "OPERATIONS", {name: stand_in(name) for name in OPERATIONS})
    return asked


def test_randaugment_draws_each_of_14_operations_equally_often_with_one_magnitude(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = recorded(monkeypatch)
    augment, image, random = randaugment(2, 7), coded(4, 4), np.random.default_rng(0)
    for _ in range(1400):
        augment(image, random)
    names = Counter(name for name, _, _ in asked)
    assert (len(asked), len(names)) == (2800, 14)
    assert all(abs(often - 200) < 60 for often in names.values())
    assert {share for _, share, _ in asked} == {0.7}
    assert 1250 < sum(sign == 1 for _, _, sign in asked) < 1550
    pairs = Counter((first[0], second[0]) for first, second in zip(asked[::2], asked[1::2], strict=True))
    assert any(first == second for first, second in pairs)


# AugMix


def test_augmix_equals_slow_loops() -> None:
    image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (12, 15, 3), dtype=np.uint8))
    for seed in range(20):
        random = np.random.default_rng(seed)
        weights, own = random.dirichlet([0.5, 0.5, 0.5, 0.5]), random.beta(0.5, 0.5)
        chains = []
        for _ in range(4):
            chained = image
            for _ in range(random.integers(1, 3)):
                share = random.uniform(0.1, 6.0) / 10
                name = MIXED[random.integers(9)]
                chained = OPERATIONS[name](chained, share, 1 if random.random() < 0.5 else -1)
            chains.append(np.asarray(chained))
        wanted = np.zeros((12, 15, 3))
        for y in range(12):
            for x in range(15):
                for c in range(3):
                    mixed = sum(weight * float(chain[y, x, c]) for weight, chain in zip(weights, chains, strict=True))
                    wanted[y, x, c] = own * float(np.asarray(image)[y, x, c]) + (1 - own) * mixed
        found = augmix(6.0, 4, 2, 0.5)(image, np.random.default_rng(seed))
        assert np.abs(np.asarray(found) - wanted).max() <= 0.5 + 1e-6


def test_augmix_draws_chains_of_every_length_and_leaves_the_operations_of_the_corruptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = recorded(monkeypatch)
    image, random, lengths = coded(4, 4), np.random.default_rng(0), []
    for _ in range(300):
        before = len(asked)
        # Operations that keep the picture leave nothing to mix.
        assert np.array_equal(np.asarray(augmix(3.0, 1, 3)(image, random)), np.asarray(image))
        lengths.append(len(asked) - before)
    assert {1, 2, 3} == set(lengths)
    assert all(70 < lengths.count(length) < 130 for length in (1, 2, 3))
    assert {name for name, _, _ in asked} == set(MIXED)
    shares = [share for _, share, _ in asked]
    assert 0.01 <= min(shares) < 0.03
    assert 0.28 < max(shares) <= 0.3
