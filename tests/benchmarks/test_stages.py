"""What ``make bench`` prints: every stage, and others beside them or why not."""

from __future__ import annotations

import importlib.util

import pytest

pytest.importorskip("resource")
from benchmarks import others, stages


def test_stages_are_measured_one_by_one_and_all_together(tmp_path):
    rows = {row.what: row for row in stages.stages(3.0, 0, tmp_path, ["decode"])}
    assert list(rows) == ["analysis", "decode", "recipe offline, all of it"]
    assert rows["decode"].times_decode == 1.0 < rows["recipe offline, all of it"].times_decode
    assert all(row.times_real > 0 for row in rows.values())
    assert 50 < float(rows["decode"].peak) < 1000, "MB"


def test_others_are_measured_beside_or_the_table_says_why_not(tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there(name) if name == "av" else None)
    told = [row.cells() for row in stages.beside(others.Material(tmp_path, 2.0))]
    assert [cells[-2] for cells in told] == [other.name for other in others.OTHERS]
    ratios = dict(zip((cells[-2] for cells in told), (cells[-1] for cells in told), strict=True))
    assert float(ratios["FFmpeg (PyAV)"]) > 0 < float(ratios["pyloudnorm"])
    assert ratios["the demucs command"] == "skipped: demucs is not installed"


def test_a_program_that_fails_is_told(tmp_path):
    with pytest.raises(others.NotHere, match="it failed: no such luck"):
        others.taken([others.sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path / "out", tmp_path)
