"""Short-time spectra on a grid that is fixed to the song, so that they do not depend on chunk borders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp.channels import windows

FFT = 2048
HOP = 512
BINS = FFT // 2 + 1
_NOISE_BLOCK = 1 << 15
_COMPARED = 3000.0  # Hz in which the levels of a song and a model are compared
_MOST_GAIN = 4.0
_AT_ONCE = 64  # spectra, of 16 kB a channel
# Periodic Hann window: its side lobes fall fast, so that holes are seen as deep as they are.
HANN = np.hanning(FFT + 1)[:-1].astype(np.float32)
# Its square root, narrower in frequency; with either one, window times window overlaps to a constant.
_WINDOW = np.sqrt(HANN).astype(np.float32)

Spectrum = npt.NDArray[np.complex64]  # (time, channels, bins)
Power = npt.NDArray[np.float32]
Window = npt.NDArray[np.float32]

#: Power per bin of the rounding noise of 16-bit audio (variance 1/12 LSB²): what lies below is not music.
FLOOR = float((_WINDOW**2).sum() / 12 * (2 / 65536) ** 2)


def stft(audio: Audio, window: Window = _WINDOW) -> Spectrum:
    """Spectra of ``(frames, channels)``; frames must be a multiple of HOP.

    Time index ``t`` is centred on frame ``t * HOP``; beyond the ends is silence, so that only what lies FFT/2
    frames from them comes back exactly.
    """
    from scipy import fft

    padded = np.pad(audio, ((FFT // 2, FFT // 2), (0, 0)))
    cuts = windows(padded, FFT, HOP)
    out = np.empty((*cuts.shape[:2], BINS), np.complex64)
    for some in in_parts(len(cuts)):
        out[some] = fft.rfft(cuts[some] * window, axis=-1)
    return out


def istft(
    spectrum: Spectrum, frames: int, window: Window = _WINDOW, gains: npt.NDArray[np.float64] | None = None
) -> Audio:
    """The signal of ``frames`` whose :func:`stft` is nearest to ``spectrum`` (Griffin and Lim 1984).

    Each bin is taken times its own of the ``gains``, where there are some.
    """
    from scipy import fft

    overlap_sum = round(float((window.astype(np.float64) ** 2).sum()) / HOP, 5)  # 2 or 1.5
    times, channels, _ = spectrum.shape
    overlap = FFT // HOP
    hops = times + overlap - 1
    out = np.zeros((channels, hops, HOP), np.float32)
    for some in in_parts(hops):
        low = max(0, some.start - overlap + 1)
        wanted = spectrum[low : some.stop]
        if gains is not None:
            wanted = np.asarray(wanted * gains, np.complex64)
        pieces = fft.irfft(wanted, FFT, axis=-1) * (window / overlap_sum)
        for part in range(overlap):  # every hop is spanned by so many windows
            begin, end = max(0, some.start - part), min(times, some.stop - part)
            added = pieces[begin - low : end - low, :, part * HOP : (part + 1) * HOP]
            out[:, begin + part : end + part] += added.swapaxes(0, 1)
    return np.ascontiguousarray(out.reshape(channels, -1)[:, FFT // 2 : FFT // 2 + frames].T)


def in_parts(times: int) -> Iterator[slice]:
    """All of so many spectra, as many at a time as stay in the processor's cache while they are worked on."""
    return (slice(first, min(times, first + _AT_ONCE)) for first in range(0, times, _AT_ONCE))


def power(spectrum: Spectrum) -> Power:
    """Squared magnitude."""
    return np.asarray(spectrum.real**2 + spectrum.imag**2, np.float32)


def noise_power(window: Window = _WINDOW) -> float:
    """Power per bin of :func:`white_noise`."""
    return float((window**2).sum())


def white_noise(start: int, frames: int, channels: int, seed: int, correlation: float) -> Audio:
    """Gaussian noise of variance one for the frames from ``start`` (may be negative) of a song.

    A sample depends on its position and ``seed`` alone. ``correlation`` (0 to 1) is that between channels: the
    noise sits in the stereo image where the music does.
    """
    first, last = start // _NOISE_BLOCK, (start + frames - 1) // _NOISE_BLOCK
    blocks = [
        np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index % (1 << 63)])).standard_normal(
            (_NOISE_BLOCK, channels), np.float32
        )
        for index in range(first, last + 1)
    ]
    noise = np.concatenate(blocks)[start - first * _NOISE_BLOCK :][:frames]
    if channels > 1:
        own = np.float32(np.sqrt(1 - correlation**2))
        noise[:, 1:] = np.float32(correlation) * noise[:, :1] + own * noise[:, 1:]
    return noise


def bin_of(frequency: float, rate: int) -> int:
    """The bin nearest to ``frequency`` in Hz, within the spectrum."""
    return int(min(BINS - 1, max(0, round(frequency * FFT / rate))))


def band_power(audio: Audio, rate: int, low: float, high: float) -> float:
    """Power of ``(frames, channels)`` from ``low`` to ``high`` Hz (Hann window over all of it), in its own unit."""
    spectrum = np.fft.rfft(audio * np.hanning(len(audio))[:, None], axis=0)
    frequencies = np.fft.rfftfreq(len(audio), 1 / rate)
    band = (frequencies >= max(0.0, low)) & (frequencies < high)
    return float((np.abs(spectrum[band]) ** 2).sum())


def matching_gain(song: Sequence[Audio], model: Sequence[Audio], rate: int, top: float) -> float:
    """What makes the pieces that a model made as loud as the song's in the 3 kHz below ``top`` Hz; 1/4 to 4."""
    before, after = (sum(band_power(p, rate, top - _COMPARED, top) for p in some) for some in (song, model))
    if before <= 0 or after <= 0:
        return 1.0
    return float(np.clip(np.sqrt(before / after), 1 / _MOST_GAIN, _MOST_GAIN))
