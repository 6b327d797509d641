"""What vanishes in the midst of a run, and disks that are full there: one true sentence each."""

from __future__ import annotations

import errno
import shutil

import mutagen.flac
import numpy as np
import pytest

from engine.errors import explain_os_error
from engine.library.chunk_cache import ChunkCache
from engine.run import song_run
from engine.run.events import Progress, SongDone, SongWarning, TaskDone, TaskStarted
from engine.run.session import Session
from tests.conftest import execute
from tests.e2e.test_broken_inputs import _mount_small

VARIANTS = ["01", "11", "07"]


def failures(events):
    return [reason for e in events if isinstance(e, SongDone) for reason in e.failed]


@pytest.mark.parametrize(
    "moment",
    [(TaskStarted, "01_baseline"), (Progress, "01_baseline"), (TaskDone, "01_baseline"), (TaskStarted, "11_offline"),
     (Progress, "11_offline"), (TaskDone, "11_offline"), (TaskStarted, "07_mastered"), (Progress, "07_mastered")],
)  # fmt: skip
def test_an_output_folder_that_is_deleted_is_told_as_such(songs, tmp_path, moment):
    out = tmp_path / "out"
    session = Session([songs / "Two.mp3"], out, "offline", VARIANTS)
    left = [1]

    def delete(event):
        if left and isinstance(event, moment[0]) and event.variant == moment[1]:
            left.clear()
            shutil.rmtree(out)

    session.subscribe(delete)
    told = failures(execute(session))
    assert not left
    assert all("vanished" in t or "is not there" in t or "is missing" in t for t in told), (
        told
    )  # what began after it is made anew, and is no failure
    assert execute(Session([songs / "Two.mp3"], out, "offline", VARIANTS))[-1].failed == 0


@pytest.mark.parametrize("when", ["before it is read", "after it was analysed", "while it is decoded"])
def test_a_song_that_is_deleted_is_told_as_such(songs, tmp_path, when, monkeypatch):
    song = songs / "Two.mp3"
    analyze = song_run.analyze

    def with_deletion(path, checkpoint):
        if when == "before it is read":
            song.unlink()
        found = analyze(path, checkpoint)
        if when == "after it was analysed":
            song.unlink()
        return found

    monkeypatch.setattr(song_run, "analyze", with_deletion)
    session = Session([song], tmp_path / "out", "offline", VARIANTS)

    def delete(event):
        if when == "while it is decoded" and isinstance(event, TaskStarted):
            song.unlink(missing_ok=True)

    session.subscribe(delete)
    told = failures(execute(session))
    assert len(told) == 1 and "is not there: it may have been moved or its drive unplugged" in told[0], told


def test_a_disk_that_is_full_while_tagging_is_told_as_such(songs, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mutagen.flac.FLAC, "_save", full)
    events = execute(Session([songs / "Two.mp3"], tmp_path / "out", "offline", ["01"]))
    assert failures(events) == [
        "01_baseline: The disk is full, so the result could not be written: free some space and run again."
    ]
    assert [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".tmp", ".flac")] == []


def test_tags_that_do_not_fit_are_noted_and_the_song_is_done(songs, tmp_path):
    from mutagen.id3 import APIC, ID3

    tags = ID3(songs / "Two.mp3")
    tags.add(APIC(mime="image/png", type=3, desc="x", data=bytes(1 << 24)))
    tags.save()
    events = execute(Session([songs / "Two.mp3"], tmp_path / "out", "offline", ["01"]))
    assert failures(events) == [] and events[-1].done == 1
    assert any("left out: a picture (17 MB)" in e.text for e in events if isinstance(e, SongWarning))


def test_a_disk_that_is_full_while_chunks_are_kept_is_told_as_such(tmp_path):
    import subprocess

    disk = _mount_small(tmp_path, "1m")
    try:
        cache = ChunkCache(disk / "task", "0" * 64)
        with pytest.raises(OSError) as told:
            for index in range(100):
                cache.save(index, np.zeros((44100, 2), np.float32))
        kept = sorted(p.name for p in disk.rglob("*") if p.is_file())
        assert [cache.load(i, (44100, 2)) is not None for i in range(len(kept))] == [True] * len(kept)
    finally:
        subprocess.run(["umount", disk], check=False)
    assert explain_os_error(told.value, "the result").startswith("The disk is full")
    assert kept and all(name.endswith(".chunk") for name in kept)


def test_numpys_words_for_a_full_disk_are_understood():
    assert "disk is full" in explain_os_error(OSError("529200 requested and 71648 written"), "the result")
