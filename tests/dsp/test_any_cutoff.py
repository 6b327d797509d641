"""Whatever cutoff a tag or a measurement tells, at whatever rate: the band above it is made, or nothing, but never an error."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.analysis.cutoff import LongTermSpectrum, find_cutoff
from engine.dsp import replicate
from engine.dsp.spectrum import BINS, HOP, power, stft, white_noise

RATES = (
    1000,
    8000,
    11025,
    12000,
    16000,
    22050,
    24000,
    32000,
    44100,
    48000,
    88200,
    96000,
    176400,
    192000,
    384000,
    768000,
)
audio = np.random.default_rng(1).standard_normal((12 * HOP, 2)).astype(np.float32) * 0.1
noise = stft(white_noise(0, len(audio), 2, 1, 0.5))


@settings(max_examples=300, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    share=st.floats(0, 1),
    channels=st.sampled_from([1, 2]),
    top=st.floats(0, 24000),
    silent=st.booleans(),
)
@example(rate=44100, share=0.0217, channels=1, top=21500.0, silent=False)  # a tag that says 500 Hz
def test_replication_from_20_hz_to_the_nyquist_frequency(rate, share, channels, top, silent):
    cutoff = 20 + share * (rate / 2 - 20)
    spectrum = stft(audio[:, :channels] * (0 if silent else 1))
    powers = power(spectrum)
    meter = replicate.ProfileMeter(cutoff, rate)
    with np.errstate(all="raise", under="ignore"):
        meter.process(spectrum, powers)
        profile = meter.profile()
        assert np.isfinite([profile.slope, profile.anchor, profile.reach, profile.correlation]).all()
        first, band = replicate.replicate(spectrum, powers, noise[:, :channels], profile, rate, top, -1.0)
    assert band.shape[:2] == spectrum.shape[:2] and first >= 0 and first + band.shape[2] <= BINS
    assert np.isfinite(band).all()
    assert np.abs(band).max(initial=0) <= 4 * np.abs(spectrum).max()


@settings(max_examples=100, deadline=None)
@given(
    rate=st.one_of(st.sampled_from(RATES), st.integers(1000, 768000)),
    said=st.integers(-100, 30000),
    kind=st.sampled_from(["noise", "silence", "short"]),
)
@example(rate=1000, said=0, kind="noise")
def test_a_cutoff_is_within_the_spectrum_whatever_the_tag_says(rate, said, kind):
    spectrum = LongTermSpectrum(rate)
    song = {"noise": audio, "silence": audio * 0, "short": audio[:100]}[kind]
    spectrum.process(song)
    found, _ = find_cutoff(spectrum, said)
    assert found.hz is None or 20 < found.hz <= rate / 2
    assert 0 <= found.confidence <= 1
