"""The stage as a run uses it: the same wherever chunks begin, nothing between hits, exact mono, stopped and resumed."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from benchmarks.transients import figures
from engine.audio.chunks import ChunkGeometry
from engine.signals import MIX
from engine.stages.transients import Transients, TransientsParams
from tests.conftest import write_mp3
from tests.dsp.test_transients import RATE, _hits
from tests.stages.test_stages import run

VARIANT = '[variants.20_hits]\nchain = ["decode", "transients"]\nsuffix = ".hits"\n'

DITHER = 4e-7  # of two files of 24 bits


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    return write_mp3(tmp_path_factory.mktemp("hits") / "hits.mp3", _hits()[0], level=0.75)


def test_only_what_lies_ahead_of_hits_changes(song, tmp_path):
    audio, _, _ = run(tmp_path, song, VARIANT)
    changed = np.flatnonzero(np.abs(audio["20_hits"] - audio["01_baseline"]).max(axis=1) > DITHER)
    ahead = _hits()[1][:, None] - changed
    assert len(changed)
    assert ((ahead >= 0) & (ahead < 0.04 * RATE)).any(axis=0).all()


def test_it_does_not_matter_where_chunks_begin(song, tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    whole, _, _ = run(tmp_path / "a", song, VARIANT)
    geometry = Transients().geometry

    def small(self, signal):
        return ChunkGeometry(geometry(signal).context, 0, geometry(signal).context)

    monkeypatch.setattr(Transients, "geometry", small)
    parts, _, _ = run(tmp_path / "b", song, VARIANT)
    assert np.abs(whole["20_hits"] - parts["20_hits"]).max() < 1e-6


def test_mono_stays_mono(tmp_path):
    path = write_mp3(tmp_path / "mono.mp3", np.repeat(_hits()[0][:, :1], 2, axis=1), level=0.75)
    audio, _, _ = run(tmp_path, path, VARIANT)
    assert (audio["20_hits"][:, 0] == audio["20_hits"][:, 1]).all()
    assert np.abs(audio["20_hits"] - audio["01_baseline"]).max() > DITHER


def test_the_shortest_song_passes(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.full((1, 2), 0.5), 8000)
    audio, _, _ = run(tmp_path, tmp_path / "one.wav", VARIANT)
    assert np.abs(audio["20_hits"] - audio["01_baseline"]).max() <= DITHER


def test_where_there_is_next_to_no_noise_nothing_is_done(tmp_path):
    """In what was never coded, and at 320 kbit/s."""
    soundfile.write(tmp_path / "cd.wav", _hits(bed=0.02)[0], RATE, subtype="FLOAT")
    write_mp3(tmp_path / "generous.mp3", _hits(bed=0.02)[0], level=0.0)
    for name in ("cd.wav", "generous.mp3"):
        audio, _, _ = run(tmp_path, tmp_path / name, VARIANT)
        assert np.abs(audio["20_hits"] - audio["01_baseline"]).max() <= DITHER
        note = FLAC((tmp_path / "out/20_hits" / name).with_suffix(".hits.flac"))["mp3restore_note"]
        assert note == ["next to no noise ahead of attacks, so nothing was done"]


def test_it_takes_and_gives_one_signal():
    assert Transients().inputs(None) == (MIX,)


def test_real_codings_have_3_db_less_pre_echo_and_nothing_worse(music):
    """Of drums in a mix, at 64 and 128 kbit/s, by an onset picker and a measure of their own."""
    found = [
        figures(music / piece, coding, TransientsParams())
        for piece in ("sp_amen", "gm_rock")
        for coding in ("64.mp3", "128.mp3")
    ]
    assert np.mean([it.pre for it in found]) < -3
    for it in found:
        assert it.pre < -2 and it.each < -2 and it.moved <= 2
        assert it.sdr[1] > it.sdr[0] - 0.02 and it.lsd[1] <= it.lsd[0]
