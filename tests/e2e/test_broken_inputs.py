"""Bad input gets one clear sentence, costs only its song, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.analysis.song import analyze
from engine.errors import DecodeError
from tests.conftest import frame_bytes, mp3restore

FAST = ("--no-tui", "--variants", "01,11")


@pytest.fixture
def library(tmp_path, demo_mp3):
    """Every kind of broken file beside a good song."""
    folder = tmp_path / "lib"
    folder.mkdir()
    audio = frame_bytes(demo_mp3)
    shutil.copy(demo_mp3, folder / "good.mp3")
    (folder / "text.mp3").write_text("This is not music.\n" * 500)
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "truncated.mp3").write_bytes(demo_mp3.read_bytes()[: len(audio) // 2])
    (folder / "garbage.mp3").write_bytes(os.urandom(100_000).replace(b"\xff", b"\0") + audio)
    huge = b"APIC" + struct.pack(">I", 0x7FFFFFFF) + b"\0\0" + b"\0image/png\0\3\0"
    header = b"ID3\3\0\0" + bytes([0x7F, 0x7F, 0x7F, 0x7F])
    (folder / "cover.mp3").write_bytes(header + huge + b"\x89PNG" * 100 + audio)
    return folder


def test_each_broken_song_gets_a_sentence_and_the_good_one_is_done(library, tmp_path):
    done = mp3restore(*FAST, "--json", "--out", tmp_path / "out", library)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ends = {e["song"]: e for e in events if e["event"] == "SongDone"}
    notes = {}
    for event in events:
        if event["event"] == "SongWarning":
            notes.setdefault(event["song"], []).append(event["text"])
    assert done.returncode == 1
    assert ends["good.mp3"]["made"] == ["01_baseline", "11_offline"] and not ends["good.mp3"]["failed"]
    assert len(ends["text.mp3"]["failed"]) == 1 and "no MP3 audio" in ends["text.mp3"]["failed"][0]
    assert len(ends["empty.mp3"]["failed"]) == 1 and "empty" in ends["empty.mp3"]["failed"][0]
    for partly in ("truncated.mp3", "garbage.mp3", "cover.mp3"):
        assert not ends[partly]["failed"], partly
        assert ends[partly]["made"] == ["01_baseline", "11_offline"], partly
    assert any("cut off" in n for n in notes["truncated.mp3"])
    assert any("100000 bytes of garbage" in n for n in notes["garbage.mp3"])
    assert "Traceback" not in done.stdout + done.stderr
    left = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.suffix in (".tmp", ".chunk")]
    assert left == []


def test_garbage_in_front_does_not_move_the_music(library):
    good, moved = analyze(library / "good.mp3"), analyze(library / "garbage.mp3")
    assert (moved.frames, moved.peak, moved.decoder) == (good.frames, good.peak, "libsndfile")


def test_what_is_left_of_a_truncated_song_is_the_start_of_it(library, tmp_path):
    mp3restore(
        "--no-tui",
        "--variants",
        "01",
        "--out",
        tmp_path / "out",
        library / "truncated.mp3",
        library / "good.mp3",
    )
    cut, _ = soundfile.read(tmp_path / "out/01_baseline/truncated.flac")
    whole, _ = soundfile.read(tmp_path / "out/01_baseline/good.flac")
    assert 0.3 * len(whole) < len(cut) < 0.6 * len(whole)
    same = len(cut) - 3000
    assert np.abs(cut[:same] - whole[:same]).max() < 1e-4


def test_damage_in_the_middle_is_survived_and_told(demo_mp3, tmp_path):
    data = bytearray(demo_mp3.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = bytes(5000)
    path = tmp_path / "hole.mp3"
    path.write_bytes(data)
    found, good = analyze(path), analyze(demo_mp3)
    assert any("garbage" in w or "damaged" in w for w in found.warnings)
    assert abs(found.frames - good.frames) < 0.35 * good.rate


def test_two_joined_songs_are_both_there(demo_mp3, tmp_path):
    path = tmp_path / "joined.mp3"
    path.write_bytes(demo_mp3.read_bytes() + frame_bytes(demo_mp3))
    found, good = analyze(path), analyze(demo_mp3)
    assert abs(found.frames - 2 * good.frames) < 6000
    assert any("joined" in w for w in found.warnings)


def test_a_wav_called_mp3_is_just_decoded(piece, tmp_path):
    path = tmp_path / "really_a_wav.mp3"
    soundfile.write(path, piece, 44100, format="WAV", subtype="PCM_16")
    assert analyze(path).frames == len(piece)


def test_a_vbr_song_without_its_header_is_whole(piece, tmp_path):
    from engine.audio.decode import read_facts
    from tests.conftest import write_mp3

    path = write_mp3(tmp_path / "vbr.mp3", np.tile(piece, (3, 1)), mode="VARIABLE")
    data = path.read_bytes()
    start = read_facts(path).start
    at = data.index(b"Xing", start) if b"Xing" in data[start : start + 200] else data.index(b"Info", start)
    path.write_bytes(data[:at] + b"\0\0\0\0" + data[at + 4 :])
    assert abs(analyze(path).frames - 3 * len(piece)) < 6000


def _without_privileges(*arguments):
    """Run the program so that file permissions count, for root too."""
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and there is no setpriv to change that")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    here = Path(__file__).resolve().parents[2]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=here)


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_no_permission_costs_only_that_song(songs, tmp_path):
    secret = shutil.copy(songs / "Two.mp3", songs / "secret.mp3")
    Path(secret).chmod(0)
    done = _without_privileges(*FAST, "--out", tmp_path / "out", songs)
    assert done.returncode == 1
    assert "secret.mp3: Permission denied for the song" in done.stdout
    assert (tmp_path / "out/11_offline/Two.offline.flac").is_file()
    assert (tmp_path / "out/11_offline/Artist/One.offline.flac").is_file()


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_a_folder_that_may_not_be_written_to_is_told(songs, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    refused = _without_privileges(*FAST, "--out", closed / "out", songs)
    assert refused.returncode == 2 and "Permission denied" in refused.stderr and "--out" in refused.stderr


def _mount_small(tmp_path, size):
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a small disk")
    return folder


@pytest.mark.skipif(os.name != "posix", reason="needs mount")
def test_a_full_disk_is_told_and_nothing_half_written_stays(songs, tmp_path):
    disk = _mount_small(tmp_path, "3m")
    try:
        done = mp3restore("--no-tui", "--variants", "01,11", "--out", disk / "out", songs)
        left = [p for p in disk.rglob("*") if p.is_file() and p.suffix in (".tmp", ".chunk", ".flac")]
        whole = [p for p in left if p.suffix == ".flac" and soundfile.info(p).frames]
    finally:
        subprocess.run(["umount", disk], check=False)
    assert done.returncode == 1
    assert "The disk is full" in done.stdout and "Traceback" not in done.stdout + done.stderr
    assert [p for p in left if p.suffix == ".tmp"] == []
    assert len(whole) == len([p for p in left if p.suffix == ".flac"])


@pytest.mark.skipif(os.name != "posix", reason="needs mount")
def test_a_read_only_disk_is_told(songs, tmp_path):
    disk = _mount_small(tmp_path, "3m")
    try:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = mp3restore("--no-tui", "--out", disk / "out", songs)
    finally:
        subprocess.run(["umount", disk], check=False)
    assert done.returncode == 2 and "read-only" in done.stderr and "--out" in done.stderr


def test_a_list_of_files_that_is_called_a_song_leads_to_none_of_them(demo_mp3, tmp_path):
    """FFmpeg would open what it names, wherever that lies."""
    shutil.copy(demo_mp3, tmp_path / "private.mp3")
    for name in ("list.mp3", "list.wav"):
        (tmp_path / name).write_text("ffconcat version 1.0\nfile private.mp3\n")
        with pytest.raises(DecodeError):
            analyze(tmp_path / name)


def test_samples_that_cannot_be_sound_are_replaced_and_told(piece, tmp_path):
    path = tmp_path / "huge.wav"
    soundfile.write(path, (piece * 3e38).astype(np.float32), 44100, subtype="FLOAT")
    with np.errstate(all="raise"):
        found = analyze(path)
    assert found.peak == 0.0 and any("samples were not numbers" in w for w in found.warnings)


def test_whole_numbers_kept_as_floats_are_sound(piece, tmp_path):
    path = tmp_path / "whole.wav"
    soundfile.write(path, (piece * 32768).astype(np.float32), 44100, subtype="FLOAT")
    assert not any("not numbers" in w for w in analyze(path).warnings)


def test_a_rate_that_no_result_can_have_is_told(piece, tmp_path):
    soundfile.write(tmp_path / "fast.wav", piece, 768000)
    with pytest.raises(DecodeError, match="768000 Hz, which is not supported"):
        analyze(tmp_path / "fast.wav")


def test_what_is_wrong_is_told_without_the_librarys_numbers_and_paths(demo_mp3, tmp_path):
    (tmp_path / "two.mp3").write_bytes(frame_bytes(demo_mp3)[:836])
    with pytest.raises(DecodeError) as told:
        analyze(tmp_path / "two.mp3")
    assert "Errno" not in str(told.value) and str(tmp_path) not in str(told.value)


def test_songs_of_different_rates_in_one_file_are_told(demo_mp3, piece, tmp_path):
    soundfile.write(tmp_path / "other.mp3", piece, 16000, format="MP3")
    path = tmp_path / "joined.mp3"
    path.write_bytes(frame_bytes(demo_mp3) + (tmp_path / "other.mp3").read_bytes())
    found, good = analyze(path), analyze(demo_mp3)
    assert abs(found.frames - good.frames) < 6000
    assert any("between the MP3 frames" in w or "another kind" in w for w in found.warnings)


def test_a_header_that_promises_years_is_not_believed(demo_mp3, tmp_path):
    data = bytearray(demo_mp3.read_bytes())
    at = max(data.find(b"Info"), data.find(b"Xing"))
    data[at + 8 : at + 12] = b"\xff" * 4
    (tmp_path / "years.mp3").write_bytes(data)
    assert not any("--:--" in w for w in analyze(tmp_path / "years.mp3").warnings)
