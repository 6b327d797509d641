"""Tags and covers arrive in every variant, whatever kind they were."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile
from mutagen.apev2 import APEv2
from mutagen.flac import FLAC
from mutagen.id3 import APIC, COMM, ID3, TALB, TCON, TDRC, TIT2, TPE1, TRCK, TXXX, USLT

from engine.audio.tags import Tags, read_tags, write_tags
from tests.conftest import frame_bytes

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def bare(demo_mp3, tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(frame_bytes(demo_mp3))
    return path


@pytest.fixture
def flac(tmp_path):
    path = tmp_path / "song.flac"
    soundfile.write(path, np.zeros((1000, 2)), 44100)
    return path


@pytest.mark.parametrize("version", [3, 4])
def test_id3v2(bare, flac, version):
    tags = ID3()
    frames = (
        TIT2(text="Lied – 歌"), TPE1(text=["A", "B"]), TALB(text="[bold]Album"), TRCK(text="3/12"), TDRC(text="1999-05"),
        TCON(text="(17)"), COMM(lang="eng", desc="", text="hello"), USLT(lang="eng", text="la la"),
        TXXX(desc="MusicBrainz Album Id", text="abc"), TXXX(desc="REPLAYGAIN_TRACK_GAIN", text="-7.1 dB"),
        APIC(mime="image/png", type=3, desc="front", data=PNG),
    )  # fmt: skip
    for frame in frames:
        tags.add(frame)
    if version == 3:
        tags.update_to_v23()
    tags.save(bare, v2_version=version)
    found, problem = read_tags(bare)
    assert problem == ""
    write_tags(flac, found, {"MP3RESTORE_NOTE": "made"}, keep_replaygain=False)
    out = FLAC(flac)
    assert out["title"] == ["Lied – 歌"] and out["album"] == ["[bold]Album"] and out["genre"] == ["Rock"]
    assert "A" in out["artist"][0] and "B" in out["artist"][-1]
    assert out["tracknumber"] == ["3"] and out["tracktotal"] == ["12"] and out["date"][0].startswith("1999")
    assert out["comment"] == ["hello"] and out["lyrics"] == ["la la"] and out["musicbrainz album id"] == ["abc"]
    assert out["mp3restore_note"] == ["made"] and "replaygain_track_gain" not in out
    assert [(p.data, p.mime, p.type) for p in out.pictures] == [(PNG, "image/png", 3)]


def test_replaygain_stays_where_the_audio_did(bare, flac):
    tags = ID3()
    tags.add(TXXX(desc="REPLAYGAIN_TRACK_GAIN", text="-7.1 dB"))
    tags.save(bare)
    write_tags(flac, read_tags(bare)[0], {}, keep_replaygain=True)
    assert FLAC(flac)["replaygain_track_gain"] == ["-7.1 dB"]


def test_id3v1_alone(bare):
    fields = b"TAG" + b"Old Title".ljust(30, b"\0") + b"Old Artist".ljust(30, b"\0") + b"Old Album".ljust(30, b"\0")
    bare.write_bytes(bare.read_bytes() + fields + b"1987" + b"".ljust(28, b"\0") + b"\0\x05\x11")
    found, _ = read_tags(bare)
    assert (found.first("TITLE"), found.first("ARTIST"), found.first("DATE")) == (
        "Old Title",
        "Old Artist",
        "1987",
    )
    assert (found.first("TRACKNUMBER"), found.first("GENRE")) == ("5", "Rock")


def test_ape_fills_in_what_id3_does_not_say(bare):
    id3 = ID3()
    id3.add(TIT2(text="From ID3"))
    id3.save(bare)
    ape = APEv2()
    ape["Title"], ape["Artist"], ape["Track"], ape["Year"] = "From APE", ["X", "Y"], "4/9", "2001"
    ape.save(bare)
    found, _ = read_tags(bare)
    assert found.comments["TITLE"] == ["From ID3"] and found.comments["ARTIST"] == ["X", "Y"]
    assert (found.first("TRACKNUMBER"), found.first("TRACKTOTAL"), found.first("DATE")) == ("4", "9", "2001")


def test_vorbis_comments_of_a_flac_source(flac):
    source = FLAC(flac)
    source["title"], source["artist"] = "T", ["A", "B"]
    source.save()
    copy = shutil.copy(flac, flac.with_name("source.flac"))
    write_tags(flac, read_tags(copy)[0], {}, keep_replaygain=False)
    assert FLAC(flac)["artist"] == ["A", "B"]


def test_hostile_tags_never_stop_a_song(bare, flac):
    tags = ID3()
    for frame in (
        TIT2(text="a\0b\x1b[31m\u202e"),
        TXXX(desc="a=b\nc", text="x"),
        TXXX(desc="日本", text="y"),
    ):
        tags.add(frame)
    tags.save(bare)
    found, _ = read_tags(bare)
    write_tags(flac, found, {}, keep_replaygain=False)
    assert FLAC(flac)["title"]
    bare.write_bytes(b"ID3\4\0\0\0\0\x7f\x7f" + bytes(range(256)) * 70 + bare.read_bytes())
    read_tags(bare)  # does not raise, whatever it finds


@pytest.mark.parametrize("data", [(1 << 24) - 4000, (1 << 24) - 1, 1 << 24, (1 << 24) - 33 - len("image/png") - 1])
@pytest.mark.parametrize("description", ["", "d" * 5000, "é" * (1 << 17)])
def test_pictures_that_no_flac_file_holds_are_left_out_and_told(bare, flac, data, description):
    tags = ID3()
    tags.add(TIT2(text="Title"))
    tags.add(APIC(mime="image/png", type=3, desc=description, data=b"\x89PNG" + bytes(data - 4)))
    tags.save(bare)
    found, problem = read_tags(bare)
    write_tags(flac, found, {"MP3RESTORE_VERSION": "0"}, keep_replaygain=True)
    written = FLAC(flac)
    assert written["TITLE"] == ["Title"] and soundfile.info(flac).frames == 1000
    assert ("a picture (17 MB)" in problem) == (not written.pictures)
    assert ("the description of a picture" in problem) == (len(description) > 1 << 16)


def test_values_that_no_flac_file_holds_are_left_out_and_told(bare, flac):
    tags = ID3()
    tags.add(TIT2(text="Title"))
    tags.add(USLT(encoding=3, lang="eng", text="la" * (1 << 20)))
    for n in range(40):
        tags.add(TXXX(encoding=3, desc=f"N{n}", text=str(n % 10) * 900_000))
    tags.add(TXXX(encoding=3, desc="D" * 2_000_000, text="x"))
    tags.save(bare)
    found, problem = read_tags(bare)
    write_tags(flac, found, {"MP3RESTORE_CHAIN": "c" * 500_000}, keep_replaygain=True)
    written = FLAC(flac)
    assert written["TITLE"] == ["Title"] and written["MP3RESTORE_CHAIN"] and soundfile.info(flac).frames == 1000
    kept = [n for n in range(40) if f"N{n}" in written]
    assert 10 < len(kept) < 20 and "LYRICS" not in written  # as many as there is room for
    left_out = 40 - len(kept) + 2  # the lyrics, and what has an endless name
    assert "(900 kB)" in problem and f"and {left_out - 5} more" in problem and len(problem) < 500


def test_a_disk_that_takes_no_tags_is_told_as_such(flac, monkeypatch):
    import errno

    import mutagen.flac

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mutagen.flac.FLAC, "_save", full)
    with pytest.raises(OSError) as told:
        write_tags(flac, Tags(), {"MP3RESTORE_VERSION": "0"}, keep_replaygain=True)
    assert told.value.errno == errno.ENOSPC
