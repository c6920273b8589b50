from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from cotag.evaluation import swapping
from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import average_precisions, evaluate
from cotag.evaluation.protocols import protocol_of
from cotag.evaluation.resampled import headline_names, judged
from cotag.evaluation.swapping import common_scale, swapped_differences
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def example(images: int = 60, labels: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two methods' logits on a grid, so that some are tied, and targets of which some are unknown."""
    random = np.random.default_rng(seed)
    targets = (random.random((images, labels)) < np.linspace(0.08, 0.5, labels)).astype(np.int8)
    first, other = np.round(random.normal(size=(2, *targets.shape)) + 1.5 * targets, 1)
    targets[random.random(targets.shape) < 0.1] = -1
    return first, other, targets


def scores_of(logits: np.ndarray, targets: np.ndarray) -> Scores:
    space = LabelSpace(tuple(f"l{k}" for k in range(targets.shape[1])))
    return Scores([str(row) for row in range(len(targets))], logits, targets, "logit", space)


# The common scale


def test_the_common_scale_by_hand() -> None:
    targets = np.array([[0], [1], [1], [0], [1], [0], [1], [-1]])
    first = np.array([[0.0], [5.0], [6.0], [4.0], [4.0], [9.0], [1.0], [3.0]])
    # in order: absent; present; absent and present, tied; present; present; absent. The four present count half
    wanted = [[0.5], [3.25], [3.75], [2.25], [2.25], [4.5], [1.25], [0]]
    for found in common_scale(first, np.exp(first), targets):
        assert found.tolist() == wanted


def test_a_label_of_one_or_two_images_is_measured_by_the_others() -> None:
    scores = np.array([[-3.0], [0.0], [2.0], [2.0], [5.0]])
    for targets, wanted in (([0, 0, 1, 0, 1], [0.5, 1.5, 2.5, 2.5, 3]), ([0, 1, 0, -1, 0], [0.5, 1, 1.5, 0, 2.5])):
        found, _ = common_scale(scores, scores, np.array(targets)[:, None])
        assert found[:, 0] == pytest.approx(wanted, abs=1e-5)
    found, _ = common_scale(scores[:2], scores[:2], np.ones((2, 1)))
    assert found[0, 0] < found[1, 0]


def test_the_common_scale_keeps_average_precision_and_forgets_the_scores_scale() -> None:
    first, other, targets = example()
    scaled = common_scale(first, other, targets)
    for scores, found in zip((first, other), scaled, strict=True):
        np.testing.assert_array_equal(average_precisions(found, targets), average_precisions(scores, targets))
    for again, found in zip(common_scale(first * 7 - 3, 1 / (1 + np.exp(-other)), targets), scaled, strict=True):
        np.testing.assert_array_equal(again, found)


# Swaps


@pytest.mark.parametrize("decision", [None, Decision(threshold=0.7)])
@pytest.mark.parametrize("name", ["default", "mlgcn-top3", "psg", "voc07"])
def test_every_difference_is_that_of_the_swapped_rows(name: str, decision: Decision | None) -> None:
    first, other, targets = example()
    protocol = protocol_of(name)
    rows = [judged(scores_of(logits, targets), decision, protocol) for logits in (first, other)]
    stays = np.concatenate(list(swapping._coins(len(targets), 4, 3)), axis=1).astype(bool)
    assert 0.3 < stays.mean() < 0.7
    scaled = common_scale(first, other, targets)
    for metric in headline_names(protocol):
        found = swapped_differences(*rows, metric, protocol, 4, 3)
        # average precision of places on the common scale, everything else of the logits themselves
        pair = scaled if metric == "mAP" else (first, other)
        for place in range(4):
            stay = stays[:, place, None]
            ways = (np.where(stay, *pair), np.where(stay, *pair[::-1]))
            as_first, as_other = (evaluate(scores_of(way, targets), decision, name).metrics[metric] for way in ways)
            assert as_first is not None
            assert as_other is not None
            assert found[place] == pytest.approx(as_other - as_first, abs=1e-12), metric


def test_the_coins_are_fair_and_do_not_depend_on_the_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other, targets = example()
    protocol = protocol_of("default")
    one, two = (judged(scores_of(logits, targets), None, protocol) for logits in (first, other))
    found = swapped_differences(one, two, "mAP", protocol, 300, 0)
    np.testing.assert_allclose(swapped_differences(two, one, "mAP", protocol, 300, 0), -found, atol=1e-12)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(300)
    monkeypatch.setattr(swapping, "MOST_SWAPS", 70 * len(targets))
    assert swapped_differences(one, two, "mAP", protocol, 300, 0).std() == pytest.approx(found.std(), rel=0.3)


def test_few_images_show_every_swap_that_there_is() -> None:
    first, other, targets = example(4, 2, 1)
    protocol = protocol_of("default")
    rows = [judged(scores_of(logits, targets), None, protocol) for logits in (first, other)]
    found = np.unique(np.round(swapped_differences(*rows, "OF1", protocol, 400, 0), 9))
    slow = []
    for stay in product((True, False), repeat=4):
        ways = [np.where(np.array(stay)[:, None], *pair) for pair in ((first, other), (other, first))]
        value, baseline = (evaluate(scores_of(way, targets)).metrics["OF1"] or 0 for way in (ways[1], ways[0]))
        slow.append(value - baseline)
    np.testing.assert_allclose(found, np.unique(np.round(slow, 9)), atol=1e-8)
