"""FLAC files are exact, dithered, repeatable, and either whole or not there."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from engine.audio import encode
from engine.audio.encode import write_flac
from engine.errors import OutputError


def save(path, audio, **changes):
    options = {"rate": 44100, "channels": audio.shape[1], "frames": len(audio), "seed": 5}
    return write_flac(path, lambda: iter(np.array_split(audio, 7)), **{**options, **changes})


def test_what_is_written_reads_back_within_the_dither(piece, tmp_path):
    done = save(tmp_path / "a.flac", piece)
    back, rate = soundfile.read(tmp_path / "a.flac", dtype="float64")
    assert (rate, back.shape, done.frames, done.gain) == (44100, piece.shape, len(piece), 0.0)
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_24"
    error = (back - piece) * 2**23
    assert np.abs(error).max() <= 1.5
    assert 0.4 < error.std() < 0.6  # TPDF dither and rounding: a quarter of an LSB squared
    assert [p.name for p in tmp_path.iterdir()] == ["a.flac"]


def test_the_same_signal_gives_the_same_bytes_however_it_is_cut(piece, tmp_path):
    one = save(tmp_path / "a.flac", piece)
    two = write_flac(tmp_path / "b.flac", lambda: iter([piece]), rate=44100, channels=2, frames=len(piece), seed=5)
    other = save(tmp_path / "c.flac", piece, seed=6)
    assert one.sha256 == two.sha256 != other.sha256


def test_equal_channels_stay_equal(piece, tmp_path):
    save(tmp_path / "a.flac", np.repeat(piece[:, :1], 2, axis=1))
    back, _ = soundfile.read(tmp_path / "a.flac")
    assert (back[:, 0] == back[:, 1]).all()


def test_too_loud_a_signal_is_turned_down_and_never_clipped(piece, tmp_path):
    done = save(tmp_path / "a.flac", piece * 3)
    back, _ = soundfile.read(tmp_path / "a.flac")
    assert done.gain == pytest.approx(20 * np.log10(1 / np.abs(piece * 3).max()), abs=0.01)
    assert np.abs(back / 10 ** (done.gain / 20) - piece * 3).max() < 1e-5


@pytest.mark.parametrize(
    ("audio", "frames"),
    [(np.full((1000, 1), np.nan, np.float32), 1000), (np.zeros((1000, 1), np.float32), 1001)],
)
def test_a_wrong_result_leaves_nothing(tmp_path, audio, frames):
    with pytest.raises(OutputError):
        save(tmp_path / "a.flac", audio, frames=frames)
    assert list(tmp_path.iterdir()) == []


def test_an_older_result_survives_a_failure(piece, tmp_path):
    first = save(tmp_path / "a.flac", piece)

    def broken():
        yield piece[:1000]
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="disk is full"):
        write_flac(tmp_path / "a.flac", broken, rate=44100, channels=2, frames=len(piece), seed=5)
    assert encode.file_hash(tmp_path / "a.flac") == first.sha256


def test_damage_on_the_way_to_the_disk_is_noticed(piece, tmp_path):
    def damage(path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)

    with pytest.raises(OutputError, match="read back"):
        save(tmp_path / "a.flac", piece, tag=damage)
    assert list(tmp_path.iterdir()) == []
