"""The labels that images are given under a protocol."""

from __future__ import annotations

import numpy as np

from cotag.evaluation.decision import Decision
from cotag.evaluation.protocols import Protocol
from cotag.evaluation.ranking import lower_unknown, top_labels
from cotag.types.scores import Scores


def given_labels(scores: Scores, decision: Decision | None, protocol: Protocol) -> np.ndarray:
    """Which labels are given; bool (N, K).

    Args:
        decision: where not given, the protocol's k highest, or a probability of at least 0.5. A protocol that takes
            those of the k highest that are over the threshold asks the decision for the latter.
    """
    if decision is None and _top_alone(protocol):
        return highest_labels(scores, None, protocol)
    given_NK = (decision or Decision()).apply(scores)
    if protocol.top_k is not None and not _top_alone(protocol):
        given_NK &= highest_labels(scores, decision, protocol)
    return given_NK


def highest_labels(scores: Scores, decision: Decision | None, protocol: Protocol, k: int | None = None) -> np.ndarray:
    """The k highest labels of each image among those that the protocol judges; bool (N, K).

    Args:
        decision: whose order of the labels counts, where it has one of its own (offsets, multipliers).
        k: the protocol's where not given.
    """
    ranked_NK, kept_K = order_of(scores, decision), protocol.kept(scores.label_space)
    if protocol.unknown == "skip":
        ranked_NK = lower_unknown(ranked_NK, scores.targets_NK)
    columns = np.flatnonzero(kept_K)
    k = k or protocol.top_k
    assert k is not None
    found_NK = np.zeros(ranked_NK.shape, dtype=bool)
    places = top_labels(ranked_NK if kept_K.all() else ranked_NK[:, columns], k)
    np.put_along_axis(found_NK, columns[places], True, axis=1)
    return found_NK


def order_of(scores: Scores, decision: Decision | None) -> np.ndarray:
    """What the labels of an image are ranked by; finite, (N, K)."""
    return scores.scores_NK if decision is None else decision.order(scores)


def describe_given(decision: Decision | None, protocol: Protocol) -> str:
    """The same in words."""
    if decision is None and _top_alone(protocol):
        return f"a label is given among the {protocol.top_k} highest"
    words = (decision or Decision()).describe()
    if protocol.top_k is not None and not _top_alone(protocol):
        return f"of the {protocol.top_k} highest of an image, {words}"
    return words


def label_thresholds(decision: Decision | None, protocol: Protocol, names: tuple[str, ...]) -> list[float | None]:
    """The probability from which on each label is given; None where its rank alone decides."""
    if decision is None and _top_alone(protocol):
        return [None] * len(names)
    rule = (decision or Decision()).to_json()
    logits = rule.get("logit_thresholds")
    if logits is not None:
        return [float(1 / (1 + np.exp(-logits[name]))) for name in names]
    return [rule.get("threshold")] * len(names)


def _top_alone(protocol: Protocol) -> bool:
    return protocol.top_k is not None and protocol.top_k_rule == "score"
