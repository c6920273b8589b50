"""Counts of labels and pairs, with unknown labels as absent or left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cotag.errors import SettingError
from cotag.labels.counts import count_labels
from cotag.labels.graph import build_graph
from cotag.labels.graph_files import save_graph
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

SPACE = LabelSpace(("star", "night", "fish"))


def index() -> Index:
    """Five images: four stars, of which two are known to be at night, one is not, and of one nobody knows."""
    columns = {
        "image": [f"{n}.jpg" for n in range(5)],
        "positives": [[0, 1], [0, 1], [0], [0], [2]],
        "unknowns": [[], [], [], [1], [0]],
    }
    return Index.build(columns, SPACE, Path())


def test_an_unknown_label_counts_as_absent_or_not_at_all() -> None:
    absent, left_out = count_labels(index()), count_labels(index(), unknown="left_out")
    assert absent.counts_K.tolist() == left_out.counts_K.tolist() == [4, 2, 1]
    assert absent.conditional().toarray()[0, 1] == 2 / 4
    assert left_out.conditional().toarray()[0, 1] == 2 / 3
    # Of both images of the night it is known that they have a star.
    assert absent.conditional().toarray()[1, 0] == left_out.conditional().toarray()[1, 0] == 1


def test_left_out_equals_a_slow_count() -> None:
    random = np.random.default_rng(0)
    targets = random.choice([1, 0, -1], (60, 6), p=[0.3, 0.5, 0.2])
    columns = {
        "image": [f"{n}.jpg" for n in range(60)],
        "positives": [np.flatnonzero(row == 1).tolist() for row in targets],
        "unknowns": [np.flatnonzero(row == -1).tolist() for row in targets],
    }
    rows = np.arange(5, 60)
    found = count_labels(Index.build(columns, LabelSpace(tuple("abcdef")), Path()), rows, "left_out").conditional()
    for a in range(6):
        for b in range(6):
            known = [row for row in targets[5:] if row[a] == 1 and row[b] >= 0]
            expected = sum(row[b] == 1 for row in known) / len(known) if a != b else 0
            assert found.toarray()[a, b] == pytest.approx(expected, abs=1e-15)


def test_a_shuffled_graph_keeps_what_is_unknown_with_its_label() -> None:
    graph = build_graph(index(), tau=0.6, unknown="left_out")
    assert graph.edges().nnz == 2
    shuffled = graph.shuffled(seed=3)
    order = np.random.default_rng(3).permutation(3)
    assert (shuffled.edges().toarray() == graph.edges().toarray()[np.ix_(order, order)]).all()
    assert build_graph(index(), tau=0.6).edges().nnz == 1


def test_it_is_said_and_not_lost_in_a_file(tmp_path: Path) -> None:
    graph = build_graph(index(), unknown="left_out")
    assert "unknown labels left out" in graph.describe()
    with pytest.raises(SettingError, match="plain counts"):
        save_graph(graph, tmp_path / "graph.npz")
    assert not list(tmp_path.iterdir())


def test_another_word_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"graph\.unknown = 'leftout' is not known; did you mean left_out"):
        count_labels(index(), unknown="leftout")
