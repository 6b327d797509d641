"""Decoding is sample-exact: what comes out is as long as what went into the encoder, and in step with it."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import soxr

from engine.analysis.song import analyze
from engine.audio import decode
from engine.audio.decode import open_decoder, read_facts
from engine.errors import DecodeError
from engine.machine.warm_child import Pool
from tests.conftest import write_mp3

ENCODERS = {
    "libsndfile": None,
    "lame": ["lame", "--quiet", "{wav}", "{mp3}"],
    "ffmpeg": ["ffmpeg", "-v", "error", "-y", "-i", "{wav}", "-c:a", "libmp3lame", "{mp3}"],
}
MODES = {
    "lame": {"CBR": ["-b", "128"], "VBR": ["-V", "4"]},
    "ffmpeg": {"CBR": ["-b:a", "128k"], "VBR": ["-q:a", "4"]},
}


def encode(encoder, mode, audio, rate, folder):
    wav, mp3 = folder / "in.wav", folder / "out.mp3"
    if encoder == "libsndfile":
        # At the lowest bitrates LAME leaves its tag out, as it does not fit into a frame: nothing to be exact by.
        return write_mp3(mp3, audio, rate, "CONSTANT" if mode == "CBR" else "VARIABLE", 0.7 if rate > 32000 else 0.5)
    if shutil.which(encoder) is None:
        pytest.skip(f"needs {encoder}")
    soundfile.write(wav, audio, rate)
    extra = MODES[encoder][mode]
    if rate < 32000 and mode == "CBR":
        extra = [extra[0], extra[1].replace("128", "64")]
    if encoder == "lame":
        extra = [*extra, "--resample", str(rate / 1000)]
    command = [part.format(wav=wav, mp3=mp3) for part in ENCODERS[encoder]]
    subprocess.run(
        [*command[:-1], *extra, command[-1]] if encoder == "ffmpeg" else [command[0], *extra, *command[1:]],
        check=True,
    )
    return mp3


def lag(a, b, most=3000):
    """Frames by which ``b`` is late against ``a``."""
    n = min(len(a), len(b), 1 << 16)
    spectrum = np.conj(np.fft.rfft(a[:n], 2 * n)) * np.fft.rfft(b[:n], 2 * n)
    values = np.fft.irfft(spectrum)
    best = int(np.argmax(np.concatenate([values[-most:], values[: most + 1]])))
    return best - most


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("mode", ["CBR", "VBR"])
@pytest.mark.parametrize("rate", [44100, 48000, 22050, 24000])
@pytest.mark.parametrize("channels", [1, 2])
def test_length_and_position_equal_the_encoders_input(piece, tmp_path, encoder, mode, rate, channels):
    audio = soxr.resample(piece[: 3 * 44100 + 123], 44100, rate)[:, :channels]
    path = encode(encoder, mode, audio, rate, tmp_path)
    with open_decoder(path) as decoded:
        out = np.concatenate(list(decoded.blocks))
    assert (decoded.info.rate, decoded.info.channels, decoded.error) == (rate, channels, "")
    assert out.shape == audio.shape
    assert lag(audio.mean(axis=1), out.mean(axis=1)) == 0
    facts = read_facts(path)
    assert facts.frames == len(audio)
    assert facts.version == ("MPEG-1" if rate >= 32000 else "MPEG-2")


def test_ffmpeg_and_libsndfile_agree(demo_mp3):
    both = []
    for decoder in ("libsndfile", "ffmpeg"):
        with open_decoder(demo_mp3, decoder) as decoded:
            both.append(np.concatenate(list(decoded.blocks)))
    assert both[0].shape == both[1].shape
    assert np.abs(both[0] - both[1]).max() < 1e-4


def test_peaks_beyond_full_scale_are_kept(tmp_path, piece):
    loud = np.clip(piece * 6, -1, 1)
    with open_decoder(write_mp3(tmp_path / "loud.mp3", loud)) as decoded:
        assert max(np.abs(block).max() for block in decoded.blocks) > 1.0


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF"])
def test_whatever_libsndfile_reads_is_accepted(piece, tmp_path, kind):
    path = tmp_path / f"song.{kind.lower()}"
    soundfile.write(path, piece, 44100, format=kind)
    found = analyze(path)
    assert (found.rate, found.channels) == (44100, 2)
    assert abs(found.frames - len(piece)) <= (64 if kind == "OGG" else 0)


def test_a_crash_of_the_decoder_is_an_error_and_not_the_end(demo_mp3, monkeypatch, tmp_path):
    crash = tmp_path / "sitecustomize.py"
    crash.write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(decode, "_children", Pool("engine.audio.decode_process"))
    with pytest.raises(DecodeError, match="crashed"), open_decoder(demo_mp3):
        pass


def test_names_of_any_bytes_can_be_decoded(demo_mp3, tmp_path):
    for name in (
        "Ünïcödé 日本 🎵.mp3",
        "sp ace & (x) [bold]%.mp3",
        b"\xff\xfe.mp3".decode("utf-8", "surrogateescape"),
    ):
        try:
            path = shutil.copy(demo_mp3, tmp_path / name)
        except OSError:
            continue  # not every file system allows every name
        assert analyze(path).frames == analyze(demo_mp3).frames


def test_real_songs_hold_what_their_headers_promise(music):
    for path in sorted((music / "songs").rglob("*.mp3")):
        facts = read_facts(path)
        assert facts.frames == soundfile.info(path).frames == facts.declared
