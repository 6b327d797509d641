"""Chunks put together again are the signal: no seam, no gap, no repeated sample."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audio.chunks import ChunkGeometry, fade_gains, read_window, stitch


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(1, 5000), st.integers(2, 700), st.data())
def test_coherent_chunks_give_the_signal_back(frames, size, data):
    overlap = data.draw(st.integers(0, size // 2))
    geometry = ChunkGeometry(size, overlap, 0)
    signal = np.sin(np.arange(frames, dtype=np.float32))[:, None]
    spans = [geometry.span(i, frames) for i in range(geometry.count(frames))]
    assert spans[0][0] == 0 and spans[-1][1] == frames
    assert all(a[1] - b[0] == overlap for a, b in pairwise(spans))
    assert all(end > start for start, end in spans)
    out = np.concatenate(list(stitch(lambda i: signal[slice(*spans[i])], geometry, frames)))
    assert out.shape == signal.shape
    np.testing.assert_allclose(out, signal, atol=1e-6)


def test_equal_power_keeps_the_level_of_independent_neighbours():
    rng = np.random.default_rng(1)
    geometry = ChunkGeometry(200000, 40000, 0)
    chunks = [
        rng.standard_normal((end - start, 1), np.float32) for start, end in (geometry.span(i, 520000) for i in range(3))
    ]
    out = np.concatenate(list(stitch(chunks.__getitem__, geometry, 520000, "equal-power")))
    levels = [10 * np.log10(np.mean(out[a : a + 40000] ** 2)) for a in range(0, 520000, 40000)]
    assert max(np.abs(levels)) < 0.2


def test_fades_are_complementary():
    for law, power in (("equal-gain", 1), ("equal-power", 2)):
        falling, rising = fade_gains(100, law)
        np.testing.assert_allclose(falling**power + rising**power, 1, atol=1e-6)


def test_windows_are_filled_with_silence_beyond_the_ends(tmp_path):
    audio = np.linspace(-0.5, 0.5, 1000, dtype=np.float32)[:, None]
    soundfile.write(tmp_path / "a.wav", audio, 8000, subtype="FLOAT")
    window = read_window(tmp_path / "a.wav", -50, 1100, 1000)
    assert not window[:50].any() and not window[1050:].any()
    np.testing.assert_array_equal(window[50:1050], audio)


def test_impossible_geometry_is_refused():
    with pytest.raises(ValueError, match="overlap"):
        ChunkGeometry(100, 60, 0)
