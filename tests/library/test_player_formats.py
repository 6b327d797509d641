"""Favourites in the formats that players need: the same sound as far as the format holds it, tags, covers, gains."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC, Picture

from engine.audio.player_formats import ENDINGS, reading
from engine.commands.demo import compose
from engine.commands.export import check_kind, export
from engine.errors import UsageError
from engine.library.layout import LISTENING
from engine.library.verdicts import change_verdict
from engine.run.session import Session
from tests.conftest import RATE, execute, mp3restore

RECIPE = 'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n'
RECIPE += '[variants.20_copy]\nfrom = "01_baseline"\nchain = [{ stage = "lowpass", cutoff_hz = 20000 }]\n'
COVER = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture
def session(tmp_path):
    """Two songs of one album and one of none, each with a favourite that was made."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "r.toml").write_text(RECIPE)
    music = compose(4.0)
    for name, gain, album in (("Loud", 0.9, "A"), ("Quiet", 0.2, "A"), ("Alone", 0.5, "")):
        path = tmp_path / "lib" / f"{name}.flac"
        soundfile.write(path, music * gain, RATE, subtype="PCM_24")
        flac = FLAC(path)
        flac.update({"title": name, "artist": ["One", "Two"], "tracknumber": "3", "tracktotal": "12", "mood": "calm"})
        flac.update({"album": album, "replaygain_track_gain": "+9.00 dB"} if album else {})
        picture = Picture()
        picture.data, picture.mime, picture.type = COVER, "image/png", 3
        flac.add_picture(picture)
        flac.save()
    session = Session([tmp_path / "lib"], tmp_path / "out", str(tmp_path / "r.toml"))
    execute(session)
    for song in session.songs:
        change_verdict(session.store.out / LISTENING / song.key, favourite="20_copy")
    return session


def sound(path):
    with reading(path) as (info, blocks):
        return np.concatenate(list(blocks)), info.rate


def made(session, song="Loud"):
    return next((session.store.out / "20_copy").glob(f"{song}*.flac"))


@pytest.mark.parametrize("kind", ENDINGS)
def test_the_sound_is_that_of_the_favourite(session, tmp_path, kind):
    result = export(session.store, session.songs, tmp_path / "To", kind=kind, gains=True)
    assert result.problems == [] and len(result.written) == 3
    path = tmp_path / "To" / f"Loud{ENDINGS[kind]}"
    before, _ = sound(made(session))
    after, rate = sound(path)
    if kind == "opus":
        assert rate == 48000 and abs(len(after) / rate - len(before) / RATE) < 0.05
        return
    assert rate == RATE and len(after) >= len(before)
    difference = after[: len(before)] - before
    if kind == "alac":
        assert not difference.any()
    elif kind == "flac16":
        assert soundfile.info(path).subtype == "PCM_16"
        noise = difference * 32768
        assert 0.4 < noise.std() < 0.6 and abs(np.corrcoef(noise[:, 0], before[:, 0])[0, 1]) < 0.02  # TPDF: 1/2 LSB
    else:
        assert 10 * np.log10((difference**2).mean() / (before**2).mean()) < -20


@pytest.mark.parametrize("kind", ENDINGS)
def test_tags_and_covers_are_kept_in_each_format(session, tmp_path, kind):
    export(session.store, session.songs, tmp_path / "To", kind=kind)
    file = mutagen.File(tmp_path / "To" / f"Loud{ENDINGS[kind]}")
    told = {str(name).upper(): value for name, value in file.tags.items()}
    if kind == "mp3":
        assert file["TIT2"] == ["Loud"] and file["TPE1"] == ["One", "Two"] and file["TRCK"] == ["3/12"]
        assert file["TMOO"] == ["calm"] and file.tags.getall("APIC")[0].data == COVER
    elif kind == "alac":
        assert file["\xa9nam"] == ["Loud"] and file["\xa9ART"] == ["One", "Two"] and file["trkn"] == [(3, 12)]
        assert file["----:com.apple.iTunes:MOOD"] == [b"calm"] and bytes(file["covr"][0]) == COVER
        assert file.info.codec == "alac" and file.info.bits_per_sample == 24
    else:
        assert file["title"] == ["Loud"] and file["artist"] == ["One", "Two"] and file["tracktotal"] == ["12"]
        assert "MP3RESTORE_CHAIN" in told  # where it comes from
        assert COVER in (file.pictures[0].data if kind == "flac16" else Picture(_picture(file)).data)


def _picture(file):
    import base64

    return base64.b64decode(file["metadata_block_picture"][0])


def test_gains_make_songs_equally_loud_and_keep_the_differences_of_an_album(session, tmp_path):
    export(session.store, session.songs, tmp_path / "To", kind="flac16", gains=True)
    loudness, track, album = {}, {}, {}
    for name in ("Loud", "Quiet", "Alone"):
        path = tmp_path / "To" / f"{name}.flac"
        tags = FLAC(path)
        loudness[name] = _loudness(path)
        track[name] = loudness[name] + float(tags["replaygain_track_gain"][0].removesuffix(" dB"))
        assert abs(float(tags["replaygain_track_peak"][0]) - np.abs(soundfile.read(path)[0]).max()) < 1e-3
        if name != "Alone":
            album[name] = float(tags["replaygain_album_gain"][0].removesuffix(" dB"))
        else:
            assert "replaygain_album_gain" not in tags
    assert all(abs(level + 18) < 0.1 for level in track.values())
    assert (
        album["Loud"] == album["Quiet"] and loudness["Loud"] + album["Loud"] > -18 > loudness["Quiet"] + album["Loud"]
    )


