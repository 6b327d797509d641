"""Albums mastered as one: their songs' differences stay, and who is of an album is told by folder and tag."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TALB

from engine.audio.loudness import LoudnessMeter, gated_loudness, loudness_together
from engine.planning.task import State
from engine.run.events import TaskDone
from engine.run.session import Session
from tests.conftest import execute, write_mp3

RECIPE = (
    'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.07_mastered]\n'
    'from = "01_baseline"\nchain = [{ stage = "master", target = "album" }]\nsuffix = ""\n'
)
LEVELS = {"soft": 0.06, "middle": 0.2, "loud": 0.6}


def tagged(path, album):
    tags = ID3()
    if album:
        tags.add(TALB(encoding=3, text=[album]))
    tags.save(path)


@pytest.fixture
def album(tmp_path, piece):
    """Three songs of an album: 10 dB from each to the next, another length each."""
    folder = tmp_path / "lib" / "Artist" / "Album"
    folder.mkdir(parents=True)
    for n, (name, level) in enumerate(LEVELS.items()):
        write_mp3(folder / f"{name}.mp3", piece[: (4 + n) * 22050] * level)
        tagged(folder / f"{name}.mp3", "The Album")
    (tmp_path / "r.toml").write_text(RECIPE)
    return folder


def session_of(folder, *given):
    top = folder.parents[1]
    return Session([*given] or [top], top.parent / "out", str(top.parent / "r.toml"))


def blocks_of(paths):
    for path in paths:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        meter = LoudnessMeter(rate, 2)
        meter.process(audio)
        yield meter.integrated(), meter.blocks()


def masters(folder):
    return sorted((folder.parents[2] / "out/07_mastered").rglob("*.flac"))


def made(events):
    return sorted(e.song.rpartition("/")[2] for e in events if isinstance(e, TaskDone) and e.variant == "07_mastered")


def states(session):
    return {p.song.path.stem: p.states["07_mastered"] for p in session.states()}


def test_an_albums_songs_keep_their_differences_and_meet_the_target_together(album):
    execute(session_of(album), jobs=2)
    before, _ = zip(*blocks_of(sorted(album.glob("*.mp3"))), strict=True)
    after, blocks = zip(*blocks_of(masters(album)), strict=True)
    assert np.ptp(before) > 15
    assert np.ptp(np.array(after) - before) < 0.1  # the loudest is limited: it is as much louder all the same
    assert loudness_together(blocks) == pytest.approx(-14, abs=0.15)
    tags = FLAC(masters(album)[0])
    assert "its album is mastered to -14 LUFS" in tags["mp3restore_note"][0]
    assert made(execute(session_of(album))) == []


def test_a_song_that_comes_later_makes_the_others_anew_and_one_that_changes_nothing_does_not(album, piece):
    execute(session_of(album))
    first = masters(album)[1].read_bytes()
    for name, level in (("whisper", 0.0005), ("shout", 1.0)):
        write_mp3(album / f"{name}.mp3", piece[:66150] * level)
        tagged(album / f"{name}.mp3", "the album ")
        session = session_of(album)
        assert set(states(session).values()) == {State.STALE, State.TODO}
        wanted = ["whisper.mp3"] if name == "whisper" else [f"{n}.mp3" for n in sorted([*LEVELS, "shout", "whisper"])]
        assert made(execute(session)) == wanted
        assert set(states(session).values()) == {State.DONE}
    (album / "shout.mp3").unlink()
    execute(session_of(album))
    assert masters(album)[1].name == "middle.flac" and masters(album)[1].read_bytes() == first


def test_who_has_no_album_or_is_alone_in_it_is_mastered_alone(album):
    tagged(album / "soft.mp3", "")
    tagged(album / "middle.mp3", "Another")
    shutil.copy(album / "loud.mp3", album.parent / "elsewhere.mp3")
    execute(session_of(album))
    assert [loudness for loudness, _ in blocks_of(masters(album))] == pytest.approx([-14] * 4, abs=0.1)
    assert not [p for p in (album.parents[2] / "out/_done").rglob("album.json") if 'blocks": [' in p.read_text()]


def test_a_song_of_the_album_that_cannot_be_decoded_costs_itself(album):
    broken = (album / "soft.mp3").read_bytes()[:2000]
    (album / "broken.mp3").write_bytes(broken[:200])
    tagged(album / "broken.mp3", "The Album")
    execute(session_of(album))
    assert len(masters(album)) == 3 and np.ptp([loudness for loudness, _ in blocks_of(masters(album))]) > 15


def test_one_that_moves_takes_what_is_known_along_and_damage_is_measured_anew(album):
    execute(session_of(album))
    known = album.parents[2] / "out/_done/Artist/Album/loud/album.json"
    known.write_text(known.read_text().replace("0", "1"))
    session = session_of(album)
    assert set(states(session).values()) == {State.STALE}
    assert made(execute(session)) == [] and set(states(session_of(album)).values()) == {State.DONE}
    album.rename(album.with_name("Renamed"))
    assert made(execute(session_of(album.with_name("Renamed")))) == []


def test_blocks_of_songs_together_are_gated_as_one(piece):
    parts = [np.tile(piece, (4, 1)) * level for level in (0.6, 0.1, 0.003)]  # what spans two of them counts for little
    together = LoudnessMeter(44100, 2)
    alone = []
    for part in parts:
        together.process(part)
        meter = LoudnessMeter(44100, 2)
        meter.process(part)
        alone.append(meter.blocks())
    assert loudness_together(alone) == pytest.approx(together.integrated(), abs=0.1)
    assert loudness_together([]) == loudness_together([{}]) == gated_loudness(np.zeros(0))


@pytest.mark.parametrize(("target", "wanted"), [("streaming", -14), ("ebu", -23)])
def test_targets_are_what_they_say(tmp_path, piece, target, wanted):
    soundfile.write(tmp_path / "s.wav", piece[:88200], 44100)
    (tmp_path / "r.toml").write_text(RECIPE.replace("album", target))
    execute(Session([tmp_path / "s.wav"], tmp_path / "o", str(tmp_path / "r.toml")))
    assert next(blocks_of([tmp_path / "o/07_mastered/s.flac"]))[0] == pytest.approx(wanted, abs=0.1)


def test_without_a_target_only_the_ceiling_counts_and_what_was_turned_down_on_the_way_comes_back(tmp_path, piece):
    for name, level in (("quiet", 0.2), ("over", 1.3)):
        soundfile.write(tmp_path / f"{name}.wav", piece[:88200] * level, 44100, subtype="FLOAT")
    (tmp_path / "r.toml").write_text(RECIPE.replace("album", "none"))
    execute(Session([tmp_path / "quiet.wav", tmp_path / "over.wav"], tmp_path / "o", str(tmp_path / "r.toml")))
    made = {
        name: soundfile.read(tmp_path / f"o/07_mastered/{name}.flac", dtype="float32")[0] for name in ("quiet", "over")
    }
    assert np.abs(made["quiet"] - piece[:88200] * 0.2).max() < 3e-7
    assert np.abs(made["over"]).max() <= 10 ** (-1 / 20)
    soft = np.abs(piece[:88200]).max(axis=1) < 0.02  # far from what the limiter has to do with
    assert np.median(np.abs(made["over"][soft]) / np.abs(piece[:88200][soft] * 1.3 + 1e-9)) > 0.8
    tags = FLAC(tmp_path / "o/07_mastered/over.flac")
    assert tags["mp3restore_gain"] == ["0.00 dB"] and "as loud as it was" in tags["mp3restore_note"][0]
