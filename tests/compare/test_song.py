"""Figures of one song, on material of which the truth is known."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image

from engine.audio.resample import resample
from engine.commands.demo import RATE, compose
from engine.compare.metrics import log_spectral_distance, si_sdr
from engine.compare.pictures import HEIGHT, WIDTH, difference_png, spectrogram_png
from engine.compare.song import compare
from engine.dsp.filters import filtered, lowpass
from engine.errors import SongError
from tests.conftest import write_mp3

CUTOFF = 12000.0


def written(folder, name, audio, rate=RATE):
    path = folder / f"{name}.flac"
    soundfile.write(path, audio, rate, "PCM_24")
    return path


def noise_above(length, hz, level):
    noise = np.random.default_rng(3).standard_normal((length, 2)).astype(np.float32) * np.float32(level)
    return noise - filtered(noise, lowpass(hz, 500, RATE))


@pytest.fixture(scope="module")
def signals(tmp_path_factory, piece):
    """A piece without its top as the plain decode, and what was done to it on purpose."""
    plain = 0.7 * filtered(piece, lowpass(CUTOFF, 500, RATE))
    top = noise_above(len(piece), CUTOFF + 600, 0.01)
    clicks, steps, mono = (plain + top), top.copy(), plain.copy()
    for second in (1.1, 2.6, 4.3):
        clicks[int(second * RATE)] += 0.3
    steps[3 * RATE :] *= 4
    mono[:] = plain.mean(axis=1, keepdims=True)
    folder = tmp_path_factory.mktemp("signals")
    made = {"plain": plain, "same": plain, "added": plain + top, "quiet": 0.5 * (plain + top), "clicks": clicks,
            "steps": plain + steps, "mono": mono}  # fmt: skip
    paths = {name: written(folder, name, audio) for name, audio in made.items()}
    paths["48k"] = written(folder, "48k", resample(plain + top, RATE, 48000), 48000)
    return paths, made


@pytest.fixture(scope="module")
def figures(signals):
    return {name: one.figures for name, one in compare(signals[0], "plain", CUTOFF).items()}


def test_what_only_adds_passes_the_null_test_at_any_level_and_rate(figures):
    for name in ("added", "quiet", "48k"):
        assert figures[name].residual < -75, name
        assert figures[name].generated > 0.99 and -45 < figures[name].above < -15, name
    assert figures["same"].residual < -130 and figures["plain"].residual is None
    assert figures["mono"].residual > -30


def test_levels_are_told_and_taken_out(figures, signals):
    assert figures["quiet"].gain == pytest.approx(-6.02, abs=0.01)
    assert figures["added"].gain == pytest.approx(0.0, abs=0.01)
    assert figures["quiet"].loudness == pytest.approx(figures["added"].loudness - 6.02, abs=0.05)
    assert figures["quiet"].octaves[:-1] == pytest.approx([0.0] * 8, abs=0.05) and figures["quiet"].octaves[-1] > 3
    one = figures["added"]
    assert one.plr == pytest.approx(one.true_peak - one.loudness, abs=0.02) and one.lra >= 0
    assert one.true_peak == pytest.approx(20 * np.log10(np.abs(signals[1]["added"]).max()), abs=0.6)


def test_width_is_side_against_mid(figures, signals):
    left, right = signals[1]["plain"].astype(np.float64).T
    truth = 10 * np.log10(((left - right) ** 2).sum() / ((left + right) ** 2).sum())
    assert figures["plain"].width == pytest.approx(truth, abs=0.3)
    assert figures["mono"].width == -150.0


def test_clicks_and_level_steps_are_counted_and_the_musics_own_attacks_are_not(figures):
    assert figures["clicks"].clicks == pytest.approx(30.0, abs=0.1)  # three in six seconds
    assert all(one.clicks == 0 for name, one in figures.items() if name != "clicks")
    assert figures["steps"].level_steps == pytest.approx(10.0, abs=0.1)
    assert figures["added"].level_steps == 0 and figures["clicks"].level_steps == 0


def test_pre_echo_of_an_mp3_is_gone_in_its_original(tmp_path, piece):
    plain, rate = soundfile.read(write_mp3(tmp_path / "low.mp3", piece, level=0.8), dtype="float32", always_2d=True)
    assert rate == RATE
    paths = {"plain": written(tmp_path, "plain", plain), "clean": written(tmp_path, "clean", piece[: len(plain)])}
    found = {name: one.figures for name, one in compare(paths, "plain", 10000.0).items()}
    assert found["plain"].attacks == found["clean"].attacks >= 8
    assert found["clean"].pre_echo < found["plain"].pre_echo - 1


def test_holes_that_are_filled_are_counted(tmp_path):
    whole = noise_above(4 * RATE, 300, 0.1)
    band = filtered(whole, lowpass(6000, 300, RATE)) - filtered(whole, lowpass(4000, 300, RATE))
    off = np.repeat(np.random.default_rng(5).random(40) < 0.2, RATE // 10)[:, None]
    first = np.arange(len(whole))[:, None] < len(whole) * np.flatnonzero(off)[off.sum() // 2] // len(off)
    paths = {
        "plain": whole - band * off,
        "whole": whole,
        "half": whole - band * (off & ~first),
        "same": whole - band * off,
    }
    paths = {name: written(tmp_path, name, audio) for name, audio in paths.items()}
    found = {name: one.figures for name, one in compare(paths, "plain", 16000.0).items()}
    assert 0.01 < found["plain"].holes < 0.1 and found["plain"].holes_filled is None
    assert found["same"].holes_filled == 0 and found["whole"].holes_filled > 0.99
    assert 0.3 < found["half"].holes_filled < 0.7


def test_against_an_original_that_starts_later_and_is_louder(signals, piece, tmp_path):
    paths, made = signals
    original = written(tmp_path, "original", np.concatenate([np.zeros((1105, 2), np.float32), piece]))
    two = {name: paths[name] for name in ("plain", "added", "quiet")}
    found = {name: one.figures.reference for name, one in compare(two, "plain", CUTOFF, original).items()}
    for name in two:
        matched = made["added" if name == "quiet" else name] / np.float32(0.7)
        assert found[name].lsd == pytest.approx(log_spectral_distance(piece, matched, RATE), abs=0.02), name
        assert found[name].si_sdr == pytest.approx(si_sdr(piece, made[name]), abs=0.05), name
        assert found[name].lsd_below < 0.4 < found[name].lsd_above, name
        assert found[name].octaves[:-1] == pytest.approx([0.0] * 8, abs=0.1) and found[name].visqol is None
    assert found["plain"].octaves[-1] < -3


def test_another_recording_is_no_original(signals, tmp_path):
    other = written(tmp_path, "other", compose(6.0, seed=12)[::-1].copy())
    with pytest.raises(SongError, match="not the original of this song"):
        compare({"plain": signals[0]["plain"]}, "plain", CUTOFF, other)


def test_broken_silent_short_and_empty_files(tmp_path, signals):
    broken = tmp_path / "broken.flac"
    broken.write_bytes(signals[0]["plain"].read_bytes()[:20000])
    with pytest.raises(SongError, match="made again"):
        compare({"plain": signals[0]["plain"], "broken": broken}, "plain", CUTOFF)
    with pytest.raises(SongError, match="made again"):
        compare({"plain": tmp_path / "gone.flac"}, "plain", CUTOFF)
    for frames in (1, 3000, 2 * RATE):
        silent = written(tmp_path, f"silent{frames}", np.zeros((frames, 2), np.float32))
        for one in compare({"plain": silent, "made": silent}, "plain", None).values():
            shown = one.figures
            assert shown.loudness is None and shown.residual is None and shown.clicks == 0
            assert shown.octaves == (None,) * 9 and one.picture.shape == (HEIGHT, WIDTH)
    with pytest.raises(SongError, match="channels"):
        compare({"plain": silent, "made": written(tmp_path, "one", np.zeros((99, 1), np.float32))}, "plain", None)


def test_pictures_are_pngs_that_show_where_something_was_added(signals):
    two = compare({name: signals[0][name] for name in ("plain", "quiet")}, "plain", CUTOFF)
    made, plain = two["quiet"], two["plain"]
    whole = Image.open(io.BytesIO(spectrogram_png(made.picture))).convert("RGB")
    assert whole.size == (WIDTH, HEIGHT)
    brightness = np.asarray(whole.convert("L"), np.float64)
    assert brightness[-20:].mean() > brightness[:20].mean() + 30
    more = np.asarray(
        Image.open(io.BytesIO(difference_png(made.picture, plain.picture, -6.02))).convert("RGBA"), np.float64
    )
    top = slice(0, round(HEIGHT * (1 - (CUTOFF + 1000) / (RATE / 2))))
    below = slice(round(HEIGHT * (1 - (CUTOFF - 1000) / (RATE / 2))), HEIGHT)
    assert more[top, :, 3].mean() > 100 and (more[top, :, 0] > more[top, :, 2])[more[top, :, 3] > 100].all()
    assert more[below, :, 3].mean() < 12


_MEASURE = """
import resource, sys
from pathlib import Path
from engine.compare.song import compare
one, two, many = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
compare({"plain": one, "made": two}, "plain", 12000.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
compare({"plain": many, "made": many}, "plain", 12000.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_memory_does_not_grow_with_the_song(signals, tmp_path):
    long = tmp_path / "long.flac"
    with soundfile.SoundFile(long, "w", RATE, 2, "PCM_24") as file:
        for _ in range(20):  # two minutes
            file.write(signals[1]["added"])
    arguments = [sys.executable, "-c", _MEASURE, *map(str, (signals[0]["plain"], signals[0]["added"], long))]
    grown = int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert grown < 25_000  # kB; the two signals alone would be 85 MB