def _loudness(path):
    import pyloudnorm

    audio, rate = soundfile.read(path)
    found = pyloudnorm.Meter(rate).integrated_loudness(audio)
    return found


def test_opus_has_its_own_gains(session, tmp_path):
    export(session.store, session.songs, tmp_path / "To", kind="opus", gains=True)
    tags = mutagen.File(tmp_path / "To" / "Quiet.opus")
    assert not [name for name in tags if name.lower().startswith("replaygain")]
    quiet, loud = (int(mutagen.File(tmp_path / "To" / f"{n}.opus")["R128_TRACK_GAIN"][0]) for n in ("Quiet", "Loud"))
    assert abs((quiet - loud) / 256 - 20 * np.log10(0.9 / 0.2)) < 0.1 and "R128_ALBUM_GAIN" in tags


def test_a_second_time_nothing_is_made_and_what_changed_is_made_anew(session, tmp_path):
    target = tmp_path / "To"
    first = export(session.store, session.songs, target, kind="opus", gains=True)
    before = {p: p.stat().st_mtime_ns for p in target.rglob("*.opus")}
    assert len(first.written) == len(before) == 3
    again = export(session.store, session.songs, target, kind="opus", gains=True)
    assert len(again.up_to_date) == 3 and before == {p: p.stat().st_mtime_ns for p in target.rglob("*.opus")}
    one = next(song for song in session.songs if song.key.name == "Loud")
    change_verdict(session.store.out / LISTENING / one.key, favourite="01_baseline")
    third = export(session.store, session.songs, target, kind="opus", gains=True)
    assert sorted(third.written) == ["Loud.opus", "Quiet.opus"]  # of one album
    other = export(session.store, session.songs, target, kind="mp3")
    assert len(other.written) == 3 and not list(target.rglob("*.opus"))


def test_what_is_killed_in_the_middle_is_known_for_an_export_the_next_time(session, tmp_path, monkeypatch):
    from engine.commands import export as exporting

    target = tmp_path / "To"
    keep = exporting._Copies._keep

    def die(self, *arguments):
        keep(self, *arguments)
        if self.exports.files:
            raise KeyboardInterrupt  # the file is there, and the list was not written since

    monkeypatch.setattr(exporting._Copies, "_keep", die)
    with pytest.raises(KeyboardInterrupt):
        export(session.store, session.songs, target, kind="flac16")
    monkeypatch.undo()
    with pytest.raises(UsageError, match="no songs"):  # what was exported is none of a library's
        Session([target])
    result = export(session.store, session.songs, target, kind="flac16")
    assert result.problems == [] and len(list(target.rglob("*.flac"))) == 3


def test_foreign_files_and_broken_sources_cost_only_their_song(session, tmp_path):
    target = tmp_path / "To"
    target.mkdir()
    (target / "Loud.opus").write_text("my own")
    quiet = made(session, "Quiet")
    quiet.write_bytes(quiet.read_bytes()[:3000])
    result = export(session.store, session.songs, target, kind="opus")
    assert (target / "Loud.opus").read_text() == "my own" and result.written == ["Alone.opus"]
    assert len(result.problems) == 2 and all("\n" not in problem for problem in result.problems)
    assert {p.name for p in target.iterdir()} == {"Loud.opus", "Alone.opus", ".mp3restore-export.json"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
@pytest.mark.parametrize("kind", ENDINGS)
def test_a_folder_may_have_a_name_that_is_no_text(session, tmp_path, kind):
    target = Path(os.fsdecode(os.fsencode(tmp_path) + b"/To\xff"))
    result = export(session.store, session.songs[:1], target, kind=kind)
    assert result.problems == [] and len(result.written) == 1


def test_an_mp3_is_never_encoded_as_one_again(tmp_path):
    (tmp_path / "lib").mkdir()
    soundfile.write(tmp_path / "lib" / "a.mp3", compose(2.0), RATE, format="MP3")
    (tmp_path / "r.toml").write_text(RECIPE)
    session = Session([tmp_path / "lib"], tmp_path / "out", str(tmp_path / "r.toml"))
    change_verdict(session.store.out / LISTENING / session.songs[0].key, favourite="01_baseline")
    export(session.store, session.songs, tmp_path / "To", kind="mp3")
    assert (tmp_path / "To" / "a.mp3").read_bytes() == (tmp_path / "lib" / "a.mp3").read_bytes()


def test_on_the_command_line(session, tmp_path):
    told = mp3restore(
        "export", tmp_path / "lib", "--out", tmp_path / "out", "--to", tmp_path / "To", "--format", "alac"
    )
    assert told.returncode == 0 and "Loud.m4a" in told.stdout and "3 favourites in " in told.stdout
    wrong = mp3restore("export", tmp_path / "lib", "--to", tmp_path / "To", "--format", "wma")
    assert wrong.returncode == 2 and "There is no format 'wma': give flac16, alac, opus, mp3." in wrong.stderr
    with pytest.raises(UsageError, match="cannot be a link"):
        check_kind("opus", link=True)
    shutil.rmtree(tmp_path / "To")
