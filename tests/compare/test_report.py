"""The report of a library: what is kept, what is measured again, and what lies beside the page."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace

import pytest

from engine.compare import batch, report
from engine.compare.batch import Comparison, Stopped
from engine.compare.figures import COLUMNS
from engine.errors import UsageError
from engine.files import TEMPORARY
from engine.library.store import Store
from tests.compare.conftest import NAMES
from tests.conftest import mp3restore


@pytest.fixture
def store(hostile, tmp_path):
    """A copy of the results, without a report."""
    shutil.copytree(hostile.store.out, tmp_path / "out", ignore=shutil.ignore_patterns("_report"))
    return Store(tmp_path / "out")


@pytest.fixture
def measured(monkeypatch):
    """The names of the signals of every comparison that is really made."""
    calls = []
    real = batch.compare
    monkeypatch.setattr(batch, "compare", lambda *args: calls.append(sorted(args[0])) or real(*args))
    return calls


def test_a_second_report_measures_nothing_and_a_broken_cache_costs_itself(store, hostile, measured):
    songs = hostile.songs[:2]
    first = list(Comparison(store).entries(songs))
    every = ["01_baseline", "02_low", "07_mastered"]
    assert measured == [every, every] and not any(entry.problem for entry in first)
    assert list(Comparison(store).entries(songs)) == first and len(measured) == 2
    figures = sorted(store.places.report("figures").rglob("*.json"))
    figures[0].write_text("{ no JSON")
    data = json.loads(figures[1].read_text())
    next(iter(data["figures"].values()))["loudness"] = "<b>loud</b>"
    figures[1].write_text(json.dumps(data))
    assert list(Comparison(store).entries(songs)) == first and len(measured) == 4
    (store.out / "_report" / first[0].versions[1].difference).unlink()
    assert list(Comparison(store).entries(songs)) == first
    assert measured[4:] == [["01_baseline", "02_low"]]


def test_what_is_made_anew_is_measured_anew_and_what_is_gone_is_left_out(store, hostile, measured):
    song = hostile.songs[0]
    comparison = Comparison(store)
    before = comparison.entry(song)
    made = next(marker for marker in store.markers(song) if marker.task == "02_low")
    other = replace(made, ruined="It lost <much>.", outputs=[replace(made.outputs[0], sound="0" * 32)])
    store.write_marker(song.key, other)
    after = comparison.entry(song)
    assert measured[1:] == [["01_baseline", "02_low"]]
    assert after.versions[1].figures == before.versions[1].figures and after.versions[1].lost == "It lost <much>."
    (store.out / after.versions[2].path).unlink()
    assert [version.name for version in comparison.entry(song).versions] == ["01_baseline", "02_low"]
    (store.out / after.versions[0].path).unlink()
    assert "run mp3restore" in comparison.entry(song).problem


def test_a_broken_result_costs_its_song(store, hostile):
    first, second = hostile.songs[:2]
    output = next(marker for marker in store.markers(first) if marker.task == "02_low").outputs[0]
    path = store.out / output.path
    path.write_bytes(path.read_bytes()[: output.size // 2].ljust(output.size, b"\0"))
    entries = list(Comparison(store).entries([first, second]))
    assert "made again" in entries[0].problem and not entries[1].problem and len(entries[1].versions) == 3


def test_stopping_leaves_nothing_half_written_and_goes_on_later(store, hostile, measured, monkeypatch):
    comparison = Comparison(store)
    real = batch.difference_png
    monkeypatch.setattr(batch, "difference_png", lambda *args: comparison.stop.set() or real(*args))
    with pytest.raises(Stopped):
        list(comparison.entries(hostile.songs, jobs=1))
    left = [path.name for path in store.places.report("figures").parent.rglob("*") if path.name.startswith(TEMPORARY)]
    assert left == [] and len(measured) == 1 and not store.places.report("report.html").exists()
    assert not any(entry.problem for entry in Comparison(store).entries(hostile.songs))
    assert len(measured) == len(hostile.songs)  # the first was kept


def test_the_table_and_the_json_file_hold_the_figures_and_no_formula(store, hostile):
    entries = list(Comparison(store).entries(hostile.songs))
    report.write(store, entries)
    text = store.places.report("report.csv").read_text("utf-8-sig")
    head, *lines = list(csv.reader(io.StringIO(text)))
    assert len(lines) == 3 * len(NAMES) and {len(line) for line in lines} == {len(head)}
    names = {line[0] for line in lines}
    assert {name.removeprefix("'") for name in names} == set(NAMES.values())
    assert not any(name.startswith(("=", "@", "+", "-")) for name in names)
    whole = json.loads(store.places.report("report.json").read_text())
    by_name = {song["name"]: song for song in whole["songs"]}
    for line in lines:
        version = next(v for v in by_name[line[0].removeprefix("'")]["versions"] if v["name"] == line[1])
        assert float(line[2]) == pytest.approx(version["figures"]["loudness"], abs=0.06)
    low = {line[1]: dict(zip(head, line, strict=True)) for line in lines}["02_low"]
    assert float(low["octave 16000 Hz (dB)"]) < -40 < -0.5 < float(low["octave 1000 Hz (dB)"]) < 0.5


def test_originals_are_found_by_name(store, hostile, tmp_path, piece):
    import soundfile

    (tmp_path / "originals").mkdir()
    for song in hostile.songs[:2]:
        path = tmp_path / "originals" / song.path.with_suffix(".flac").name
        soundfile.write(path, piece, 44100)
    with pytest.raises(UsageError, match="not a folder"):
        Comparison(store, tmp_path / "nowhere")
    entries = list(Comparison(store, tmp_path / "originals").entries(hostile.songs))
    found = [entry for entry in entries if entry.original]
    assert len(found) == 2 and all(v.figures.reference is not None for entry in found for v in entry.versions)
    plain, low, _ = found[0].versions
    assert plain.figures.reference.lsd_above is not None
    assert plain.figures.reference.si_sdr > low.figures.reference.si_sdr
    assert plain.figures.reference.lsd < low.figures.reference.lsd


def test_every_column_has_a_figure_behind_it(store, hostile):
    figures = Comparison(store).entry(hostile.songs[0]).versions[1].figures
    for column in COLUMNS:
        column.of(figures)  # raises AttributeError for a name that is none
    assert len(COLUMNS[0].tells) > 10


def test_the_command(store, hostile):
    done = mp3restore("report", hostile.folder / "music", "--out", store.out)
    assert done.returncode == 0, done.stderr
    assert "5 songs compared" in done.stdout and "report.html" in done.stdout
    page = store.places.report("report.html").read_text()
    assert "</script><img" not in page and page.count("</script>") == 2
    again = mp3restore("report", hostile.folder / "music", "--out", store.out.parent / "empty")
    assert again.returncode == 1 and "run mp3restore on it first" in again.stdout
    wrong = mp3restore("report", hostile.folder / "music", "--out", store.out, "--reference", store.out.parent / "no")
    assert wrong.returncode == 2 and "is not a folder" in wrong.stderr
