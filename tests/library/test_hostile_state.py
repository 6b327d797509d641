"""Whatever lies where the program keeps its own files, costs one song at most, never a run, and heals."""

from __future__ import annotations

import os
import threading

import pytest

from engine.files import read_json
from engine.library.chunk_cache import ChunkCache
from engine.library.sound_index import SoundIndex
from engine.machine import measurements
from engine.run.events import BatchDone, SongDone
from engine.run.session import Session
from engine.run.song_log import SongLog
from tests.conftest import execute
from tui import settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs pipes")


def _within(seconds, work):
    """What ``work`` gives; a failure where it hangs."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it hangs, or failed"
    return found[0]


def _results(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*.flac"))}


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "empty"])
def test_what_lies_in_place_of_our_files_costs_no_run(songs, tmp_path, kind):
    out = tmp_path / "out"
    execute(Session([songs], out, "offline", ["01"]))
    whole = _results(out)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    ours = [p for p in [*(out / "_done").rglob("*"), *(out / "_logs").rglob("*")] if p.is_file() and p.name != ".lock"]
    assert {p.name for p in ours} >= {".sounds", "song.json", "01_baseline.done.json", "Two.log"}
    for path in ours:
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(outside)
        else:
            path.touch()
    end = _within(120, lambda: execute(Session([songs], out, "offline", ["01"])))
    assert isinstance(end[-1], BatchDone) and end[-1].error == ""
    told = [reason for event in end if isinstance(event, SongDone) for reason in event.failed]
    if kind == "folder":  # perhaps there is something of value in it
        assert told and all("Something else lies where" in t and "song.json" in t for t in told)
    else:
        assert told == [] and _results(out) == whole
        again = _within(120, lambda: execute(Session([songs], out, "offline", ["01"])))
        assert again[-1].up_to_date == 2
    assert outside.read_text() == "mine"


def test_a_pipe_in_place_of_a_chunk_or_the_index_or_a_log_is_passed(tmp_path):
    cache = ChunkCache(tmp_path / "task", "0" * 64)
    (tmp_path / "task" / ("0" * 16)).mkdir(parents=True)
    os.mkfifo(tmp_path / "task" / ("0" * 16) / "000000.chunk")
    assert _within(5, lambda: cache.load(0, (10, 2)) is None)
    os.mkfifo(tmp_path / "index")
    index = SoundIndex(tmp_path / "index", lambda: [("a" * 64, tmp_path.relative_to("/") / "Song")])
    assert _within(5, lambda: len(index.places("a" * 64))) == 1
    os.mkfifo(tmp_path / "log")
    assert _within(5, lambda: SongLog(tmp_path / "log").line("text") is None)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 5000, '{"a": 1e999}', '{"a": NaN}', '{"a": ' + "9" * 6000 + "}", "\xff", "[]", ""]
)
def test_no_text_makes_reading_our_json_fail(tmp_path, monkeypatch, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    assert read_json(path) is None
    monkeypatch.setattr(settings, "config_folder", lambda: tmp_path)
    monkeypatch.setattr(measurements, "path", lambda: path)
    assert settings.load_settings() == settings.Settings()
    assert measurements.recall("a") is None


@pytest.mark.parametrize("value", ["[]", "{}", "-1", "true", '"x"', "1e300"])
def test_a_figure_that_is_none_is_not_believed(tmp_path, monkeypatch, value):
    path = tmp_path / "measured.json"
    path.write_text(f'{{"a": {value}, "b": 2}}')
    monkeypatch.setattr(measurements, "path", lambda: path)
    assert measurements.recall("a") is None and measurements.recall("b") == 2.0


def test_a_pipe_in_place_of_the_settings_does_not_hold_up_the_start(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "settings.json")
    monkeypatch.setattr(settings, "config_folder", lambda: tmp_path)
    assert _within(5, settings.load_settings) == settings.Settings()
