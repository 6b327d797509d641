"""The offline restorer adds what is missing and touches nothing else; on real music it comes nearer to the original."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile
from scipy.ndimage import binary_dilation, uniform_filter

from engine.dsp.spectrum import FFT, HOP, power, stft
from engine.run.session import Session
from tests.conftest import MUSIC, execute, write_mp3

RECIPE = """
format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.11_offline]
chain = ["decode", "restore"]
[variants.21_top_only]
chain = ["decode", { stage = "restore", fill_holes = false }]
"""


def restore(tmp_path, *paths):
    """Run and give per song: its cutoff, rate, and the samples of every variant."""
    (tmp_path / "r.toml").write_text(RECIPE)
    session = Session(list(paths), tmp_path / "out", str(tmp_path / "r.toml"))
    execute(session, jobs=2)
    result = {}
    for song in session.songs:
        cutoff = session.store.record(song).analysis.cutoff.hz
        audio = {}
        for task in session.tasks:
            audio[task.id], rate = soundfile.read(
                session.store.output_path(song, task), dtype="float32", always_2d=True
            )
        result[song.id] = (cutoff, rate, audio)
    return result


def residuals(cutoff, rate, base, made):
    """(dB of the change below the cutoff, the same outside of holes) against the baseline."""
    frames = len(base) // HOP * HOP
    before, change = power(stft(base[:frames])), power(stft((made - base)[:frames]))
    below = np.arange(FFT // 2 + 1) * rate / FFT < cutoff - 500
    around = uniform_filter(before, size=(31, 1, 25), mode="nearest")
    kept = ~binary_dilation(before < around * 10**-2.9, np.ones((7, 1, 7)))[:, :, below]

    def db(mask):
        return 10 * np.log10(change[:, :, below][mask].sum() / before[:, :, below][mask].sum() + 1e-20)

    return db(np.ones_like(kept)), db(kept)


def test_the_original_passes_untouched(tmp_path, piece):
    path = write_mp3(tmp_path / "song.mp3", piece)
    cutoff, rate, audio = restore(tmp_path, path)["song.mp3"]
    assert len({a.shape for a in audio.values()}) == 1
    assert residuals(cutoff, rate, audio["01_baseline"], audio["21_top_only"])[0] < -60
    assert residuals(cutoff, rate, audio["01_baseline"], audio["11_offline"])[1] < -60
    top = np.arange(FFT // 2 + 1) * rate / FFT > cutoff + 300
    before, after = (power(stft(audio[v][: 100 * HOP]))[:, :, top].sum() for v in ("01_baseline", "11_offline"))
    assert after > 100 * before


def test_chunks_leave_no_trace(tmp_path, piece):
    """The same music around a chunk border and away from it comes out the same, but for the noise's own dice."""
    from engine.stages.restore import _SIZE

    long = np.tile(piece, (-(-int(1.3 * _SIZE) // len(piece)), 1))
    path = write_mp3(tmp_path / "song.mp3", long)
    _, _, audio = restore(tmp_path, path)["song.mp3"]
    added = audio["11_offline"] - audio["01_baseline"]
    blocks = np.sqrt((added[: len(added) // 441 * 441] ** 2).reshape(-1, 441, 2).mean(axis=(1, 2)))
    seam = _SIZE // 441
    jumps = np.abs(np.diff(20 * np.log10(blocks + 1e-7)))
    assert jumps[seam - 15 : seam + 15].max() <= np.percentile(jumps, 99.9)
    assert np.abs(np.diff(added[_SIZE - 6000 : _SIZE + 6000], axis=0)).max() <= np.abs(np.diff(added, axis=0)).max()


def test_an_exactly_mono_song_stays_mono_and_is_done_once(tmp_path, piece):
    path = write_mp3(tmp_path / "song.mp3", np.repeat(piece[:, :1], 2, axis=1))
    _, _, audio = restore(tmp_path, path)["song.mp3"]
    for made in audio.values():
        assert made.shape[1] == 2 and (made[:, 0] == made[:, 1]).all()


def test_a_song_that_was_never_cut_is_left_alone(tmp_path, piece):
    soundfile.write(tmp_path / "full.wav", piece, 44100)
    _, _, audio = restore(tmp_path, tmp_path / "full.wav")["full.wav"]
    assert np.abs(audio["11_offline"] - audio["01_baseline"]).max() < 1e-6


def test_silence_stays_silence(tmp_path):
    path = write_mp3(tmp_path / "song.mp3", np.zeros((44100 * 3, 2), np.float32))
    _, _, audio = restore(tmp_path, path)["song.mp3"]
    assert max(np.abs(a).max() for a in audio.values()) < 1e-6


@pytest.fixture(scope="module")
def scored(tmp_path_factory, music):
    """LSD (q16) of plain decode and restored, for every item with a reference at 64, 96 and 128 kbit/s."""
    sys.path.insert(0, str(MUSIC.parent))
    pytest.importorskip("score")
    import score

    table = {}
    items = sorted(p.parent.name for p in music.glob("*/ref.flac"))
    for item in items:
        paths = [music / item / f"{rate}.mp3" for rate in (64, 96, 128)]
        made = restore(tmp_path_factory.mktemp(item), *paths)
        reference, rate = soundfile.read(music / item / "ref.flac", always_2d=True)
        for path in paths:
            cutoff, own, audio = made[path.name]
            both = []
            for variant in ("01_baseline", "11_offline"):
                result = score.score(reference, rate, audio[variant].astype(float), own, cutoff, fast=True)
                assert result["offset"] == 0
                both.append(result["lsd_q16"])
            table[item, int(path.stem)] = both
    return table


@pytest.mark.slow
@pytest.mark.parametrize("bitrate", [64, 96, 128])
def test_restored_is_nearer_to_the_original_than_plain(scored, bitrate):
    plain, restored = np.mean([v for (_, b), v in scored.items() if b == bitrate], axis=0)
    assert restored < 0.8 * plain


@pytest.mark.slow
def test_no_song_gets_worse(scored):
    worse = {k: round(r / p, 3) for k, (p, r) in scored.items() if r > 1.02 * p}
    assert worse == {}


@pytest.mark.slow
def test_real_encodings_pass_the_null_test(music, tmp_path):
    for name, (cutoff, rate, audio) in restore(tmp_path, music / "apollo_48k_1", music / "real_vibeace").items():
        if name.endswith(".mp3"):
            assert residuals(cutoff, rate, audio["01_baseline"], audio["21_top_only"])[0] < -60, name
            assert residuals(cutoff, rate, audio["01_baseline"], audio["11_offline"])[1] < -60, name
