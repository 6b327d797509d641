"""What headers say at a glance is what reading the whole file says."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time

import numpy as np
import pytest
import soundfile

from engine.analysis.headers import headers_of, look_at
from engine.analysis.song import analyze
from engine.audio import decode
from engine.audio.headers import HeaderFacts, read_headers
from engine.machine.warm_child import Pool
from engine.run.session import Session
from tests.conftest import frame_bytes, mp3restore, write_mp3


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_glance_says_what_the_whole_file_says(piece, tmp_path, mode, channels):
    path = write_mp3(tmp_path / "song.mp3", piece[:, :channels], mode=mode, level=0.6)
    glance, whole = read_headers(path), headers_of(analyze(path))
    assert abs(glance.bitrate - whole.bitrate) < 0.03 * whole.bitrate
    assert glance == HeaderFacts(**{**whole.__dict__, "bitrate": glance.bitrate})
    assert glance.encoder.startswith("LAME") and 10000 < glance.lowpass < 22050


def test_real_songs(music):
    for path in sorted((music / "songs").rglob("*.mp3")):
        glance, whole = read_headers(path), headers_of(analyze(path))
        assert abs(glance.bitrate - whole.bitrate) < 0.01 * whole.bitrate
        assert glance == HeaderFacts(**{**whole.__dict__, "bitrate": glance.bitrate})


def without_info(path):
    """The frames of an MP3 without the one that tells about the others."""
    data = frame_bytes(path) if path.read_bytes()[:3] == b"ID3" else path.read_bytes()
    at = data.index(b"\xff\xfb", 4)
    return data[at:]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_without_a_header_of_its_own_a_song_is_looked_at_in_some_places(piece, tmp_path, mode):
    path = write_mp3(tmp_path / "song.mp3", np.tile(piece, (5, 1)), mode=mode, level=0.6)
    (tmp_path / "bare.mp3").write_bytes(without_info(path))
    found = read_headers(tmp_path / "bare.mp3")
    assert found.vbr == (mode == "VARIABLE") and found.encoder == "" and found.lowpass is None
    assert abs(found.duration - 30) < (0.1 if mode == "CONSTANT" else 6)


def test_what_lies_around_the_frames_does_not_count(demo_mp3, tmp_path):
    bare = read_headers(demo_mp3)
    id3 = b"ID3\x04\x00\x00" + bytes([0, 0x40, 0, 0]) + bytes(1 << 20)  # a cover, say
    around = tmp_path / "around.mp3"
    around.write_bytes(id3 + frame_bytes(demo_mp3) + b"TAG" + bytes(125))
    assert read_headers(around) == bare
    around.write_bytes(bytes(50000) + frame_bytes(demo_mp3))
    assert read_headers(around) == bare
    around.write_bytes(frame_bytes(demo_mp3)[: len(frame_bytes(demo_mp3)) // 2])
    assert abs(read_headers(around).duration - bare.duration / 2) < 0.1


@pytest.mark.parametrize(
    ("kind", "named"),
    [("WAV", "WAV"), ("FLAC", "FLAC"), ("OGG", "Ogg Vorbis"), ("AIFF", "AIFF"), ("AU", "AU"), ("CAF", "CAF")],
)
def test_other_kinds(piece, tmp_path, kind, named):
    path = tmp_path / f"song.{kind.lower()}"
    soundfile.write(path, piece, 44100, format=kind)
    found = read_headers(path)
    assert (found.rate, found.channels, found.kind, found.problem) == (44100, 2, named, "")
    assert abs(found.duration - 6) < 0.01 and found.bitrate > 50000


def test_a_broken_file_is_told_in_words(tmp_path, demo_mp3):
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("no music " * 1000)
    (tmp_path / "cut.flac").write_bytes(b"fLaC\0\0\0")
    os.mkfifo(tmp_path / "pipe.mp3")
    for path in [*sorted(tmp_path.iterdir()), tmp_path / "gone.mp3"]:
        found = read_headers(path)
        assert found.problem.endswith(".") and found == HeaderFacts(problem=found.problem), path


def test_one_that_crashes_or_hangs_costs_that_one(demo_mp3, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "_children", Pool("tests.audio.naughty_process"))
    monkeypatch.setattr(decode, "_HEADER_PATIENCE", 1.5)
    paths = [
        shutil.copy(demo_mp3, tmp_path / f"{n}{name}.mp3") for n, name in enumerate(["a", "abort", "b", "hang", "c"])
    ]
    found = {}
    look_at(paths, found.update)
    assert list(found) == paths
    good = read_headers(demo_mp3)
    assert [found[p] == good for p in paths] == [True, False, True, False, True]
    assert "crashed" in found[paths[1]].problem and "standstill" in found[paths[3]].problem
    decode._children.close()


def test_a_session_looks_in_the_background_and_can_be_told_to_stop(songs, demo_mp3):
    for number in range(3000):
        os.link(demo_mp3, songs / f"{number}.mp3")
    session = Session([songs], recipe="offline")
    found, batches, done = {}, [], threading.Event()

    def receive(batch):
        found.update(batch)
        batches.append(len(batch))
        if len(found) == len(session.songs):
            done.set()

    session.look_at(receive)
    assert done.wait(60) and len(batches) > 3
    assert set(found) == {song.id for song in session.songs}
    assert set(found.values()) == {read_headers(demo_mp3)}
    found.clear()
    stop = session.look_at(receive)
    while not found:
        time.sleep(0.001)
    stop.set()
    time.sleep(0.5)
    seen = len(found)
    time.sleep(0.3)
    assert len(found) == seen < 3000


def test_a_dry_run_tells_facts_of_songs_that_were_never_analysed(songs):
    (songs / "broken.mp3").write_text("no music")
    done = mp3restore("--dry-run", "--json", "--recipe", "offline", songs)
    told = {line["song"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert told["Two.mp3"]["duration"] == 6.0 and told["Two.mp3"]["encoder"].startswith("LAME")
    assert told["Two.mp3"]["cutoff"] > 10000 and told["Two.mp3"]["bitrate"] > 60000
    assert "no MP3 audio" in told["broken.mp3"]["problem"]
    table = mp3restore("--dry-run", "--recipe", "offline", songs).stdout
    assert "LAME3" in table and "0:06" in table and "kHz" in table and "unreadable" in table
