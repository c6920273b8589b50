"""What is known of the themes: on most training images nothing, as where nobody wrote down what goes without saying."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cotag.data.assembly import label_lists
from cotag.data.scenes.vocabulary import LABELS, THEME_NAMES, THEMED
from cotag.types.columns import row_numbers
from cotag.types.index import Index


def known_on(index: Index, share: float, seed: int) -> Index:
    """The view ``themes`` with each theme known on a share of the training images, unknown on the others.

    Which those are depends on the seed, the image's number and the share alone, whether or not the theme is present.

    Args:
        index: all scenes from the first on, with all themes known.
        share: in (0, 1]; what is known at one share is known at a larger one too.
        seed: that of the scenes.
    """
    # A stream of its own beside those of the scenes; its first rows do not depend on how many follow.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    hidden_NT = rng.random((len(index), len(THEME_NAMES))) >= share
    hidden_NT[~index.table["split"].to_pandas().eq("train").to_numpy(dtype=bool)] = False
    offsets, labels = index.lists("positives")
    rows = row_numbers(offsets)
    themed = labels >= len(LABELS)
    kept = np.ones(len(labels), dtype=bool)
    kept[themed] = ~hidden_NT[rows[themed], labels[themed] - len(LABELS)]
    hidden, themes = np.nonzero(hidden_NT)
    lists = {"positives": (rows[kept], labels[kept]), "unknowns": (hidden, themes + len(LABELS))}
    table = index.table
    for name, (places, ids) in lists.items():
        column = label_lists(places, ids, len(index), len(THEMED))
        table = table.set_column(table.column_names.index(name), name, column)
    notes = [] if share == 1 else [f"each theme is known on {share:g} of the images in train and unknown on the others"]
    return replace(index, table=table, notes=(*index.notes, *notes))
