"""Published rows: complete as printed, beside own ones, with relative differences in per cent."""

from __future__ import annotations

import numpy as np
import pytest

from cotag.errors import SettingError
from cotag.evaluation.published import ALL, BENCHMARKS, TOP_3, benchmark, comparison_sections, relative_percent


def test_every_row_is_a_percentage_with_a_source_and_consistent() -> None:
    for known in BENCHMARKS.values():
        assert len({row.method for row in known.rows}) == len(known.rows)
        for row in known.rows:
            assert row.source
            assert set(row.percent) <= {*ALL, *TOP_3}
            assert all(40 < value < 100 for value in row.percent.values())
            # F1 is the harmonic mean of precision and recall, up to the rounding of what is printed.
            for kind in ("C", "O"):
                for end in ("", "@3"):
                    parts = [row.percent.get(f"{kind}{name}{end}") for name in ("P", "R", "F1")]
                    if None not in parts:
                        p, r, f1 = parts
                        assert 2 * p * r / (p + r) == pytest.approx(f1, abs=0.11)


def test_own_rows_stand_beside_published_ones() -> None:
    own = {"mine": dict.fromkeys((*ALL, *TOP_3), 0.5) | {"mAP": 0.83, "other": 0.1}, "bare": {"mAP": 0.415}}
    every, top, relative = comparison_sections(benchmark("coco2014"), "ML-GCN", own, ["Not the same images."])
    assert every.text.startswith("Not the same images.")
    assert every.columns == ("method", *ALL, "source")
    rows = {row[0]: row[1:] for row in every.rows}
    assert rows["ML-GCN"][:2] == [83.0, 85.1]
    assert rows["mine"][:2] == [83.0, 50.0]
    assert rows["bare"][1:3] == [None, None]
    assert "bare" not in [row[0] for row in top.rows]
    assert relative.columns == ("measure", "ML-GCN", "ML-GCN, repeated", "mine", "bare")
    table = {row[0]: row[1:] for row in relative.rows}
    np.testing.assert_allclose(np.array(table["mAP"], dtype=float), [83.0, 0, 0, -50])
    assert table["OP"][1] == pytest.approx(100 * (84.7 - 85.8) / 85.8)
    assert table["CF1"][-1] is None


def test_any_published_method_may_be_the_measure() -> None:
    *_, relative = comparison_sections(benchmark("voc2007"), "ResNet-101, maximum pooling", {"mine": {"mAP": 0.93}})
    assert [list(row) for row in relative.rows] == [["mAP", 93.0, 0.0]]
    assert relative_percent(None, 3.0) is None


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="'coco2015' are not known; did you mean coco2014"):
        benchmark("coco2015")
    with pytest.raises(SettingError, match="'ML-GCM' is not known; did you mean ML-GCN"):
        comparison_sections(benchmark("voc2007"), "ML-GCM", {})
