"""The tops of all stems together are what the song explains: nothing twice, nothing lost, below nothing touched."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from engine.dsp.share import Top, reaches, shares
from engine.dsp.spectrum import HANN, HOP, bin_of, power, stft
from engine.models import spleeter
from engine.player.listening_sets import of_song
from engine.run.events import Progress
from engine.run.session import Session
from tests.conftest import write_mp3
from tests.models.tf_checkpoints import spleeter_variables

RESTORE = '{ stage = "restore", engine = "learned" }'
RECIPE = f"""
format = 1
[variants.01]
chain = ["decode"]
suffix = ""
[variants.04]
chain = ["decode", {{ stage = "separate", model = "spleeter-4stems" }}]
suffix = ""
[variants.05]
from = "04"
chain = [{{ each = {{ vocals = [{RESTORE}], drums = [{RESTORE}], other = [{RESTORE}] }} }}, "share"]
suffix = ""
[variants.06]
from = "05"
chain = ["remix"]
suffix = ""
[variants.11]
chain = ["decode", {RESTORE}]
suffix = ""
"""


def spectra(audio):
    return stft(np.pad(audio, ((0, -len(audio) % HOP), (0, 0))), HANN)


def db(values):
    return 10 * np.log10(np.sum(values, dtype=float) + 1e-20)


def test_what_is_too_much_is_turned_down_and_what_is_missing_filled_up():
    top = Top(12000.0, 44100)
    rng = np.random.default_rng(0)
    noise = [spectra(0.1 * rng.standard_normal((44100, 2)).astype(np.float32)) for _ in range(3)]
    whole = np.zeros_like(noise[0])
    allowed = top.levels(noise[0])[8:-8]
    for level, filled in ((4.0, False), (0.3, True), (0.0, True)):
        signals = level * noise[1]
        gains = top.gains(signals, whole, noise[0], 1.0)
        assert (gains.own.max() <= 1, gains.filling.max() <= 1) == (True, True)
        assert (gains.filling.mean() > 0.5) == filled
        made = signals.copy()
        made[:, :, top.first :] *= top.spread(gains.own)[:, None]
        made[:, :, top.first :] += noise[0][:, :, top.first :] * top.spread(gains.filling)[:, None]
        off = 10 * np.log10(top.levels(made)[8:-8] / allowed)
        assert abs(off.mean()) < 0.7 and off.max() < 2.0, level


def test_who_reaches_the_cutoff_and_who_gets_what():
    near, whole = np.float32([1, 1e-2, 1e-6, 0]), np.float32([1, 1, 1, 0])
    opened = reaches(near, whole, -25.0)
    assert opened[0] == 1 and 0.5 < opened[1] < 1 and opened[2] == 0 and opened[3] == 1
    assert np.allclose(shares(np.float32([[3, 0], [1, 0]])), [[0.75, 0], [0.25, 0]])


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_below_the_cutoff_not_a_bit_is_changed_where_nothing_is_to_do(rate):
    top = Top(0.36 * rate, rate)
    window = np.random.default_rng(1).standard_normal((20 * HOP, 2)).astype(np.float32)
    bands = len(top.edges) - 1
    times = 21
    assert np.array_equal(top.apply(window, np.ones((times, bands), np.float32)), window[4 * HOP : -4 * HOP])
    quiet = top.apply(window, np.zeros((times, bands), np.float32))
    before, after = (np.abs(np.fft.rfft(a[:, 0] * np.hanning(len(a)))) for a in (window[4 * HOP : -4 * HOP], quiet))
    frequencies = np.fft.rfftfreq(len(quiet), 1 / rate)
    assert after[frequencies > 0.4 * rate].max() < 0.02 * before.max()
    assert np.abs(after - before)[frequencies < 0.3 * rate].max() < 1e-3 * before.max()


@pytest.fixture
def library(tmp_path, monkeypatch, piece):
    """A song and a network that tears it into four stems that are all alike: the worst that can bleed."""
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "models"))
    np.savez(tmp_path / "models" / spleeter.WEIGHTS["spleeter-4stems"].filename, **spleeter_variables(4))
    (tmp_path / "lib").mkdir()
    write_mp3(tmp_path / "lib" / "song.mp3", np.tile(piece, (3, 1)))
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path


def run(folder, out, after=None):
    session = Session([folder / "lib"], folder / out, str(folder / "r.toml"))
    if after is not None:
        session.subscribe(lambda e: session.stop() if isinstance(e, Progress) and after(e) else None)
    session.start(jobs=1).join()
    return session


def read(folder):
    return {p.relative_to(folder).as_posix(): soundfile.read(p, dtype="float32")[0] for p in folder.rglob("*.flac")}


def test_remixed_stems_have_the_top_that_the_song_has_alone(library):
    session = run(library, "whole")
    assert session.outcome.done == 1
    cutoff = session.store.record_at(session.songs[0].key).analysis.cutoff.hz
    made = read(library / "whole")
    alone, remixed, plain = (power(spectra(made[f"{v}/song.flac"])).sum(axis=1) for v in ("11", "06", "01"))
    first = bin_of(cutoff, 44100)
    width = bin_of(1000, 44100)
    for low in range(first, bin_of(20000, 44100), width):
        band = slice(low, low + width)
        assert abs(db(remixed[:, band]) - db(alone[:, band])) < 1.5
        moments = [p[: len(p) // 9 * 9, band].reshape(-1, 9 * width).sum(axis=1) for p in (remixed, alone)]
        loud = moments[1] > 1e-4 * moments[1].max()
        over = 10 * np.log10(moments[0][loud] / moments[1][loud])  # of 0.1 s
        assert np.percentile(over, 99) < 3.0
    low = bin_of(300, 44100)
    while low < first - 20:
        band = slice(low, int(low * 2 ** (1 / 3)))
        assert abs(db(remixed[:, band]) - db(plain[:, band])) < 0.5
        low = band.stop
    stems = next(c for c in of_song(session.store, session.songs[0], session.tasks).candidates if c.key == "04")
    assert all("/05/" in part.enhanced.as_posix() for part in stems.parts)  # what the mixer plays
    # Stopped after the first stretch, and between the writing of two stems: the same bytes.
    run(library, "again", lambda e: e.stage == "share" and e.chunk == 1)
    assert any((library / "again" / "_chunks").rglob("*.chunk"))
    assert run(library, "again").outcome.done == 1
    for path in (library / "whole").rglob("*.flac"):
        assert path.read_bytes() == (library / "again" / path.relative_to(library / "whole")).read_bytes(), path


def test_a_song_that_was_never_cut_passes_bit_by_bit(library, piece):
    (library / "lib" / "song.mp3").unlink()
    soundfile.write(library / "lib" / "song.wav", piece, 44100)
    (library / "r.toml").write_text(RECIPE.replace(f"vocals = [{RESTORE}], drums = [{RESTORE}], ", ""))
    assert run(library, "whole").outcome.done == 1
    made = read(library / "whole")
    assert np.array_equal(made["04/song/vocals.flac"], made["05/song/vocals.flac"])
