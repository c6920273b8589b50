"""Pictures: the best, the worst and the most confidently wrong."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

import numpy as np

from cotag.errors import listing
from cotag.types.scores import Scores
from cotag.types.section import Section

MOST_PICTURES = 15
MOST_BYTES = 60_000
"""The most bytes of a thumbnail; a larger one is left out."""

MOST_MISSING = 1000
"""After so many images without a picture no more are looked for."""

Thumbnail = Callable[[str], bytes | None]


def cell_losses(scores: Scores) -> np.ndarray:
    """Minus the logarithm of the probability of what is true; float64 (N, K), 0 where that is unknown."""
    score_NK = scores.scores_NK.astype(np.float64)
    if scores.kind == "logit":
        loss_NK = np.logaddexp(0, np.where(scores.targets_NK == 1, -score_NK, score_NK))
    else:
        true_NK = np.where(scores.targets_NK == 1, score_NK, 1 - score_NK)
        loss_NK = -np.log(np.maximum(true_NK, np.finfo(np.float64).tiny))
    return np.where(scores.targets_NK >= 0, loss_NK, 0.0)


def image_f1(targets_NK: np.ndarray, given_NK: np.ndarray) -> np.ndarray:
    """F1 of each image's labels; float64 (N,), NaN where it neither has nor was given any known label."""
    present_NK = targets_NK == 1
    given_NK = given_NK & (targets_NK >= 0)
    total = present_NK.sum(1) + given_NK.sum(1)
    return np.divide(2 * (present_NK & given_NK).sum(1), total, out=np.full(len(total), np.nan), where=total > 0)


def best_images(scores: Scores, given_NK: np.ndarray) -> Iterable[int]:
    """Rows by F1 of the image, the highest first; of equal ones first those with most labels, then least loss."""
    f1_N = image_f1(scores.targets_NK, given_NK)
    order = np.lexsort((cell_losses(scores).sum(1), -(scores.targets_NK == 1).sum(1), -f1_N))
    return (int(row) for row in order if f1_N[row] > 0)


def worst_images(scores: Scores, given_NK: np.ndarray) -> Iterable[int]:
    """Rows by F1 of the image, the lowest first and under 1; of equal ones first those with most loss."""
    f1_N = image_f1(scores.targets_NK, given_NK)
    order = np.lexsort((-cell_losses(scores).sum(1), f1_N))
    return (int(row) for row in order if f1_N[row] < 1)


def confidently_wrong(scores: Scores, given_NK: np.ndarray) -> Iterable[tuple[int, int]]:
    """(row, label) of each image's wrong label with the largest loss, the most confident first."""
    wrong_NK = (given_NK != (scores.targets_NK == 1)) & (scores.targets_NK >= 0)
    loss_NK = np.where(wrong_NK, cell_losses(scores), -1.0)
    label_N = loss_NK.argmax(1)
    loss_N = loss_NK.max(1)
    order = np.argsort(-loss_N, kind="stable")
    return ((int(row), int(label_N[row])) for row in order if loss_N[row] >= 0)


def gallery_sections(
    scores: Scores, given_NK: np.ndarray, thumbnail: Thumbnail, most: int = MOST_PICTURES
) -> list[Section]:
    """The best, the worst and the most confidently wrong pictures.

    Args:
        scores: of N images and K labels, with targets.
        given_NK: bool; the labels given by the decision.
        thumbnail: a small JPEG of the image with an id, or None where there is none.
        most: pictures in each section.
    """
    best = ((row, None) for row in best_images(scores, given_NK))
    worst = ((row, None) for row in worst_images(scores, given_NK))
    wrong = confidently_wrong(scores, given_NK)
    by_f1 = "F1 of each picture's labels"
    told = (
        ("Best pictures", f"The highest {by_f1}; of equal ones, those with most labels.", best),
        ("Worst pictures", f"The lowest {by_f1}; of equal ones, those with the largest loss.", worst),
        ("Confidently wrong", "The surest wrong label of each picture. Some of them may be errors of the data.", wrong),
    )
    return [_section(title, text, cells, scores, given_NK, thumbnail, most) for title, text, cells in told]


def _section(
    title: str,
    text: str,
    cells: Iterable[tuple[int, int | None]],
    scores: Scores,
    given_NK: np.ndarray,
    thumbnail: Thumbnail,
    most: int,
) -> Section:
    pictures: list[dict[str, str]] = []
    without = 0
    for row, label in cells:
        if len(pictures) == most or without == MOST_MISSING:
            break
        found = thumbnail(scores.ids[row])
        if found is None or len(found) > MOST_BYTES:
            without += 1
            continue
        pictures.append(_picture(scores, given_NK[row], row, label, found))
    if without:
        text += f" Left out, since there is no picture: {without}."
    if not pictures:
        text += "\n\nNone."
    return Section(title, text, pictures=pictures)


def _picture(scores: Scores, given_K: np.ndarray, row: int, label: int | None, jpeg: bytes) -> dict[str, str]:
    target_K = scores.targets_NK[row]
    right = given_K & (target_K == 1)
    wrong = given_K & (target_K == 0)
    missed = ~given_K & (target_K == 1)
    said = [
        f"{word}: {_labels(scores, row, which)}"
        for word, which in (("right", right), ("wrong", wrong), ("missed", missed))
        if which.any()
    ]
    if label is not None:
        name, probability = scores.label_space.names[label], _probability(scores, row, label)
        truth = "present" if target_K[label] == 1 else "absent"
        said.insert(0, f"{_short(name)} is {truth}, at {probability:.3g}")
    true, given = _names(scores, target_K == 1), _names(scores, given_K)
    return {
        "image": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"),
        "alt": f"{_short(scores.ids[row], 60)}. True: {true}. Given: {given}.",
        "caption": "\n".join([_short(scores.ids[row], 60), *said]),
    }


def _labels(scores: Scores, row: int, which_K: np.ndarray) -> str:
    """Names with probabilities, the highest first."""
    labels = np.flatnonzero(which_K)
    labels = labels[np.argsort(-scores.scores_NK[row, labels], kind="stable")]
    return listing(
        f"{_short(scores.label_space.names[int(k)])} {_probability(scores, row, int(k)):.2f}" for k in labels
    )


def _names(scores: Scores, which_K: np.ndarray) -> str:
    names = scores.label_space.names
    return listing((_short(names[int(k)]) for k in np.flatnonzero(which_K)), 8) or "none"


def _probability(scores: Scores, row: int, label: int) -> float:
    score = float(scores.scores_NK[row, label])
    return score if scores.kind == "probability" else float(np.exp(-np.logaddexp(0, -score)))


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else "…" + text[1 - most :]
