"""What every experiment gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cotag.types.section import Section


@dataclass(frozen=True)
class Experiment:
    """An experiment's findings.

    Attributes:
        title: of its page.
        about: one line on what it was made from.
        sections: tables, figures and pictures; the first is read first.
    """

    title: str
    about: str
    sections: Sequence[Section]
