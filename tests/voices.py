"""Voices whose every property is known: pulses at a given pitch through formants."""

from __future__ import annotations

import numpy as np

RATE = 44100
MALE = ((650, 80), (1080, 90), (2450, 120), (3300, 150))  # Hz of a formant, and its width
FEMALE = ((850, 90), (1220, 100), (2810, 130), (3900, 180))
_TOP = 14000  # Hz of the highest harmonic


def sung(hz, formants=MALE, breath=0.0, rate=RATE):
    """A voice ``(frames,)`` at the pitch ``hz`` of each frame; 0: it is silent."""
    from scipy.signal import lfilter

    heard = hz > 0
    pitch = np.where(heard, hz, 200.0)
    phase, top = 2 * np.pi * np.cumsum(pitch) / rate, min(_TOP, 0.45 * rate)
    pulses = breath * np.random.default_rng(0).standard_normal(len(hz))
    for k in range(1, int(top / pitch.min())):
        pulses += np.cos(k * phase) * k**-0.5 * np.clip((top - k * pitch) / 1000, 0, 1)
    fade = np.hanning(round(0.018 * rate))
    pulses *= np.convolve(heard, fade / fade.sum(), "same")
    voice = 0.02 * pulses
    for n, (frequency, width) in enumerate(formants):
        radius = np.exp(-np.pi * width / rate)
        poles = [1, -2 * radius * np.cos(2 * np.pi * frequency / rate), radius**2]
        voice = voice + (-1) ** n * lfilter([(1 - radius) * 0.6**n], poles, pulses)
    return (0.2 * voice / np.abs(voice).max()).astype(np.float32)


def melody(notes, off=0.0, vibrato=0.0, rate=RATE):
    """Hz for each frame of ``(MIDI number, seconds)`` notes, ``off`` cents beside them, with vibrato (5.5 Hz)."""
    cents = np.concatenate([np.full(round(seconds * rate), 100.0 * note) for note, seconds in notes])
    slide = np.hanning(round(0.04 * rate) | 1)
    cents = np.convolve(np.pad(cents, len(slide) // 2, mode="edge"), slide / slide.sum(), "valid")
    time = np.arange(len(cents)) / rate
    return 440 * 2 ** ((cents - 6900 + off + vibrato * np.sin(2 * np.pi * 5.5 * time)) / 1200)


def cents_between(audio, hz, rate=RATE):
    """How far the voice is from the pitch ``hz`` of each frame, in cents: by the phase of its fundamental alone.

    Brought down to 0 Hz by what it should be, and all else filtered off: what turns then is the difference.
    """
    from scipy.signal import oaconvolve
    from scipy.signal.windows import blackmanharris

    carrier = np.exp(-2j * np.pi * np.cumsum(hz) / rate)
    narrow = blackmanharris(round(5 * rate / hz.min()) | 1)  # its zeros begin before the next harmonic
    turning = np.unwrap(np.angle(oaconvolve(audio * carrier, narrow, mode="same")))
    ratio = 1 + np.gradient(turning) * rate / (2 * np.pi) / hz
    return 1200 * np.log2(np.maximum(ratio, 1e-3))  # in silence it may be anything
