"""Tags made to hang, crash or fill the memory of whoever reads them cost themselves, and not the song."""

from __future__ import annotations

import struct
import time
import zlib

import pytest

from engine.analysis import song as analysis
from engine.audio import decode, sound_hash, tags
from engine.run.control import Control, StopRun
from engine.run.events import BatchDone, SongWarning
from engine.run.session import Session
from tests.audio.test_reading import children, named  # noqa: F401 -- fixtures
from tests.conftest import execute, frame_bytes


def _syncsafe(number):
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def _tagged(path, demo_mp3, frame_id, body, flags=b"\0\0"):
    frame = frame_id + _syncsafe(len(body)) + flags + body
    path.write_bytes(b"ID3\4\0\0" + _syncsafe(len(frame)) + frame + frame_bytes(demo_mp3))
    return path


def _restored(path, tmp_path):
    events = execute(Session([path], tmp_path / "out", "offline", ["01"]))
    assert isinstance(events[-1], BatchDone) and (events[-1].done, events[-1].failed) == (1, 0)
    return [event.text for event in events if isinstance(event, SongWarning)]


@pytest.mark.parametrize(("name", "why"), [("hang-tags", "it took too long"), ("abort-tags", "reading them failed")])
def test_tags_that_hold_up_or_crash_their_reader_are_left_out(children, named, tmp_path, monkeypatch, name, why):  # noqa: F811
    monkeypatch.setattr(decode, "_TAGS_PATIENCE", 1.0 if name == "hang-tags" else 60.0)
    monkeypatch.setattr(decode, "_SLOWEST", 1e9)
    assert any(f"tags could not be read ({why}" in text for text in _restored(named(name), tmp_path))


def test_the_engines_own_process_reads_no_source(demo_mp3, tmp_path, monkeypatch):
    def never(path, *_):
        raise AssertionError(f"{path} was read where a hang holds up all songs")

    for module, name in ((tags, "read_tags"), (sound_hash, "sound_hash")):
        monkeypatch.setattr(module, name, never)
    assert _restored(demo_mp3, tmp_path) == []


def test_text_that_takes_for_ever_to_split_is_given_up(demo_mp3, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "_TAGS_PATIENCE", 1.0)
    monkeypatch.setattr(decode, "_SLOWEST", 1e9)
    path = _tagged(tmp_path / "split.mp3", demo_mp3, b"TIT2", b"\3" + b"a\0" * (4 << 20))
    began = time.monotonic()
    assert "took too long" in " ".join(_restored(path, tmp_path))
    assert time.monotonic() - began < 15


def test_a_frame_that_unpacks_to_more_than_the_memory_is_left_out(demo_mp3, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "_TAGS_PATIENCE", 200.0)  # a busy machine is no fault
    packed = zlib.compressobj(9)
    body = b"".join(packed.compress(bytes(1 << 24)) for _ in range(160)) + packed.flush()
    path = _tagged(tmp_path / "bomb.mp3", demo_mp3, b"APIC", _syncsafe((1 << 28) - 1) + body, b"\0\x09")
    assert "tags could not be read (MemoryError)" in " ".join(_restored(path, tmp_path))


def test_a_name_with_countless_values_is_cut_and_told():
    found = tags.Tags()
    began = time.monotonic()
    found.add("TITLE", (f"{number}" for number in range(300_000)))
    assert time.monotonic() - began < 5
    assert len(found.comments["TITLE"]) == 10_000 and found.left_out == ["more than 10000 values"]


def test_pictures_and_text_come_through_the_pipe_as_they_are(demo_mp3, tmp_path):
    picture = b"\0image/png\0\3caf\xe9\0" + bytes(range(256)) * 100
    path = _tagged(tmp_path / "cover.mp3", demo_mp3, b"APIC", picture)
    assert decode.read_tags(path) == tags.read_tags(path)
    (cover,) = decode.read_tags(path)[0].pictures
    assert (cover.mime, cover.kind, cover.description, len(cover.data)) == ("image/png", 3, "café", 25600)


def test_stopping_does_not_wait_for_a_song_to_be_analysed(demo_mp3, tmp_path):
    long = tmp_path / "long.mp3"
    long.write_bytes(frame_bytes(demo_mp3) * 60)
    control, seen = Control(), []

    def checkpoint():
        seen.append(1)
        if len(seen) == 3:
            control.stop()
        control.checkpoint("long")

    with pytest.raises(StopRun):
        analysis.analyze(long, checkpoint)
    assert len(seen) == 3


@pytest.mark.parametrize("kind", ["flac", "id3"])
def test_a_file_of_countless_empty_blocks_is_not_walked_for_hours(tmp_path, kind):
    """A hole in a file costs its author nothing."""
    path = tmp_path / "holes.flac"
    with path.open("wb") as file:
        file.write(b"fLaC" if kind == "flac" else struct.pack("10s", b"ID3\4") * 200_000)
        file.truncate(1 << 27)
    began = time.monotonic()
    assert not tags.has_provenance(path)
    assert len(sound_hash.sound_hash(path)) == 64
    assert time.monotonic() - began < 20
