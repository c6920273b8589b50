"""The gallery: which pictures, in which order, with which words, and how many bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from cotag.evaluation.decision import Decision
from cotag.evaluation.report import render
from cotag.evaluation.sections.gallery import (
    MOST_BYTES,
    MOST_MISSING,
    MOST_PICTURES,
    best_images,
    cell_losses,
    confidently_wrong,
    gallery_sections,
    image_f1,
    worst_images,
)
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores
from cotag.types.section import Section

JPEG = b"\xff\xd8\xff jpeg"


def hand_worked() -> Scores:
    """Five pictures of three labels: right, right with two labels, one wrong, one missed, and nothing to find."""
    targets_NK = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]], dtype=np.int8)
    scores_NK = np.array(
        [[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [0.95, 0.2, 0.1], [0.9, 0.2, 0.4], [0.3, 0.1, 0.1]], dtype=np.float32
    )
    names = LabelSpace(("cat", "dog", "bird"))
    return Scores(["right", "both", "wrong", "missed", "empty"], scores_NK, targets_NK, "probability", names)


def noisy(images: int = 200, kind: str = "logit") -> Scores:
    random = np.random.default_rng(0)
    targets_NK = random.integers(-1, 2, (images, 6)).astype(np.int8)
    logits_NK = (random.normal(size=(images, 6)) * 2 + targets_NK).astype(np.float32)
    scores_NK = logits_NK if kind == "logit" else (1 / (1 + np.exp(-logits_NK))).astype(np.float32)
    return Scores([f"{n}.jpg" for n in range(images)], scores_NK, targets_NK, kind, LabelSpace(tuple("abcdef")))


def given(scores: Scores) -> np.ndarray:
    return Decision().apply(scores)


def test_pictures_are_ranked_as_by_hand() -> None:
    scores = hand_worked()
    np.testing.assert_allclose(image_f1(scores.targets_NK, given(scores)), [1, 1, 0, 2 / 3, np.nan])
    assert list(best_images(scores, given(scores))) == [1, 0, 3]
    assert list(worst_images(scores, given(scores))) == [2, 3]
    assert list(confidently_wrong(scores, given(scores))) == [(2, 0), (3, 2)]


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_losses_and_ranks_are_those_of_plain_loops(kind: str) -> None:
    scores = noisy(kind=kind)
    losses, given_NK = cell_losses(scores), given(scores)
    f1, wrong = {}, {}
    for n in range(len(scores)):
        hits = total = 0
        for k in range(6):
            target, p = scores.targets_NK[n, k], float(scores.probabilities()[n, k])
            loss = 0.0 if target < 0 else -math.log(p if target else 1 - p)
            assert losses[n, k] == pytest.approx(loss, abs=1e-4)
            if target >= 0:
                hits += 2 * bool(given_NK[n, k] and target)
                total += int(given_NK[n, k]) + int(target)
                if given_NK[n, k] != target:
                    wrong[n] = max(wrong.get(n, 0.0), losses[n, k])
        if total:
            f1[n] = hits / total
    best, worst = list(best_images(scores, given_NK)), list(worst_images(scores, given_NK))
    assert sorted(best) == [n for n in f1 if f1[n] > 0]
    assert [f1[n] for n in best] == sorted((f1[n] for n in best), reverse=True)
    assert sorted(worst) == [n for n in f1 if f1[n] < 1]
    assert [f1[n] for n in worst] == sorted(f1[n] for n in worst)
    sure = list(confidently_wrong(scores, given_NK))
    assert sorted(n for n, _ in sure) == sorted(wrong)
    assert [losses[cell] for cell in sure] == sorted(wrong.values(), reverse=True)


def test_certain_probabilities_have_a_finite_loss() -> None:
    scores = Scores(
        ["a"], np.array([[0.0, 1.0]], np.float32), np.array([[1, 0]], np.int8), "probability", LabelSpace(("x", "y"))
    )
    assert np.isfinite(cell_losses(scores)).all()


def test_a_picture_says_what_is_true_and_what_was_given() -> None:
    best, worst, wrong = gallery_sections(hand_worked(), given(hand_worked()), lambda _: JPEG)
    assert [section.title for section in (best, worst, wrong)] == [
        "Best pictures",
        "Worst pictures",
        "Confidently wrong",
    ]
    picture = worst.pictures[0]
    assert picture["alt"] == "wrong. True: dog. Given: cat."
    assert picture["caption"].split("\n") == ["wrong", "wrong: cat 0.95", "missed: dog 0.20"]
    assert base64.b64decode(picture["image"].removeprefix("data:image/jpeg;base64,")) == JPEG
    assert best.pictures[0]["caption"].split("\n") == ["both", "right: cat 0.80, dog 0.70"]
    assert [picture["caption"].split("\n")[1] for picture in wrong.pictures] == [
        "cat is absent, at 0.95",
        "bird is present, at 0.4",
    ]


def test_unknown_labels_are_neither_right_nor_wrong() -> None:
    scores = noisy()
    unknown = Scores(scores.ids, scores.scores_NK, np.full_like(scores.targets_NK, -1), "logit", scores.label_space)
    for section in gallery_sections(unknown, given(unknown), lambda _: JPEG):
        assert not section.pictures
        assert section.text.endswith("None.")


def test_a_label_that_is_given_and_unknown_is_not_called_wrong() -> None:
    base = hand_worked()
    targets_NK = base.targets_NK.copy()
    targets_NK[1, 1] = -1
    scores = Scores(base.ids, base.scores_NK, targets_NK, base.kind, base.label_space)
    captions = [picture["caption"] for picture in gallery_sections(scores, given(scores), lambda _: JPEG)[0].pictures]
    assert "both\nright: cat 0.80" in captions


@pytest.mark.parametrize("most", [1, 7, MOST_PICTURES])
def test_the_number_of_pictures_is_bounded(most: int) -> None:
    sections = gallery_sections(noisy(), given(noisy()), lambda _: JPEG, most)
    assert [len(section.pictures) for section in sections] == [most] * 3
    assert 3 * MOST_PICTURES * MOST_BYTES * 4 / 3 < 5_000_000


@pytest.mark.parametrize("missing", [lambda _: None, lambda _: b"x" * (MOST_BYTES + 1)], ids=["none", "too large"])
def test_pictures_that_are_not_there_are_counted(missing: Callable[[str], bytes | None]) -> None:
    scores = noisy()
    first = next(iter(worst_images(scores, given(scores))))

    def thumbnail(name: str) -> bytes | None:
        return missing(name) if name == scores.ids[first] else JPEG

    worst = gallery_sections(scores, given(scores), thumbnail)[1]
    assert len(worst.pictures) == MOST_PICTURES
    assert "there is no picture: 1." in worst.text
    assert not any(picture["alt"].startswith(f"{scores.ids[first]}.") for picture in worst.pictures)


def test_the_search_for_pictures_ends() -> None:
    asked: list[str] = []

    def thumbnail(name: str) -> None:
        asked.append(name)

    scores = noisy(3 * MOST_MISSING)
    gallery_sections(scores, given(scores), thumbnail)
    assert len(asked) == 3 * MOST_MISSING


def test_a_page_shows_the_pictures_and_what_they_say() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    names = LabelSpace(('"><script>alert(1)</script>', "b", "c"))
    base = hand_worked()
    scores = Scores(['" onerror="alert(2)', *base.ids[1:]], base.scores_NK, base.targets_NK, base.kind, names)
    text = render(gallery_sections(scores, given(scores), lambda _: stream.getvalue()), "Gallery")
    assert "<script>alert" not in text
    assert '" onerror="' not in text
    assert text.count('<img src="data:image/jpeg;base64,') == 7
    assert text.count(' alt="') == 7


def test_only_pictures_that_lie_in_the_page_are_taken() -> None:
    section = Section("A", pictures=[{"image": "javascript:alert(1)", "alt": "", "caption": ""}])
    with pytest.raises(ValueError, match="data URI"):
        render([section], "T")
