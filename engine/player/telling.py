"""Where two variants of a song differ most: the place at which to compare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.audio.soundfiles import open_sound

LOOP = 15.0  # seconds
_CENTRES = 1000.0 * 2.0 ** (np.arange(-9, 14) / 3)  # Hz of third octaves, 125 Hz to 20 kHz
_EDGE = 2.0 ** (1 / 6)
_FLOOR = 1e-8  # of a band's power, about -80 dB: below it nothing is heard beside the rest
_HEARD = 45.0  # dB below the song's loud seconds down to which a second counts


def telling_place(first: Path, second: Path, seconds: float = LOOP) -> tuple[float, float]:
    """Start and end in seconds of the stretch where two sound files differ most.

    Both are compared second by second: the difference in dB of their third octaves, without that of the song as a
    whole (another loudness or tilt is heard everywhere). Quiet seconds count for little. Files shorter than
    ``seconds`` are taken whole.

    Raises:
        OSError, soundfile.SoundFileError: one of them cannot be read.
    """
    one, other = _bands(first), _bands(second)
    count = min(len(one), len(other))
    if count == 0:
        return 0.0, seconds
    one, other = one[:count], other[:count]
    difference = 10 * np.log10((one + _FLOOR) / (other + _FLOOR))
    unusual = np.abs(difference - np.median(difference, axis=0)).mean(axis=1) + 0.25 * np.abs(difference).mean(axis=1)
    level = 10 * np.log10(one.sum(axis=1) + 1e-12)
    weight = np.clip((level - np.percentile(level, 90) + _HEARD) / _HEARD, 0.0, 1.0)
    length = min(count, round(seconds))
    sums = np.convolve(unusual * weight + 1e-6 * weight, np.ones(length), "valid")
    start = int(sums.argmax())
    return float(start), float(start + length)


def _bands(path: Path) -> npt.NDArray[np.float64]:
    """Power per second and third octave, ``(seconds, bands)``; a last second that is not whole is left out."""
    rows = []
    with open_sound(path) as sound:
        rate = int(sound.samplerate)
        frequencies = np.fft.rfftfreq(rate, 1 / rate)
        edges = np.searchsorted(frequencies, np.stack([_CENTRES / _EDGE, _CENTRES * _EDGE]))
        window = np.hanning(rate)
        for block in sound.blocks(rate, dtype="float32", always_2d=True):
            if len(block) == rate:
                power = np.abs(np.fft.rfft(block.mean(axis=1) * window)) ** 2 / rate**2
                whole = np.concatenate([[0.0], np.cumsum(power)])
                low, high = np.minimum(edges, len(power))
                rows.append(whole[high] - whole[low])
    return np.array(rows).reshape(-1, len(_CENTRES))
