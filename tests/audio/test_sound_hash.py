"""A song is known by its sound: tags come and go, the hash stays; any change to the audio changes it."""

from __future__ import annotations

import random
import shutil
import tracemalloc

import mutagen
import mutagen.aiff
import mutagen.wave
import pytest
import soundfile
from mutagen.apev2 import APEv2
from mutagen.flac import Picture
from mutagen.id3 import APIC, ID3, TIT2

from engine.audio.sound_hash import flac_md5, sound_hash

PICTURE = bytes(range(256)) * 1500
LYRICS3 = b"LYRICSBEGIN" + b"IND0000200" + b"LYR00005hello"
LYRICS3 += f"{len(LYRICS3):06d}".encode() + b"LYRICS200"
FORMATS = {
    "song.mp3": ("MP3", None), "song.flac": ("FLAC", None), "song.wav": ("WAV", None), "song.aiff": ("AIFF", None),
    "song.rf64": ("RF64", None), "song.ogg": ("OGG", "VORBIS"), "song.opus": ("OGG", "OPUS"), "song.au": ("AU", None),
}  # fmt: skip


@pytest.fixture(params=FORMATS)
def song(request, tmp_path, piece):
    path = tmp_path / request.param
    kind, subtype = FORMATS[request.param]
    rate = 48000 if subtype == "OPUS" else 44100
    soundfile.write(path, piece, rate, format=kind, subtype=subtype)
    return path


def retag(path, title, cover):
    """As taggers do it, in the format's own way."""
    if path.suffix in (".mp3", ".rf64", ".au"):
        tags = ID3()
        tags.add(TIT2(text=title))
        if cover:
            tags.add(APIC(mime="image/png", type=3, data=cover))
        tags.save(path)
        return
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    if isinstance(file.tags, ID3):
        file.tags.add(TIT2(text=title))
        if cover:
            file.tags.add(APIC(mime="image/png", type=3, data=cover))
    else:
        file["title"] = title
        if cover and path.suffix == ".flac":
            picture = Picture()
            picture.data, picture.mime = cover, "image/png"
            file.add_picture(picture)
        elif cover:
            file["comment"] = "x" * len(cover)  # takes several pages
    file.save()


def test_tags_and_covers_leave_it_alone(song):
    plain, before = sound_hash(song), song.read_bytes()
    for title, cover in (("One", b""), ("Another, longer title", PICTURE), ("T", b"")):
        retag(song, title, cover)
        assert song.read_bytes() != before
        assert sound_hash(song) == plain


def test_other_audio_is_another_song(song, piece, tmp_path):
    first = sound_hash(song)
    data = song.read_bytes()
    middle = len(data) // 2
    song.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    assert sound_hash(song) != first
    song.write_bytes(data[:middle])
    assert sound_hash(song) != first
    other = tmp_path / f"other{song.suffix}"
    kind, subtype = FORMATS[song.name]
    soundfile.write(other, piece * 0.9, 48000 if subtype == "OPUS" else 44100, format=kind, subtype=subtype)
    assert sound_hash(other) != first


def test_the_rate_is_part_of_the_sound(tmp_path, piece):
    for name, kind in (("a.wav", "WAV"), ("a.aiff", "AIFF"), ("a.flac", "FLAC")):
        soundfile.write(tmp_path / name, piece, 44100, format=kind)
        first = sound_hash(tmp_path / name)
        soundfile.write(tmp_path / name, piece, 48000, format=kind)
        assert sound_hash(tmp_path / name) != first


def test_every_tag_that_an_mp3_can_carry(demo_mp3, tmp_path):
    path = tmp_path / "song.mp3"
    shutil.copy(demo_mp3, path)
    plain = sound_hash(path)
    bare = path.read_bytes()
    id3v1 = b"TAG" + bytes(125)
    extended = b"TAG+" + bytes(223)
    ape = APEv2()
    ape["Title"] = "Ape"
    ape.save(path)
    assert sound_hash(path) == plain
    with_ape = path.read_bytes()
    footer = b"3DI\x04\x00\x10\x00\x00\x00\x20"
    appended = b"ID3\x04\x00\x10\x00\x00\x00\x20" + bytes(32) + footer
    old_lyrics = b"LYRICSBEGIN" + b"la la " * 50 + b"LYRICSEND"
    for tail in (id3v1, extended + id3v1, LYRICS3, LYRICS3 + id3v1, old_lyrics + id3v1, appended):
        for body in (bare, with_ape):
            path.write_bytes(body + tail)
            assert sound_hash(path) == plain, tail[:11]
    path.write_bytes(b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10) + bare)
    assert sound_hash(path) == plain
    path.write_bytes(b"ID3\x03\x00\x00\x7f\x7f\x7f\x7f" + bare)  # a length that is a lie is no tag
    assert sound_hash(path) != plain


def test_junk_inside_and_before_belongs_to_the_sound_and_survives_retagging(demo_mp3, tmp_path):
    data = sound_only = demo_mp3.read_bytes()
    size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
    tag, sound_only = data[: 10 + size], data[10 + size :]
    path = tmp_path / "broken.mp3"
    hashes = {sound_hash(demo_mp3)}
    for junk in (b"\0" * 500, b"junk" * 100):
        for body in (junk + sound_only, sound_only[:5000] + junk + sound_only[5000:]):
            path.write_bytes(tag + body)
            first = sound_hash(path)
            hashes.add(first)
            retag(path, "Now", PICTURE)
            assert sound_hash(path) == first
    assert len(hashes) == 5


def test_it_never_fails_on_what_a_file_holds(song):
    dice = random.Random(3)
    good = song.read_bytes()
    for _ in range(60):
        data = bytearray(good)
        for _ in range(dice.randrange(1, 40)):
            data[dice.randrange(min(len(data), 4000) if dice.random() < 0.7 else len(data))] = dice.randrange(256)
        song.write_bytes(data[: dice.choice([len(data), dice.randrange(len(data))])])
        assert len(sound_hash(song)) == 64
    for content in (b"", b"f", b"fLaC", b"RIFF", b"OggS", b"ID3", b"TAG", b"APETAGEX" * 4, b"TAG" + bytes(125)):
        song.write_bytes(content)
        assert len(sound_hash(song)) == 64


def test_it_reads_with_little_memory(tmp_path):
    path = tmp_path / "long.mp3"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"\xff\xfb\x90\x00" * (1 << 18))
    tracemalloc.start()
    sound_hash(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_flac_md5_is_that_of_the_samples(tmp_path, piece, demo_mp3):
    soundfile.write(tmp_path / "a.flac", piece, 44100, subtype="PCM_24")
    assert flac_md5(tmp_path / "a.flac") == f"{mutagen.File(tmp_path / 'a.flac').info.md5_signature:032x}"
    assert flac_md5(demo_mp3) == ""
