"""What the campaign has found, each in its smallest form."""

from __future__ import annotations

import contextlib
import io
import random
import sqlite3
import struct
import subprocess
import sys
from dataclasses import asdict

import msgspec
import pytest
from rich.console import Console

from engine import __version__
from engine.analysis import tried
from engine.analysis.song import analyze
from engine.audio import mpeg, readers
from engine.audio.player_tags import write_player_tags
from engine.audio.sound_hash import sound_hash
from engine.audio.tags import Picture, Tags
from engine.commands.headless import _LineView, _TerminalView
from engine.errors import DecodeError, SongError, UsageError
from engine.files import write_json
from engine.library import state_index
from engine.library.records import FORMAT, Marker, Outcome, Output, marker_from_json, marker_to_json, outcome_from_json
from engine.library.state_file import write_checked
from engine.library.verdicts import read_verdict
from engine.run import events
from engine.run.session import Session
from tests.conftest import frame_bytes
from tests.hostile.texts import unsafe
from tui.model import DashboardModel
from tui.screens.pages import DetailPage
from tui.widgets.song_table import length_cell

BAD = "a\x1b[2J\u202e\x9b\ud800b"


def test_names_of_tags_and_kinds_of_covers_are_no_markup(demo_mp3, tmp_path):
    from mutagen.id3 import APIC, ID3, TXXX

    path = tmp_path / "x.mp3"
    path.write_bytes(frame_bytes(demo_mp3))
    tags = ID3()
    tags.add(TXXX(encoding=3, desc="[/]", text=["x"]))
    tags.add(APIC(encoding=3, mime="[/red]", type=3, desc="", data=b"x" * 2000))
    tags.save(path)
    model = DashboardModel(Session([path], tmp_path / "out", "offline", ["01"]))
    out = io.StringIO()
    console = Console(file=out, width=80)
    console.push_theme(_styles())
    console.print(DetailPage(model, model.songs[0]).body())
    assert "[/]  " in out.getvalue() and "[/red] 2 kB" in out.getvalue()


def _styles():
    from rich.theme import Theme

    return Theme(dict.fromkeys(("primary", "accent", "success", "warning", "error", "faint"), ""))


@pytest.mark.parametrize("kind", [UsageError, SongError, DecodeError])
def test_what_an_error_quotes_cannot_reach_a_screen(kind):
    assert str(kind(f"{BAD} is no song.")) == "a\\x1b[2J\\u202e\\x9b\\ud800b is no song."


@pytest.mark.parametrize("view", [_LineView, _TerminalView])
def test_what_a_run_tells_cannot_reach_a_screen(view, songs, tmp_path):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        seen = view(Session([songs], tmp_path / "out", "offline", ["01"]))
        seen.show(events.SongWarning("Two.mp3", BAD))
        seen.show(events.SongDone("Two.mp3", (), (BAD,), (), 1.0, "failed"))
        seen.show(events.BatchDone(0, 1, 0, False, 1.0, error=BAD))
        seen.close()
    assert out.getvalue().count("\\x1b[2J") >= 3 and not unsafe(out.getvalue())


def _marker(**changes):
    output = Output("01_baseline/x.flac", 1, "0" * 64)
    marker = Marker(FORMAT, "0", "01_baseline", {}, "0" * 64, [], [output], 44100, 2, 1, 0.0, "", "cpu", 1.0, [])
    return {**marker_to_json(marker), **changes}


def test_sentences_that_are_read_back_are_safe_to_print(tmp_path):
    marker = marker_from_json(_marker(note=BAD, device=BAD, ruined=BAD, warnings=[BAD]))
    outcome = outcome_from_json(asdict(Outcome("failed", BAD, "")))
    write_json(tmp_path / "verdict.json", {"favourite": BAD, "note": BAD})
    verdict = read_verdict(tmp_path)
    for text in (
        marker.note,
        marker.device,
        marker.ruined,
        *marker.warnings,
        outcome.reason,
        verdict.favourite,
        verdict.note,
    ):
        assert text and not unsafe(text)


@pytest.mark.parametrize("name", ["fingerprint", "tags", "format", "inputs"])
def test_half_a_character_in_a_hash_is_no_marker(name):
    assert marker_from_json(_marker()) is not None
    assert marker_from_json(_marker(**{name: ["\ud800"] if name == "inputs" else "\ud800" * 64})) is None


