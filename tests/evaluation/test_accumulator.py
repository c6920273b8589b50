from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from cotag.errors import LabelSpaceError, ScoresError
from cotag.evaluation.accumulator import Accumulator
from cotag.evaluation.metrics import evaluate
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

SPACE = LabelSpace(("a", "b", "c"))
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(10, 3)).astype(np.float32)
TARGETS = RANDOM.choice([-1, 0, 1], (10, 3)).astype(np.int8)


def collected(*batches: list[int]) -> Accumulator:
    found = Accumulator(SPACE, "logit")
    for rows in batches:
        found.add(rows, torch.from_numpy(SCORES[rows]), torch.from_numpy(TARGETS[rows]))
    return found


def test_processes_with_a_padded_last_batch_equal_one() -> None:
    # Two processes, batches of two; the last batch is filled with the first rows again.
    first, second = collected([0, 4], [8, 2], [6, 0]), collected([1, 5], [9, 3], [7, 1])
    first.merge(pickle.loads(pickle.dumps(second)))
    found = first.result()
    assert found.ids == [str(row) for row in range(10)]
    assert np.array_equal(found.scores_NK, SCORES)
    whole = Scores(found.ids, SCORES, TARGETS, "logit", SPACE)
    assert evaluate(found).to_json() == evaluate(whole).to_json()


def test_a_row_counts_as_it_came_first_and_batches_are_copied() -> None:
    found, batch = Accumulator(SPACE, "logit"), SCORES[:1].copy()
    found.add([3], batch, TARGETS[:1])
    batch[:] = 9
    found.add([3], batch, TARGETS[:1])
    assert np.array_equal(found.result().scores_NK, SCORES[:1])


def test_what_is_refused() -> None:
    with pytest.raises(ScoresError, match="nothing was collected"):
        Accumulator(SPACE, "logit").result()
    with pytest.raises(ScoresError, match=r"both must be \(2, 3\)"):
        Accumulator(SPACE, "logit").add([1, 2], SCORES[:1], TARGETS[:1])
    with pytest.raises(ScoresError, match="float16"):
        Accumulator(SPACE, "logit").add([1], SCORES[:1].astype(np.float16), TARGETS[:1])
    with pytest.raises(LabelSpaceError, match="accumulators"):
        collected([1]).merge(Accumulator(LabelSpace(("a", "b", "d")), "logit"))
    with pytest.raises(ScoresError, match="logit and a probability"):
        collected([1]).merge(Accumulator(SPACE, "probability"))
    twice = collected([1])
    twice.add([1], SCORES[1:2], 1 - np.abs(TARGETS[1:2]))
    with pytest.raises(ScoresError, match="row 1 came twice with different targets"):
        twice.result()
