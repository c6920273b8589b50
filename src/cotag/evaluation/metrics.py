"""Every metric of scores, by a named protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cotag.errors import ScoresError
from cotag.evaluation.average_precision import average_precisions as average_precisions
from cotag.evaluation.decision import Decision
from cotag.evaluation.given import describe_given, given_labels, label_thresholds, order_of
from cotag.evaluation.judging import Report as Report
from cotag.evaluation.judging import Subject, judge
from cotag.evaluation.precision_recall import precision_recall_f1 as precision_recall_f1
from cotag.evaluation.protocols import Protocol, protocol_of
from cotag.evaluation.targets import DenseTargets, SparseTargets
from cotag.types.frequency import Borders, Groups, group_labels
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
            latter. Where it ranks labels in an order of its own (offsets, multipliers), that is the order of the k
            highest.
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
    kept_K = protocol.kept(scores.label_space)
    part = scores.of_labels(kept_K)
    given_NK, order_NK = (
        of(scores) if kept_K.all() else of(scores)[:, kept_K]
        for of in (lambda given: given_labels(given, decision, protocol), lambda given: order_of(given, decision))
    )
    return judge(
        Subject(
            part.scores_NK,
            DenseTargets(part.targets_NK),
            part.kind,
            part.label_space,
            lambda first, last: order_NK[first:last],
        ),
        lambda first, last: given_NK[first:last],
        protocol,
        _groups(train_counts, groups, kept_K),
        _thresholds(decision, protocol, scores.label_space, kept_K),
        describe_given(decision, protocol),
        k,
    )


def _groups(
    train_counts: Sequence[int] | np.ndarray | None, borders: Borders | None, kept_K: np.ndarray
) -> Groups | None:
    if train_counts is None or len(train_counts) != len(kept_K):
        return group_labels(train_counts, borders, len(kept_K))
    return group_labels(np.asarray(train_counts)[kept_K], borders)


def _thresholds(
    decision: Decision | None, protocol: Protocol, space: LabelSpace, kept_K: np.ndarray
) -> list[float | None]:
    found = label_thresholds(decision, protocol, space.names)
    return [threshold for threshold, kept in zip(found, kept_K, strict=True) if kept]


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
    read in parts, and their pages given back. (A protocol that leaves labels out copies the others.)

    Args:
        scores_NK: float32 or float64, finite.
        targets: of the same N images and K labels.
        kind: ``logit`` or ``probability``; declared, never guessed.

    Raises:
        ScoresError: besides, shapes that differ, or scores that are not finite or of half precision.
    """
    protocol = protocol_of(protocol)
    _require_images(len(scores_NK))
    kept_K = protocol.kept(label_space)

    def part(first: int, last: int) -> Scores:
        ids = [str(row) for row in range(first, last)]
        return Scores(ids, scores_NK[first:last], targets.rows(first, last), kind, label_space)

    def given(first: int, last: int) -> np.ndarray:
        found_NK = given_labels(part(first, last), decision, protocol)
        return found_NK if kept_K.all() else found_NK[:, kept_K]

    def order(first: int, last: int) -> np.ndarray:
        found_NK = order_of(part(first, last), decision)
        return found_NK if kept_K.all() else found_NK[:, kept_K]

    subject = Subject(scores_NK, targets, kind, label_space, order if decision is not None else None)
    if not kept_K.all():
        some = label_space.take(np.flatnonzero(kept_K))
        subject = Subject(scores_NK[:, kept_K], targets.of_labels(kept_K), kind, some, subject.order)
    return judge(
        subject,
        given,
        protocol,
        _groups(train_counts, groups, kept_K),
        _thresholds(decision, protocol, label_space, kept_K),
        describe_given(decision, protocol),
        k,
    )


def _require_images(count: int) -> None:
    if not count:
        raise ScoresError("the scores hold no image, so there is nothing to judge; give scores of some images")
