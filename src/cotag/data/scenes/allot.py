"""Which split a scene belongs to, so that every label is in every split in its share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cotag.data.scenes.vocabulary import SPLITS


def allot(targets_NK: np.ndarray, shares: Mapping[str, float] = SPLITS) -> list[str]:
    """The split of each scene, decided one after the other: the first n do not depend on those that follow.

    Each goes to the split that lacks it most: over its labels, and over the number of scenes, the share that the
    split should have of those so far minus what it has, each in units of how many there are, so that rare labels
    weigh most.

    Args:
        targets_NK: bool, whether each label is present.
        shares: of the scenes that each split should have, together 1.
    """
    names = list(shares)
    shares_S1 = np.array([shares[name] for name in names])[:, None]
    # Every scene has one more label, of its own existence, so that the splits have their share of all scenes.
    targets_NK = np.concatenate([targets_NK, np.ones((len(targets_NK), 1), dtype=bool)], axis=1)
    total_K = np.zeros(targets_NK.shape[1])
    has_SK = np.zeros((len(names), targets_NK.shape[1]))
    chosen = []
    for present_K in targets_NK:
        total_K += present_K
        lack_SK = (shares_S1 * total_K - has_SK) / np.maximum(total_K, 1)
        split = int(np.argmax(np.round(lack_SK[:, present_K].sum(axis=1), 9)))
        has_SK[split] += present_K
        chosen.append(names[split])
    return chosen
