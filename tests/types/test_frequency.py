from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cotag.errors import SettingError
from cotag.evaluation.metrics import evaluate
from cotag.types.frequency import (
    group_labels,
    infrequent_labels,
    parse_borders,
    require_infrequent,
    tell_infrequent,
)
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def groups_of(counts: list[int], borders: Any = None) -> tuple[str, ...]:
    found = group_labels(counts, borders)
    assert found is not None
    return found.group_K


def test_borders_belong_to_the_middle() -> None:
    assert groups_of([101, 100, 20, 19]) == ("head", "middle", "middle", "tail")
    assert groups_of([101, 100, 20, 19], (19, 19)) == ("head", "head", "head", "middle")


def test_terciles() -> None:
    assert groups_of([1, 9, 2, 8, 5, 6], "terciles") == ("tail", "head", "tail", "head", "middle", "middle")
    # Equal counts are never torn apart.
    assert groups_of([4, 4, 4, 4], "terciles") == ("tail",) * 4


def test_mean_of_each_group() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((50, 4)) < 0.4).astype(np.int8)
    space = LabelSpace(tuple("abcd"))
    scores = Scores([str(n) for n in range(50)], random.normal(size=(50, 4)), targets, "logit", space)
    report = evaluate(scores, train_counts=[500, 300, 5, 1])
    ap = [label["AP"] for label in report.labels]
    assert report.metrics["mAP_head"] == pytest.approx((ap[0] + ap[1]) / 2)
    assert report.metrics["mAP_tail"] == pytest.approx((ap[2] + ap[3]) / 2)
    assert report.metrics["mAP_middle"] is None
    assert [label["group"] for label in report.labels] == ["head", "head", "tail", "tail"]
    assert "groups by training images: head above 100, tail under 20" in report.protocol
    assert "mAP_head" not in evaluate(scores).metrics


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 2], "thirds"), "groups = 'thirds'; give terciles"),
        (([1, 2], (20, 100)), "the upper border, then the lower"),
        ((None, (100, 20)), "must be given too"),
        (([1, 2], None, 3), "2 given for 3 labels"),
    ],
)
def test_what_is_refused(arguments: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        group_labels(*arguments)


def test_borders_as_text() -> None:
    assert parse_borders("100, 20") == (100, 20)
    assert parse_borders("terciles") == "terciles"
    assert parse_borders(None) is None
    with pytest.raises(SettingError, match="groups = '5'"):
        parse_borders("5")


# Infrequent labels


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("tail", [False, False, True, True, True]),
        ("half", [False, False, False, True, True]),
        ("below:20", [False, False, True, True, True]),
        ("below:21", [False, True, True, True, True]),
        ("below:1", [False, False, False, False, True]),
        ("share:0.2", [False, False, True, True, True]),
        ("share:0.21", [False, True, True, True, True]),
        ("rarest:1", [False, False, False, False, True]),
        ("rarest:3", [False, False, True, True, True]),
    ],
)
def test_infrequent_labels(rule: str, wanted: list[bool]) -> None:
    assert infrequent_labels([100, 20, 19, 3, 0], rule).tolist() == wanted


def test_the_tail_is_that_of_the_groups() -> None:
    counts = np.random.default_rng(0).integers(0, 200, 300)
    found = group_labels(counts)
    assert found is not None
    assert np.array_equal(infrequent_labels(counts), found.members("tail"))


def test_of_equally_frequent_labels_the_first_ones_are_taken() -> None:
    assert infrequent_labels([4, 4, 4, 4], "half").tolist() == [True, True, False, False]
    assert infrequent_labels([4, 4, 4, 4], "share:0.9").tolist() == [False] * 4


def test_labels_without_images_are_infrequent_by_every_rule() -> None:
    for rule in ("tail", "below:1", "share:0.01", "rarest:1", "half"):
        assert infrequent_labels([0, 30], rule)[0]
    assert infrequent_labels([0, 0], "share:0.5").all()
    assert "; 2 of them have no image" in tell_infrequent([0, 0, 5], "tail")


def test_the_rule_in_words() -> None:
    said = tell_infrequent([100, 20, 19, 3], "share:0.2")
    assert said == "infrequent (share:0.2: fewer than 20 images, 0.2 of the most frequent label's): 2 of 4 labels"
    assert tell_infrequent([100, 2], "rarest:1").startswith("infrequent (rarest:1: the 1 with the fewest images): 1 of")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("tial", "infrequent = 'tial' is not a rule; did you mean tail"),
        ("below", "infrequent = 'below' is not a rule; did you mean below:N"),
        ("belo:3", "is not a rule; did you mean below:N"),
        ("below:x", "must be a whole one from 1, such as below:10"),
        ("below:0", "must be a whole one from 1"),
        ("below:1.5", "must be a whole one from 1"),
        ("below:inf", "must be a whole one from 1"),
        ("share:1", "above 0 and under 1, such as share:0.1"),
        ("share:nan", "above 0 and under 1"),
        ("rarest:2", "there are 2 labels in all; give fewer"),
    ],
)
def test_rules_that_are_refused(rule: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        infrequent_labels([5, 6], rule)


def test_no_infrequent_label_is_told_with_what_to_set() -> None:
    with pytest.raises(SettingError, match=r"each has 25 images or more\); set balance.infrequent=half, or below:N"):
        require_infrequent([25, 60], "tail")
    assert require_infrequent([25, 60], "half").tolist() == [True, False]