@pytest.mark.parametrize("held", [b"\xc1", msgspec.msgpack.encode([1]), b"\x81\xa1\xff\x01"])
def test_an_index_that_holds_what_nobody_wrote_is_passed(tmp_path, monkeypatch, held):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(state_index, "_SETTLED", 0)
    path = tmp_path / "out" / "x.json"
    write_checked(path, {"format": 2, "value": 7})
    index = state_index.StateIndex(tmp_path / "out")
    assert index.read(path, 0, lambda data: data["value"]) == 7
    index.keep()
    with contextlib.closing(sqlite3.connect(state_index.index_path(tmp_path / "out"))) as database, database:
        ((row,),) = database.execute("SELECT files FROM folders").fetchall()
        files = msgspec.msgpack.decode(row[state_index._CHECK_BYTES :])
        packed = msgspec.msgpack.encode({name: [stamp, held] for name, (stamp, _) in files.items()})
        database.execute("UPDATE folders SET files = ?", (state_index._check(packed) + packed,))
    assert state_index.StateIndex(tmp_path / "out").read(path, 0, lambda data: data["value"]) == 7


def test_a_self_test_of_endless_bitrates_is_none(demo_mp3, tmp_path):
    line = tried.Line("9" * 400, "11_offline", 9, 1.0, 0.5, 0, 0.1)
    tried.keep(tmp_path / "tried.json", "offline", [line])
    assert tried.read(tmp_path / "tried.json") is None
    with pytest.raises(OverflowError):  # why
        tried.SelfTest("offline", __version__, (line,)).like(analyze(demo_mp3))


def test_a_format_that_ffmpeg_cannot_decode_is_one_sentence(tmp_path):
    path = tmp_path / "x.wav"
    chunk = b"fmt " + struct.pack("<IHHIIHH", 16, 0x1234, 2, 44100, 176400, 4, 16)
    path.write_bytes(b"RIFF\0\1\0\0WAVE" + chunk + b"data" + struct.pack("<I", 400) + bytes(400))
    with pytest.raises(DecodeError, match="no audio stream"):
        readers.stream(path, "ffmpeg")


def test_a_picture_of_no_kind_is_written_everywhere(demo_mp3, tmp_path):
    from mutagen.id3 import ID3

    tags = Tags()
    tags.add_picture(Picture(b"x" * 100, "image/png", 1 << 31, ""))
    path = tmp_path / "x.mp3"
    path.write_bytes(frame_bytes(demo_mp3))
    write_player_tags(path, ".mp3", tags)
    assert ID3(path).getall("APIC")[0].data == b"x" * 100


def test_a_size_beyond_all_files_is_the_end_of_a_wave_file(tmp_path):
    path = tmp_path / "x.wav"
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 1 << 62, (1 << 64) - 1, 1, 0)
    chunks = b"data\xff\xff\xff\xff" + bytes(400)
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + sizes + chunks)
    assert len(sound_hash(path)) == 64


# --- long files -------------------------------------------------------------------------------------------------


def test_frames_are_found_across_the_borders_of_what_is_held_of_a_file(demo_mp3, monkeypatch):
    draw = random.Random(3)
    audio = frame_bytes(demo_mp3)
    for length in range(40):
        data = bytes(length) + b"\xff" * draw.randrange(3) + audio
        found = mpeg.find_frame(data, 0, len(data))
        for window in (1, 2, 7, 64):
            monkeypatch.setattr(mpeg, "_WINDOW", window)
            assert mpeg.find_frame(data, 0, len(data)) == found >= length
        monkeypatch.undo()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures as Linux does")
@pytest.mark.parametrize("what", ["frames", "garbage"])
def test_walking_a_long_file_keeps_nothing_of_it_in_memory(demo_mp3, tmp_path, what):
    path = tmp_path / "long.mp3"
    audio = frame_bytes(demo_mp3)
    size = 160 << 20
    with path.open("wb") as file:
        if what == "frames":
            for _ in range(size // len(audio)):
                file.write(audio)
        else:
            file.write(audio)
            file.seek(size)
            file.write(audio)
    script = (
        "from pathlib import Path\nfrom benchmarks.memory import peak\nfrom engine.audio.readers import mpeg_facts\n"
        f"before = peak()\nfacts = mpeg_facts(Path({str(path)!r}))\nprint(facts.frames, peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    frames, grown = map(int, done.stdout.split())
    assert frames > 500_000 and grown < 60 << 20


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(59, "0:59"), (3599.4, "59:59"), (3599.6, "1h00m"), (8 * 3600 - 1, "7h59m"), (99 * 3600, "99h00m")],
)
def test_lengths_beyond_an_hour_fit_into_the_table(seconds, shown):
    assert length_cell(seconds) == shown and len(shown) <= 6
