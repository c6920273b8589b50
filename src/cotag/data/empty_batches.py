"""A batch of which no picture can be read, where other processes wait for its gradient."""

from __future__ import annotations

from collections.abc import Sequence

from cotag.errors import ImageError


def require_alone(processes: int, failures: Sequence[tuple[int, str]]) -> bool:
    """True where a whole batch may be left out, as this process is the only one.

    Args:
        processes: that take a step together.
        failures: rows that cannot be read, with the reason of each.

    Raises:
        ImageError: there are several; the others would wait for ever.
    """
    if processes > 1:
        raise ImageError(
            f"none of the {len(failures)} images of a batch can be read, and the other processes wait for its "
            f"gradient; the first: {failures[0][1]}; take them out, set data.bad_images=substitute or a larger "
            "train.batch_size"
        )
    return True
