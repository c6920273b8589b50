"""The sections of a report against slow, plain loops, and on scores that have little to say."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.evaluation.decision import Decision
from cotag.evaluation.metrics import average_precisions, evaluate
from cotag.evaluation.report import render, write_report
from cotag.evaluation.sections.assembly import score_sections
from cotag.evaluation.sections.calibration import calibration_section, reliability
from cotag.evaluation.sections.confusion import confusion, confusion_section, lower_bound
from cotag.evaluation.sections.learning import learning_section
from cotag.evaluation.sections.precision_recall import (
    MOST_CURVES,
    MOST_POINTS,
    corners,
    precision_recall_curve,
    precision_recall_section,
)
from cotag.evaluation.sections.summary import CHANCE, count_section, headline, label_section, summary_section
from cotag.evaluation.sections.thresholds import threshold_curves, threshold_section
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores
from cotag.types.section import Section


def make(images: int = 60, labels: int = 5, kind: str = "logit", seed: int = 0, unknown: float = 0.1) -> Scores:
    """Scores with ties and unknown targets that say something of the labels."""
    random = np.random.default_rng(seed)
    targets_NK = (random.random((images, labels)) < np.linspace(0.15, 0.5, labels)).astype(np.int8)
    logits_NK = (np.round(2 * random.normal(size=(images, labels)) + 2 * targets_NK) / 2 - 1).astype(np.float32)
    targets_NK[random.random((images, labels)) < unknown] = -1
    scores_NK = logits_NK if kind == "logit" else (1 / (1 + np.exp(-logits_NK))).astype(np.float32)
    names = tuple(f"label {k}" for k in range(labels))
    return Scores([f"{n}.jpg" for n in range(images)], scores_NK, targets_NK, kind, LabelSpace(names))


KINDS = pytest.mark.parametrize("kind", ["logit", "probability"])


# Precision over recall


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_is_what_counting_at_each_score_gives(seed: int) -> None:
    scores = make(seed=seed)
    for k in range(5):
        score, target = scores.scores_NK[:, k], scores.targets_NK[:, k]
        curve = precision_recall_curve(score, target)
        assert curve is not None
        expected = []
        for limit in sorted({float(s) for s, t in zip(score, target, strict=True) if t >= 0}, reverse=True):
            given = [t for s, t in zip(score, target, strict=True) if t >= 0 and s >= limit]
            expected.append((given.count(1) / (target == 1).sum(), given.count(1) / len(given), limit))
        last = next(place for place, point in enumerate(expected) if point[0] == 1)
        np.testing.assert_allclose(np.transpose(curve), expected[: last + 1], atol=1e-12)
        area = np.sum(np.diff(curve.recall, prepend=0) * curve.precision)
        assert area == pytest.approx(average_precisions(scores.scores_NK, scores.targets_NK)[k], abs=1e-12)


def test_there_is_no_curve_without_a_known_positive() -> None:
    assert precision_recall_curve(np.array([1.0, 2.0]), np.array([0, -1])) is None
    empty = make(labels=2)
    empty = Scores(empty.ids, empty.scores_NK, np.minimum(empty.targets_NK, 0), "logit", empty.label_space)
    assert precision_recall_section(empty, [None, None]).figure is None


def test_corners_stay_and_straight_parts_go() -> None:
    x = np.concatenate([np.linspace(0, 1, 500), np.full(500, 1.0)])
    y = np.concatenate([np.full(500, 1.0), np.linspace(1, 0, 500)])
    y[250] = 0.5
    kept = corners(x, y, 200)
    assert {0, 249, 250, 251, 999} <= set(kept)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert len(kept) <= 7
    few = corners(x, y, 4)
    assert len(few) == 4
    assert {0, 999} <= set(few)
    assert corners(x[:3], y[:3], 200).tolist() == [0, 1, 2]


def test_a_thinned_curve_stays_near_the_whole_one() -> None:
    scores = make(images=20_000, labels=1, unknown=0)
    noisy = scores.scores_NK[:, 0] + np.random.default_rng(1).normal(size=20_000) / 10
    curve = precision_recall_curve(noisy, scores.targets_NK[:, 0])
    assert curve is not None
    kept = corners(curve.recall, curve.precision, MOST_POINTS)
    assert len(kept) == MOST_POINTS < len(curve.recall) / 10
    between = np.interp(curve.recall, curve.recall[kept], curve.precision[kept])
    assert np.abs(between - curve.precision)[200:].max() < 0.02


@KINDS
def test_few_curves_are_drawn_and_many_can_be_chosen(kind: str) -> None:
    scores = make(300, 90, kind, unknown=0)
    scores.targets_NK[:, 7] = 0
    aps = [label["AP"] for label in evaluate(scores).labels]
    section = precision_recall_section(scores, aps)
    assert section.figure is not None
    lines = section.figure["data"]
    assert len(lines) == MOST_CURVES + 1
    assert [line["visible"] for line in lines] == [True] * 4 + [False] * (MOST_CURVES - 3)
    assert all(len(line["x"]) <= MOST_POINTS for line in lines)
    assert all(0 <= value <= 1 for line in lines for value in line["customdata"])
    assert "Of 89 labels with positives the 80 most frequent" in section.text
    counts = (scores.targets_NK == 1).sum(0)
    assert lines[1]["name"].startswith(scores.label_space.names[int(counts.argmax())] + " (AP 0.")
    for line in lines:
        assert line["x"][0] == 0
        assert line["x"][-1] == 1


# Calibration


@pytest.mark.parametrize("bins", [1, 3, 15])
def test_bins_hold_equally_many_and_never_part_equal_probabilities(bins: int) -> None:
    random = np.random.default_rng(0)
    probability = np.round(random.random(997), 2)
    present = random.random(997) < probability
    expected: dict[int, list[tuple[float, bool]]] = {}
    for p, there in zip(probability, present, strict=True):
        expected.setdefault(int((probability < p).sum() * bins // 997), []).append((p, bool(there)))
    found = reliability(probability, present, bins)
    cells = [expected[place] for place in sorted(expected)]
    assert found.cells.tolist() == [len(cell) for cell in cells]
    np.testing.assert_allclose(found.probability, [np.mean([p for p, _ in cell]) for cell in cells])
    np.testing.assert_allclose(found.share, [np.mean([there for _, there in cell]) for cell in cells])
    slow = sum(abs(sum(p for p, _ in cell) - sum(there for _, there in cell)) for cell in cells) / 997
    assert found.error == pytest.approx(slow, abs=1e-12)


def test_the_error_is_that_of_a_hand_worked_table() -> None:
    found = reliability(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, True, True, True]), 2)
    np.testing.assert_allclose(found.probability, [0.15, 0.85])
    np.testing.assert_allclose(found.share, [0.5, 1.0])
    assert found.error == pytest.approx((0.35 + 0.15) / 2)
    one = reliability(np.full(9, 0.25), np.arange(9) < 3, 15)
    assert one.cells.tolist() == [9]
    assert one.error == pytest.approx(1 / 12)


@KINDS
def test_calibration_is_that_of_the_known_cells(kind: str) -> None:
    scores = make(kind=kind)
    report = evaluate(scores)
    section = calibration_section(scores, report)
    known = scores.targets_NK >= 0
    p = scores.probabilities()[known].astype(float)
    brier = np.mean([(q - (t == 1)) ** 2 for q, t in zip(p, scores.targets_NK[known], strict=True)])
    assert f"Over all {known.sum()} cells" in section.text
    assert f"Brier score {brier:.4f}" in section.text
    rows = {row[0]: row[1:] for row in section.rows}
    for k, label in enumerate(report.labels):
        mean = scores.probabilities()[known[:, k], k].mean()
        expected = [label["positives"], mean, label["prevalence"], label["ECE"], label["Brier"]]
        assert rows[label["label"]] == pytest.approx(expected, abs=1e-6)
    assert [row[4] for row in section.rows] == sorted((row[4] for row in section.rows), reverse=True)
    assert section.figure is not None
    assert [sum(line["customdata"]) for line in section.figure["data"][1:]] == [
        known.sum(),
        (scores.targets_NK == 1).sum(),
    ]


# Thresholds


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_each_threshold_is_judged_as_a_decision_is(kind: str, seed: int) -> None:
    scores = make(kind=kind, seed=seed)
    scores.targets_NK[:, 0] = np.minimum(scores.targets_NK[:, 0], 0)
    thresholds = np.array([0.05, 0.3, 0.5, 0.62, 0.95, 0.999])
    curves = threshold_curves(scores, thresholds)
    for place, threshold in enumerate(thresholds):
        metrics = evaluate(scores, Decision(threshold=float(threshold))).metrics
        for name, values in curves.items():
            assert values[place] == pytest.approx(metrics[name], abs=1e-12), (name, threshold)


def decision_of(name: str, scores: Scores) -> Decision:
    size = len(scores.label_space)
    values = {"one of all": (0.4,) * size, "of each label": tuple(np.linspace(-1, 1, size))}
    if name in values:
        return Decision(logit_thresholds=values[name], label_space=scores.label_space)
    return Decision("top_k", k=2) if name == "top-k" else Decision(threshold=0.33)


@pytest.mark.parametrize(
    ("name", "today"),
    [("threshold", 0.33), ("one of all", 1 / (1 + math.exp(-0.4))), ("of each label", None), ("top-k", None)],
)
def test_the_decision_of_today_is_marked(name: str, today: float | None) -> None:
    scores = make()
    decision = decision_of(name, scores)
    report = evaluate(scores, decision)
    section = threshold_section(scores, decision, report)
    assert decision.describe() in section.text
    assert section.rows[0][1] == (None if today is None else pytest.approx(today))
    assert section.rows[0][2:] == [report.metrics[key] for key in ("CF1", "OF1", "OP", "OR")]
    assert section.figure is not None
    marks = section.figure["layout"]["shapes"]
    if today is not None:
        assert [mark["x0"] for mark in marks] == [pytest.approx(today)]
        place = section.figure["data"][0]["x"].index(round(today, 4))
        assert section.figure["data"][0]["y"][place] == pytest.approx(report.metrics["CF1"], abs=1e-5)
    else:
        assert [mark["y0"] for mark in marks] == [report.metrics["CF1"], report.metrics["OF1"]]
    best = {row[0]: row for row in section.rows}
    assert best["best CF1"][2] == pytest.approx(max(section.figure["data"][0]["y"]), abs=1e-5)
    assert best["best OF1"][3] == pytest.approx(max(section.figure["data"][1]["y"]), abs=1e-5)


# Confusion


def test_confusion_is_what_counting_gives() -> None:
    scores = make(80, 4)
    given_NK = Decision().apply(scores)
    found = confusion(scores.targets_NK, given_NK)
    for a in range(4):
        for b in range(4):
            rows = [n for n in range(80) if scores.targets_NK[n, a] == 1 and scores.targets_NK[n, b] == 0]
            neither = [n for n in range(80) if scores.targets_NK[n, a] == 0 and scores.targets_NK[n, b] == 0]
            assert found.images_KK[a, b] == len(rows)
            assert found.wrong_KK[a, b] == sum(given_NK[n, b] for n in rows)
            assert found.elsewhere_KK[a, b] == pytest.approx(np.mean(given_NK[neither, b]))
    assert np.isnan(found.share().diagonal()).all()


def test_the_lower_bound_is_that_of_wilson() -> None:
    from scipy.stats import binomtest

    pairs = [(7, 10), (1, 1), (0, 5), (30, 400)]
    expected = [binomtest(*pair).proportion_ci(method="wilson").low for pair in pairs]
    wrong, images = np.transpose(pairs).astype(float)
    np.testing.assert_allclose(lower_bound(wrong, images), expected, atol=1e-7)
    assert np.isnan(lower_bound(np.zeros(1), np.zeros(1))).all()


def test_a_planted_confusion_is_found_first() -> None:
    random = np.random.default_rng(0)
    targets_NK = (random.random((400, 6)) < 0.3).astype(np.int8)
    given_NK = targets_NK == 1
    given_NK[:, 4] |= (targets_NK[:, 2] == 1) & (random.random(400) < 0.8)
    scores = Scores(
        [str(n) for n in range(400)],
        np.where(given_NK, 1.0, -1.0).astype(np.float32),
        targets_NK,
        "logit",
        LabelSpace(tuple("abcdef")),
    )
    section = confusion_section(scores, given_NK)
    assert section.rows[0][:2] == ["c", "e"]
    assert section.rows[0][3] > 0.7
    assert section.rows[0][4] == 0
    assert section.figure is not None
    heat = section.figure["data"][0]
    order = section.figure["layout"]["xaxis"]["ticktext"]
    assert heat["z"][order.index("c")][order.index("e")] == pytest.approx(section.rows[0][3], abs=1e-4)
    assert heat["z"][order.index("e")][order.index("c")] == 0
    assert "No pair stands out" in confusion_section(scores, targets_NK == 1).text


# Summary, labels, learning


def test_the_summary_has_every_number_and_its_interval() -> None:
    report = evaluate(make())
    plain = summary_section(report)
    assert plain.columns == ("metric", "value")
    rates = ["CF1", "OF1", "CP", "CR", "OP", "OR", "macro_F1"]
    assert [row[0] for row in plain.rows[:10]] == ["mAP", CHANCE, *rates, "mR@3"]
    assert {row[0] for row in plain.rows} == {*report.metrics, CHANCE} - {"chance_mAP"}
    section = summary_section(report, {"mAP": (0.1, 0.9)})
    assert section.rows[0] == ["mAP", report.metrics["mAP"], 0.1, 0.9]
    assert section.rows[2][2:] == [None, None]
    assert report.protocol in section.text


def test_the_headline_is_the_first_numbers_of_the_summary() -> None:
    report = evaluate(make(), train_counts=[500, 400, 50, 40, 3])
    whole = summary_section(report, {"mAP": (0.1, 0.9)})
    short = headline(whole, "report.html")
    assert short.rows == whole.rows[:13]
    assert [row[0] for row in short.rows[:5]] == ["mAP", CHANCE, "mAP_head", "mAP_middle", "mAP_tail"]
    assert f"{len(whole.rows) - 13} more numbers: report.html." in short.text
    assert [row[0] for row in headline(summary_section(evaluate(make(), k=2)), "").rows][-1] == "mR@2"


def test_labels_are_told_with_what_is_known_of_them() -> None:
    scores = make()
    section = label_section(evaluate(scores), training_counts=[5, 4, 3, 2, 1])
    place = list(section.columns).index("training")
    assert {row[0]: row[place] for row in section.rows} == {f"label {k}": 5 - k for k in range(5)}
    assert "training" not in label_section(evaluate(scores)).columns
    thresholds = Decision(logit_thresholds=(0.0, 1, 2, 3, 4), label_space=scores.label_space)
    assert "threshold" in label_section(evaluate(scores, thresholds)).columns
    figure = count_section(evaluate(scores), [5, 4, 3, 2, 1]).figure
    assert figure is not None
    assert figure["data"][0]["x"] == [5, 4, 3, 2, 1]


def test_learning_is_drawn_over_epochs_and_listed_over_strengths() -> None:
    assert learning_section([{"epoch": 1, "val_mAP": 0.5}]).figure is not None
    section = learning_section([{"weight_decay": 0.1, "val_mAP": 0.5, "val_loss": 1.0}], 0.1)
    assert section.rows == [[0.1, 0.5, 1.0]]
    assert "0.1 was chosen" in section.text


# The whole


def shapes() -> dict[str, Scores]:
    whole = make()
    none = np.minimum(whole.targets_NK, 0)
    unknown = np.full_like(whole.targets_NK, -1)
    rest = (whole.scores_NK, whole.targets_NK, "logit", whole.label_space)
    return {
        "one label": make(labels=1),
        "one image": make(images=1, unknown=0),
        "one image, one label": make(1, 1, unknown=0),
        "no positives": Scores(whole.ids, rest[0], none, *rest[2:]),
        "nothing known": Scores(whole.ids, rest[0], unknown, *rest[2:]),
        "all present": Scores(whole.ids, rest[0], np.ones_like(none), *rest[2:]),
        "equal scores": Scores(whole.ids, np.zeros_like(rest[0]), *rest[1:]),
        "certain": Scores(whole.ids, (rest[0] > 0).astype(np.float32), rest[1], "probability", rest[3]),
        "extreme logits": Scores(whole.ids, 1e30 * rest[0], *rest[1:]),
        "probability": make(kind="probability"),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", shapes())
def test_whatever_the_scores_there_is_a_report(name: str) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16)).save(jpeg, "JPEG")
    sections = score_sections(shapes()[name], thumbnail=lambda _: jpeg.getvalue())
    assert [section.title for section in sections[:2]] == ["Test", "Labels"]
    text = render(sections, "Report")
    assert "NaN" not in "".join(json.dumps(section.figure) for section in sections if section.figure)
    assert "<h2" in text


EVIL = "</script><script>alert('x')</script> & \"b\""


def test_names_and_ids_stay_text() -> None:
    base = make(labels=3)
    names = LabelSpace((EVIL, "<b>", "{{ 7 * 7 }}"))
    scores = Scores([f"{EVIL}{n}" for n in range(60)], base.scores_NK, base.targets_NK, "logit", names)
    text = render(score_sections(scores, thumbnail=lambda _: b"\xff\xd8"), "Report")
    assert "<script>alert" not in text
    assert "<b>" not in text.split("<script>")[0]
    assert "{{ 7 * 7 }}" in text


def test_a_large_report_is_bounded(tmp_path: Path) -> None:
    scores = make(5000, 80)
    random = np.random.default_rng(0)
    noise = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (160, 160, 3), dtype=np.uint8)).save(noise, "JPEG", quality=80)
    history: list[dict[str, Any]] = [
        {"epoch": k, "train_loss": 0.1, "val_loss": 0.1, "val_mAP": 0.1} for k in range(300)
    ]
    sections = score_sections(scores, training_counts=[9] * 80, history=history, thumbnail=lambda _: noise.getvalue())
    write_report(sections, tmp_path / "report.html", "Report")
    assert (tmp_path / "report.html").stat().st_size < 10_000_000
    assert sum(len(section.pictures) for section in sections) == 45
    for section in sections:
        assert isinstance(section, Section)
        assert len(json.dumps(section.figure)) < 500_000
