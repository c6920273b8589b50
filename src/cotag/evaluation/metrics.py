"""Every metric of scores, by a named protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cotag.errors import ScoresError
from cotag.evaluation.average_precision import average_precisions as average_precisions
from cotag.evaluation.decision import Decision
from cotag.evaluation.given import describe_given, given_labels, label_thresholds
from cotag.evaluation.judging import Report as Report
from cotag.evaluation.judging import Subject, judge
from cotag.evaluation.precision_recall import precision_recall_f1 as precision_recall_f1
from cotag.evaluation.protocols import Protocol, protocol_of
from cotag.evaluation.targets import DenseTargets, SparseTargets
from cotag.types.frequency import Borders, group_labels
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores


def evaluate(
    scores: Scores,
    decision: Decision | None = None,
    protocol: str | Protocol = "default",
    groups: Borders | None = None,
    train_counts: Sequence[int] | np.ndarray | None = None,
    k: int | None = None,
) -> Report:
    """Judge scores by a protocol.

    Args:
        scores: of N images and K labels, with targets.
        decision: how scores become labels; where not given, the protocol's k highest, or a probability of at least
            0.5. A protocol that takes those of the k highest that are over the threshold asks the decision for the
            latter.
        protocol: ``default``, ``mlgcn``, ``mlgcn-top3``, ``mmpretrain``, ``psg``, ``voc07``, or a Protocol.
        groups: borders between head, middle and tail, (100, 20) where not given, or ``terciles``.
        train_counts: how many images trained each label; without them there are no groups.
        k: of the numbers ``CP@k``, ``mR@k`` and so on; the protocol's, or 3.

    Raises:
        SettingError: an unknown protocol or group, groups without counts, or a k that is not the protocol's.
        ScoresError: no image, or a label without positives, where the protocol makes that an error.
    """
    protocol = protocol_of(protocol)
    _require_images(len(scores))
    given_NK = given_labels(scores, decision, protocol)
    names = scores.label_space.names
    return judge(
        Subject(scores.scores_NK, DenseTargets(scores.targets_NK), scores.kind, scores.label_space),
        lambda first, last: given_NK[first:last],
        protocol,
        group_labels(train_counts, groups, len(names)),
        label_thresholds(decision, protocol, names),
        describe_given(decision, protocol),
        k,
    )


def evaluate_sparse(
    scores_NK: np.ndarray,
    targets: SparseTargets,
    label_space: LabelSpace,
    kind: str,
    decision: Decision | None = None,
    protocol: str | Protocol = "default",
    groups: Borders | None = None,
    train_counts: Sequence[int] | np.ndarray | None = None,
    k: int | None = None,
) -> Report:
    """Judge the scores of thousands of labels, whose targets are lists; else like ``evaluate``.

    Beside the scores it holds at most 1 GB. Scores that are memory-mapped (``numpy.load(path, mmap_mode="r")``) are
    read in parts, and their pages given back.

    Args:
        scores_NK: float32 or float64, finite.
        targets: of the same N images and K labels.
        kind: ``logit`` or ``probability``; declared, never guessed.

    Raises:
        ScoresError: besides, shapes that differ, or scores that are not finite or of half precision.
    """
    protocol = protocol_of(protocol)
    _require_images(len(scores_NK))

    def given(first: int, last: int) -> np.ndarray:
        ids = [str(row) for row in range(first, last)]
        part = Scores(ids, scores_NK[first:last], targets.rows(first, last), kind, label_space)
        return given_labels(part, decision, protocol)

    return judge(
        Subject(scores_NK, targets, kind, label_space),
        given,
        protocol,
        group_labels(train_counts, groups, len(label_space)),
        label_thresholds(decision, protocol, label_space.names),
        describe_given(decision, protocol),
        k,
    )


def _require_images(count: int) -> None:
    if not count:
        raise ScoresError("the scores hold no image, so there is nothing to judge; give scores of some images")
