"""The expected histogram of a sampler, exact."""

from __future__ import annotations

import numpy as np
import pytest

from cotag.data.balance_sections import balance_lines, balance_section
from cotag.data.holdings import Holdings
from cotag.data.sampling import Balance
from cotag.registry import SAMPLERS

NAMES = ("sea", "sun", "owl")
# sea: 120 images, sun: 30, owl: 4, all of them with sea.
TARGETS = np.zeros((150, 3), dtype=np.int8)
TARGETS[:120, 0] = TARGETS[120:, 1] = TARGETS[:4, 2] = 1
INFREQUENT = np.array([False, False, True])


def test_images_of_a_label_before_and_after() -> None:
    balance = Balance("over", SAMPLERS.build("over", times=3), INFREQUENT)
    section = balance_section(balance, Holdings.of_targets(TARGETS), NAMES, "infrequent (tail)")
    # Each of the 4 pictures of owl is taken 3 times, and brings sea along.
    assert section.rows == [
        ["head", 1, 120.0, 128.0, pytest.approx(128 / 120), 128.0, 128.0],
        ["middle", 1, 30.0, 30.0, 1.0, 30.0, 30.0],
        ["tail", 1, 4.0, 12.0, 3.0, 12.0, 12.0],
        ["infrequent", 1, 4.0, 12.0, 3.0, 12.0, 12.0],
    ]
    assert "150 images become 158 in an epoch, each taken 1 to 3 times." in section.text
    assert section.figure is not None
    assert [(bars["name"], bars["x"], bars["y"]) for bars in section.figure["data"]] == [
        ("as they are", list(NAMES), [120, 30, 4]),
        ("as sampled", list(NAMES), [128, 30, 12]),
    ]
    lines = balance_lines(section)
    assert lines[1] == "balance: head, 1 labels: 120.0 images of a label become 128.0 an epoch (x 1.07)"
    assert lines[-1] == "balance: infrequent, 1 labels: 4.0 images of a label become 12.0 an epoch (x 3.00)"


def test_an_epoch_of_the_same_length_is_scaled_and_says_so() -> None:
    balance = Balance("over", SAMPLERS.build("over", times=3), INFREQUENT, "same")
    section = balance_section(balance, Holdings.of_targets(TARGETS), NAMES, "infrequent (tail)")
    assert section.rows[2][3] == pytest.approx(12 * 150 / 158)
    assert "150 images become 150 in an epoch" in section.text
    assert "scaled" in section.text


def test_labels_without_images_and_groups_without_labels() -> None:
    targets = np.concatenate([TARGETS[:100], np.zeros((100, 1), dtype=np.int8)], axis=1)
    balance = Balance("under", SAMPLERS.build("under"), np.array([False, False, True, True]))
    section = balance_section(balance, Holdings.of_targets(targets), (*NAMES, "fox"), "infrequent (tail)")
    assert section.rows[0] == ["head", 0, None, None, None, None, None]
    assert len(balance_lines(section)) == 1 + 3


def test_many_labels_are_lines() -> None:
    targets = np.eye(150, dtype=np.int8)
    balance = Balance("over", SAMPLERS.build("over"), np.arange(150) < 3)
    section = balance_section(balance, Holdings.of_targets(targets), [str(k) for k in range(150)], "infrequent (tail)")
    assert section.figure is not None
    assert section.figure["data"][0]["type"] == "scatter"
