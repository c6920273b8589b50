"""Protocols: named sets of the options by which programs in circulation compute their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from cotag.errors import LabelSpaceError, SettingError, suggestion
from cotag.types.labels import NOT_EVALUATED, LabelSpace

OPTIONS: dict[str, tuple[str, ...]] = {
    "average_precision": ("exact", "voc07", "voc_envelope"),
    "top_k_rule": ("score", "score_and_threshold"),
    "never_predicted": ("zero", "phantom"),
    "no_positives": ("skip", "zero", "error"),
    "unknown": ("skip", "negative"),
    "class_f1": ("harmonic", "mean"),
    "labels": ("all", "evaluated"),
}


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Which labels and cells count, and as what.

    Args:
        never_predicted: precision of a label that is never predicted: ``zero``, or ``phantom`` (as if predicted once,
            in the denominator of OP too).
        no_positives: a label without a known positive in CP, CR and macro_F1: ``skip``, ``zero`` or ``error``. The
            absent labels of mR@k count as 0 with ``zero`` and are left out otherwise.
        unknown: unknown targets in precision, recall, F1, Hamming loss, subset accuracy: ``skip`` (they then
            take no place among the k highest) or ``negative``.
        class_f1: CF1 is the ``harmonic`` mean of CP and CR, or the ``mean`` of the labels' own F1.
        labels: ``all``, or the ``evaluated`` ones: labels of the group ``not evaluated`` are left out of everything,
            and take no place among the k highest.
    """

    never_predicted: str = "zero"
    no_positives: str = "skip"
    unknown: str = "skip"
    class_f1: str = "harmonic"
    labels: str = "all"


@dataclass(frozen=True)
class Protocol(Counting):
    """How numbers are computed; every printed number carries the name. It counts as ``Counting`` says.

    Args:
        name: what is printed beside the numbers.
        average_precision: ``exact``, ``voc07`` (eleven points) or ``voc_envelope``; unknown targets never count in it,
            and a label without a known positive has none.
        top_k: labels are given to the k highest of an image instead of by a threshold; None for the threshold.
        top_k_rule: ``score`` (always k labels) or ``score_and_threshold`` (those of the k highest that are given).

    Raises:
        SettingError: a value that an option does not have.
    """

    name: str = "default"
    average_precision: str = "exact"
    top_k: int | None = None
    top_k_rule: str = "score"

    def __post_init__(self) -> None:
        for option, allowed in OPTIONS.items():
            value = getattr(self, option)
            if value not in allowed:
                raise SettingError(f"protocol {self.name}: {option} = {value!r}{suggestion(value, allowed)}")
        if self.top_k is not None and self.top_k < 1:
            raise SettingError(f"protocol {self.name}: top_k = {self.top_k}; give 1 or more, or none")

    def changed(self, **options: str | int | None) -> Protocol:
        """This protocol with other options, which its name then tells.

        Raises:
            SettingError: an unknown option or value.
        """
        if not options:
            return self
        known = [field.name for field in fields(self) if field.name != "name"]
        for option in options:
            if option not in known:
                raise SettingError(f"a protocol has no option {option!r}{suggestion(option, known)}")
        told = ", ".join(f"{option} = {value}" for option, value in options.items())
        return replace(self, name=f"{self.name} with {told}", **options)  # type: ignore[arg-type]

    def kept(self, label_space: LabelSpace) -> np.ndarray:
        """Which labels it judges; bool (K,).

        Raises:
            LabelSpaceError: none.
        """
        if self.labels == "all":
            return np.ones(len(label_space), dtype=bool)
        kept_K = label_space.evaluated
        if not kept_K.any():
            raise LabelSpaceError(f"protocol {self.name}: all labels are of the group {NOT_EVALUATED!r}; none is left")
        return kept_K

    def describe(self) -> str:
        """The name and all options in words."""
        absent = {"skip": "skipped", "zero": "count as 0", "error": "an error"}[self.no_positives]
        parts = [
            f"{self.average_precision} AP",
            f"labels without positives {absent}",
            "unknown targets skipped" if self.unknown == "skip" else "unknown targets negative except in AP",
            f"never predicted: {self.never_predicted}",
            f"top k by {self.top_k_rule.replace('_', ' ')}",
            "CF1 harmonic" if self.class_f1 == "harmonic" else "CF1 the mean of the labels' F1",
        ]
        if self.labels == "evaluated":
            parts.append("labels that are not evaluated left out")
        return f"{self.name} ({'; '.join(parts)})"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(),
        Protocol(
            "mlgcn",
            top_k_rule="score_and_threshold",
            never_predicted="phantom",
            no_positives="error",
            unknown="negative",
        ),
        Protocol(
            "mlgcn-top3",
            top_k=3,
            top_k_rule="score_and_threshold",
            never_predicted="phantom",
            no_positives="error",
            unknown="negative",
        ),
        Protocol("mmpretrain", no_positives="zero", class_f1="mean"),
        Protocol("psg", top_k=3, no_positives="zero", labels="evaluated"),
        Protocol("voc07", average_precision="voc07"),
    )
}


def protocol_of(protocol: str | Protocol) -> Protocol:
    """The protocol of a name; a Protocol is itself.

    Raises:
        SettingError: there is no such protocol.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise SettingError(f"protocol {protocol!r} is not known{suggestion(protocol, PROTOCOLS)}")
    return PROTOCOLS[protocol]


def parse_options(texts: Sequence[str]) -> dict[str, str | int | None]:
    """The options of ``key=value`` texts, for ``Protocol.changed``; ``top_k`` is a number or ``none``.

    Raises:
        SettingError: a text without an equals sign, or a ``top_k`` that is no number.
    """
    found: dict[str, str | int | None] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise SettingError(f"option {text!r}: expected key=value, such as average_precision=voc_envelope")
        found[key] = value
        if key == "top_k":
            if value != "none" and not value.isdecimal():
                raise SettingError(f"option {text!r}: top_k is a whole number or none")
            found[key] = None if value == "none" else int(value)
    return found
