"""Pre-echo: the noise that an encoder spreads ahead of an attack, taken away again.

A block of an MP3 has one spectrum for up to 1,152 samples; what is rounded in it sounds as long as the block, so that
before an attack there is noise where there was none (Painter and Spanias 2000, "Perceptual coding of digital audio",
II-F). Encoders switch to short blocks there, which leaves most of it in the last milliseconds.

How loud it can be is told by the attack and the bitrate; what was there without it, by the moment before. In every
band that the attack is in, as much of the power is taken away as can be noise (spectral subtraction, Boll 1979), and
nothing below what the moment before allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.audio.readers import Audio
from engine.dsp.bands import Bands, Powers, ramp
from engine.dsp.onsets import Onsets

_BLOCK = 1152  # samples that a long block's window spans
_FILTERBANK = 0.003  # s by which the polyphase filters spread it further
_BEFORE = 0.025  # s ahead of that from which what was there is learnt
# Of hits over beds through LAME at 64 to 320 kbit/s: the most power of the noise against the attack's that was seen in
# the last milliseconds, and how it falls with the time to the attack, towards the bass, and with the bitrate.
_NOISE, _NOISE_RATE, _NOISE_FALL = -17.0, 64_000, 600.0  # dB at so many bit/s for a channel, dB per s
_NOISE_TILT, _NOISE_WHOLE = 2.0, 4000.0  # dB less for each octave below so many Hz
_NOISE_OCTAVE = 8.0  # dB less for twice the bitrate
_RISE = (8.0, 12.0)  # dB that a band rises by at an attack that is in it: in part, wholly
_IN_USE = 50.0  # dB below the loudest band in which a band takes bits
_CODED, _BANDWIDTH = 16000.0, 0.46  # Hz, and share of the coding's rate, up to which there are any
_LOWEST = 172.0  # Hz; below, a period is longer than a window, and its swing would be taken for a rise
_DEEPEST = 36.0  # dB
_LEVEL, _STEADY = 5, 9  # spectra over which a band's power is told, and what is quietest
_SMOOTH = 3  # spectra over which gains are
_FADE = 0.0005  # s in which the correction ends before the attack
_ATTACK = 0.008  # s from the onset on whose loudest spectrum is the attack
_SEEN = 0.1  # share of a window that must lie before the onset to be believed

#: Seconds on both sides of a frame that decide about its correction, besides those that decide about onsets.
CONTEXT = 0.25


@dataclass(frozen=True)
class Coding:
    """What is known of how a song was coded: its rate in Hz, and the bit/s spent on a channel."""

    rate: int = 44100
    bitrate: float = 64_000.0

    @property
    def spread(self) -> float:
        """Seconds by which noise is spread ahead at the most: 29 ms at 44.1 kHz, 51 ms at 24 kHz."""
        return min(_BLOCK / self.rate + _FILTERBANK, CONTEXT / 2)

    @property
    def noise(self) -> float:
        """dB of noise against the attack just ahead of it."""
        return _NOISE - _NOISE_OCTAVE * float(np.log2(self.bitrate / _NOISE_RATE))


def pre_echo_correction(audio: Audio, rate: int, onsets: Onsets, coding: Coding, amount: float = 1.0) -> Audio:
    """What to add to ``audio`` (float32 ``(frames, channels)`` at ``rate`` Hz) so that its pre-echoes are gone.

    Exactly zero after an onset, further than ``coding.spread`` before one, and where nothing is louder than the moment
    before. ``amount``: 0 none, 1 wholly. All channels get the same gains, which lower and never raise.
    """
    out = np.zeros_like(audio)
    if amount <= 0 or not len(onsets):
        return out
    around = _Around(Bands.at(rate), rate, coding)
    padded = np.pad(audio, ((around.lead, around.after), (0, 0)))
    for frame in onsets.frames:
        correction = around.correction(padded[frame : frame + around.lead + around.after], amount)
        if correction is not None:
            first = max(0, frame - len(correction))
            out[first:frame] = correction[len(correction) - (frame - first) :]
    return out


class _Around:
    """What is the same around every onset: which frames are looked at, and how."""

    def __init__(self, bands: Bands, rate: int, coding: Coding) -> None:
        self._bands = bands
        #: Frames looked at before and after an onset.
        self.lead = bands.in_hops(round((coding.spread + _BEFORE) * rate)) + bands.size
        self.after = bands.size + round(_ATTACK * rate)
        fade = max(2, round(_FADE * rate))
        self._ending = np.ones((self.lead, 1), np.float32)
        self._ending[-fade:, 0] = (1 + np.cos(np.pi * (np.arange(fade) + 1) / fade)) / 2
        # Spectra that reach beyond the onset hold less: their power is told as if they were full.
        share = bands.share(np.pad(self._ending[:, 0], (0, bands.size - bands.hop)))
        self._weights = np.where(share > _SEEN, share, 0)[:, None].astype(np.float64)
        self._full = np.maximum(share, _SEEN)[:, None].astype(np.float64)
        self._seen = {count: np.maximum(_around(count, self._weights), 1e-9) for count in (_LEVEL, _STEADY)}
        centres = (np.arange(len(share)) * bands.hop + bands.size / 2 - self.lead) / rate
        self._first = int(np.argmax(centres > -coding.spread))
        ahead = np.maximum(-centres, 0)
        octaves = np.minimum(np.log2(bands.centres(rate) / _NOISE_WHOLE), 0)
        self._noise = 10 ** ((coding.noise - _NOISE_FALL * ahead[:, None] + _NOISE_TILT * octaves) / 10)
        self._noise[:, bands.centres(rate) < _LOWEST] = 0
        edges = np.array([*bands.edges, bands.size // 2 + 1])
        self._bins = np.diff(edges)
        self._width = np.diff(np.minimum(edges * rate / bands.size, min(_CODED, _BANDWIDTH * coding.rate)))

    def correction(self, piece: Audio, amount: float) -> Audio | None:
        """That of the frames which end with the onset, frame ``lead`` of the piece; None: nothing is to be done."""
        bands, lead = self._bands, self.lead
        held = np.zeros((lead + bands.size - bands.hop, piece.shape[1]), np.float32)
        held[:lead] = piece[:lead] * self._ending
        spectra = bands.spectra(held)
        attack = bands.together(bands.spectra(piece[lead - bands.hop :])).max(axis=0)
        noise = self._noise * self._shared(attack)
        lowered = self._lowered(bands.together(spectra) / self._full, attack, noise)
        if not lowered.any():
            return None
        gains = np.asarray(10 ** (-amount * lowered / 20) - 1, np.float32)
        changed = bands.signal(spectra * bands.spread(gains)[:, None, :])[:lead] * self._ending
        return np.asarray(changed[self._first * bands.hop :], np.float32)

    def _shared(self, attack: Powers) -> float:
        """Factor of the noise's power: where little of the spectrum is in use, it has all the bits to itself."""
        loud = attack / self._bins > attack.max() / self._bins[attack.argmax()] * 10 ** (-_IN_USE / 10)
        share = float(self._width[loud].sum() / self._width.sum())
        return 10 ** (_NOISE_OCTAVE * float(np.log2(share)) / 10)

    def _lowered(self, powers: Powers, attack: Powers, noise: Powers) -> Powers:
        """dB by which each band is lowered, ``(time, bands)``."""
        floor = self._bands.floor()
        level, steady = (self._told_over(count, powers) for count in (_LEVEL, _STEADY))
        # A sound that is about to be hit again fades: nothing is louder than what was quietest before it.
        allowed = np.minimum.accumulate(steady + floor, axis=0)
        hit = ramp(10 * np.log10((attack + floor) / allowed), _RISE)
        left = np.maximum(allowed, level - noise * hit * attack)
        lowered = np.clip(10 * np.log10((level + floor) / (left + floor)), 0, _DEEPEST)
        lowered[: self._first] = 0
        lowered = _around(_SMOOTH, lowered)
        lowered[: self._first] = 0
        return lowered

    def _told_over(self, count: int, powers: Powers) -> Powers:
        """Mean of ``count`` spectra around each, of those that lie before the onset."""
        return _around(count, powers * self._weights) / self._seen[count]


def _around(count: int, values: Powers) -> Powers:
    """Means of ``count`` moments around each."""
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(values, count, axis=0, mode="nearest"))
