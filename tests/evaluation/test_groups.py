from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cotag.errors import SettingError
from cotag.evaluation.groups import group_labels, parse_borders
from cotag.evaluation.metrics import evaluate
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
