"""The exceptions of Cotag.

CotagError                  whatever Cotag raises on purpose; its message is one line
├── DataError               a label file, a folder or a row of them is wrong
│   ├── FormatError         a path's format is not known, or not what it was said to be
│   ├── ImageError          an image is missing, cannot be decoded or is refused
│   └── WorkerError         a process that decodes images died
├── LabelSpaceError         label names that are unknown, doubled, or of another label space
├── ScoresError             a scores file or a pair of CSV files is wrong
├── SettingError            an unknown or invalid setting, name or option
├── WeightsError            weights that do not fit the model that should take them
├── TrainingError           training cannot go on
│   ├── NonFiniteLoss       the loss became infinite or not a number
│   ├── ProcessLost         another process of this training is gone, or failed
│   └── ResumeError         a run cannot be continued from what its folder holds
├── StorageError            a file could not be written whole; nothing half-written remains
│   └── OutputExists        something is there already and ``--force`` was not given
└── MissingExtra            an optional part is not installed

CotagWarning                what a caller should hear of, without stopping
Terminated                  SIGTERM asked the process to end; no error, so no ``except Exception`` takes it for one
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class CotagError(Exception):
    """Base of all exceptions that Cotag raises on purpose."""


class DataError(CotagError):
    """A label file, a folder or a row of them is wrong."""


class FormatError(DataError):
    """A path's format is not known, or not what it was said to be."""


class ImageError(DataError):
    """An image is missing, cannot be decoded or is refused."""


class WorkerError(DataError):
    """A process that decodes images died."""


class LabelSpaceError(CotagError):
    """Label names that are unknown, doubled, or of another label space."""


class ScoresError(CotagError):
    """A scores file or a pair of CSV files is wrong."""


class SettingError(CotagError):
    """An unknown or invalid setting, name or option."""


class WeightsError(CotagError):
    """Weights that do not fit the model that should take them."""


class TrainingError(CotagError):
    """Training cannot go on."""


class NonFiniteLoss(TrainingError):
    """The loss became infinite or not a number."""


class ProcessLost(TrainingError):
    """Another process of this training is gone, or failed."""


class ResumeError(TrainingError):
    """A run cannot be continued from what its folder holds."""


class StorageError(CotagError):
    """A file could not be written whole; nothing half-written remains."""


class OutputExists(StorageError):
    """Something is there already and ``--force`` was not given."""


class MissingExtra(CotagError):
    """An optional part is not installed."""


class CotagWarning(UserWarning):
    """What a caller should hear of, without stopping."""


class Terminated(SystemExit):
    """SIGTERM asked the process to end; uncaught it ends with the exit code that a shell gives to that, 143."""

    def __init__(self) -> None:
        super().__init__(128 + int(signal.SIGTERM))


def suggestion(name: object, allowed: Iterable[object]) -> str:
    """The end of a message about an unknown name: the nearest allowed one, or the allowed ones.

    >>> suggestion("lineer", ["gcn", "linear"])
    '; did you mean linear?'
    """
    names = [str(item) for item in allowed]
    lower = {item.lower(): item for item in names}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {lower[near[0]]}?"
    shown = ", ".join(names[:12])
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"; allowed: {shown}{more}" if names else ""


def listing(items: Iterable[object], most: int = 5) -> str:
    """The first few items and how many more there are, for a one-line message."""
    names = [str(item) for item in items]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
