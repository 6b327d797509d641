"""What is a song and what is not: pipes, circles, and above all our own results."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from threading import Barrier

import numpy as np
import pytest
import soundfile

from engine.audio.tags import Tags, has_provenance, write_tags
from engine.errors import UsageError
from engine.library.scan import find_songs
from engine.run.events import SongStarted
from engine.run.session import Session
from tests.conftest import another_song, execute

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")
NAMES = ["Artist/One.mp3", "Two.mp3"]


@pytest.fixture(autouse=True)
def no_hang():
    if os.name == "posix":
        signal.alarm(120)
    yield
    if os.name == "posix":
        signal.alarm(0)


def names(paths, out):
    return [item.relative.as_posix() for item in find_songs(paths, out)]


@POSIX
def test_only_files_are_songs_and_what_is_not_is_told(songs, tmp_path, capsys):
    os.mkfifo(songs / "pipe.mp3")
    (songs / "device.mp3").symlink_to("/dev/zero")
    (songs / "nothing.mp3").symlink_to("gone")
    (songs / "circle.mp3").symlink_to("circle.mp3")
    (songs / "folder.mp3").mkdir()
    (songs / "round").symlink_to(songs)
    (songs / "linked.mp3").symlink_to(shutil.copy(songs / "Two.mp3", tmp_path / "elsewhere.mp3"))
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(songs / "plug.mp3"))
    assert names([songs], tmp_path / "out") == ["Artist/One.mp3", "linked.mp3", "Two.mp3"]
    told = capsys.readouterr().err.splitlines()
    assert [
        sum(f"{n}.mp3 was left out" in line for line in told) for n in ("pipe", "device", "nothing", "circle", "plug")
    ] == [1] * 5
    assert len(told) == 5
    for name in ("pipe.mp3", "device.mp3"):
        with pytest.raises(UsageError, match="no file but"):
            find_songs([songs / name], tmp_path / "out")


@POSIX
def test_folders_may_be_very_deep(tmp_path, demo_mp3):
    folder = tmp_path
    for _ in range(1200):
        folder = folder / "d"
    subprocess.run(["mkdir", "-p", folder], check=True)  # deeper than Python can make or remove
    shutil.copy(demo_mp3, folder / "x.mp3")
    try:
        assert len(find_songs([tmp_path], tmp_path / "out")) == 1
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


# --- results are no songs ---------------------------------------------------------------------------------


def run(library, out):
    return execute(Session([library], out, "offline", ["01", "11"]))[-1]


def test_results_in_the_library_itself_are_no_songs(songs):
    assert run(songs, songs).done == 2
    for _ in range(2):
        assert names([songs], songs) == NAMES
        assert run(songs, songs).up_to_date == 2
    shutil.rmtree(songs / "_done")
    assert names([songs], songs) == NAMES  # by their tags


@POSIX
def test_an_output_folder_that_is_a_link_into_the_library_holds_no_songs(songs, tmp_path):
    (songs / "Made").mkdir()
    (tmp_path / "link").symlink_to(songs / "Made")
    for made in ("done", "up_to_date"):
        assert getattr(run(songs, tmp_path / "link"), made) == 2
        assert names([songs], tmp_path / "link") == NAMES
    (tmp_path / "other").symlink_to(songs)
    assert names([tmp_path / "other"], tmp_path / "other") == NAMES


def test_renamed_moved_and_taken_apart_results_are_no_songs(songs, tmp_path):
    run(songs, songs / "AI_Restored_Variants")
    assert names([songs], tmp_path / "new") == NAMES
    (songs / "AI_Restored_Variants").rename(songs / "Nice ones")
    assert names([songs], tmp_path / "new") == NAMES
    (songs / "Nice ones" / "11_offline").rename(songs / "Best")
    assert names([songs], tmp_path / "new") == NAMES
    assert sum(1 for _ in (songs / "Best").rglob("*.flac")) == 2
    with pytest.raises(UsageError, match="is a result"):
        find_songs([songs / "Best" / "Two.offline.flac"], tmp_path / "new")
    with pytest.raises(UsageError, match="no songs"):
        Session([songs / "Best"], tmp_path / "new", "offline")


def test_music_beside_results_is_music(songs, demo_mp3):
    """A folder of the user's may be called like ours, or lie where results lie."""
    for place in ("_done/Three.mp3", "Made/Four.mp3"):
        (songs / place).parent.mkdir()
        shutil.copy(demo_mp3, songs / place)
    soundfile.write(songs / "Five.flac", np.zeros((1000, 2)), 44100)
    everything = ["_done/Three.mp3", "Artist/One.mp3", "Five.flac", "Made/Four.mp3", "Two.mp3"]
    assert names([songs], songs / "elsewhere") == everything
    assert run(songs / "Made", songs / "Made").done == 1
    assert names([songs], songs / "elsewhere") == everything


def test_only_our_comment_counts(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros((1000, 2)), 44100)
    tags = Tags()
    tags.add("LYRICS", ["MP3RESTORE_VERSION=1 is what they sing"])
    write_tags(path, tags, {}, keep_replaygain=True)
    assert not has_provenance(path)
    tags.add("COMMENT", ["x" * 500_000])
    write_tags(path, tags, {"MP3RESTORE_VERSION": "0.1"}, keep_replaygain=True)
    assert has_provenance(path)
    whole = path.read_bytes()
    for size in (0, 3, 8, 50, 200, 1000):
        path.write_bytes(whole[:size])
        assert not has_provenance(path)
    for byte in range(4, 120):
        path.write_bytes(whole[:byte] + b"\xff" + whole[byte + 1 :])
        has_provenance(path)


@pytest.mark.slow
def test_ten_thousand_songs_are_found_at_once(tmp_path):
    for folder in range(100):
        (tmp_path / f"{folder}").mkdir()
        for n in range(100):
            (tmp_path / f"{folder}" / f"{n}.mp3").touch()
    began = time.monotonic()
    assert len(find_songs([tmp_path], tmp_path / "out")) == 10_000
    assert time.monotonic() - began < 5


def test_songs_of_one_name_from_several_folders_are_worked_on_at_a_time(songs, tmp_path, demo_mp3):
    (tmp_path / "other" / "Artist").mkdir(parents=True)
    another_song(demo_mp3, tmp_path / "other" / "Artist" / "One.mp3")
    session = Session([songs / "Artist", tmp_path / "other" / "Artist"], tmp_path / "out", "offline", ["01"])
    assert [song.id for song in session.songs] == ["One.mp3", "One.mp3 (2)"], "or nobody could tell them apart"
    begun = Barrier(2, timeout=30)  # neither goes on before both have begun
    session.subscribe(lambda event: begun.wait() if isinstance(event, SongStarted) else None)
    session.start(jobs=2).join()
    assert (session.outcome.done, session.outcome.error) == (2, "")
