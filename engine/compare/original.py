"""The lossless original of a song, brought into step with its plain decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import soundfile

from engine.audio.decode import open_decoder
from engine.audio.readers import BLOCK, Audio, with_numbers_only
from engine.audio.resample import resample, resample_stream
from engine.audio.soundfiles import open_sound
from engine.audio.streams import blocks_of, cut
from engine.compare.metrics import common_gain
from engine.dsp.spectrum import FFT, HANN, Spectrum, power
from engine.errors import SongError
from engine.text import printable

_LOOK = 8.0  # seconds in which the lag is looked for
_FARTHEST = 0.25  # seconds: encoders and decoders are late by 0.03 to 0.06
_ALIKE = 0.3  # correlation from which on two are the same recording
_MODELLED = 10.0  # seconds that ViSQOL hears
_VISQOL_RATE = 48000
_LEAST_GAIN = 0.01


@dataclass(frozen=True)
class Original:
    """``path``, and by how many seconds the plain decode comes later than it (negative: earlier)."""

    path: Path
    lag: float

    @staticmethod
    def of(path: Path, plain: Path) -> Original:
        """The original at ``path`` of the plain decode. Raises SongError where it is another recording."""
        with open_sound(plain) as file:
            rate = file.samplerate
            wanted = _middle(file, _LOOK).mean(axis=1)
            start = (file.frames - len(wanted)) // 2
        margin = round(_FARTHEST * rate)
        heard = _cut(path, rate, start - margin, len(wanted) + 2 * margin).mean(axis=1)
        lag, alike = _lag(wanted, heard)
        if alike < _ALIKE and np.abs(wanted).max() > 1e-3:
            raise SongError(f"{printable(path.name)} is not the original of this song: it sounds different.")
        return Original(path, (margin - lag) / rate)

    def blocks(self, rate: int, channels: int, frames: int) -> Iterator[Audio]:
        """Blocks of :data:`BLOCK` frames at ``rate`` Hz in step with the plain decode, ``frames`` in all."""
        with open_decoder(self.path) as decoded:
            own = decoded.info.rate
            late = round(self.lag * own)
            whole = (with_numbers_only(block) for block in decoded.blocks)
            moved = chain([np.zeros((late, decoded.info.channels), np.float32)], whole) if late > 0 else (
                _without(whole, -late))  # fmt: skip
            for block in blocks_of(resample_stream(moved, own, rate, frames), BLOCK):
                yield as_channels(block, channels)

    def gains(self, files: Sequence[Path], cutoff: float | None) -> list[float]:
        """The factor that makes each file as loud as the original below ``cutoff`` Hz, from its middle."""
        found = []
        heard: dict[tuple[int, int, int], Audio] = {}  # of the original: it is the same for all files of a rate
        for path in files:
            with open_sound(path) as file:
                rate = file.samplerate
                made = _middle(file, _LOOK)
                start = max(0, (file.frames - len(made)) // 2) - round(self.lag * rate)
            place = rate, start, len(made)
            if place not in heard:
                heard[place] = _cut(self.path, *place)
            wanted = as_channels(heard[place], made.shape[1])
            top = round((cutoff or rate) * FFT / rate)
            one, other = (_spectra(audio)[..., :top] for audio in (wanted, made))
            shared = (one.real * other.real + one.imag * other.imag).sum(axis=(0, 1), dtype=np.float64)
            gain = common_gain(shared, power(one).sum(axis=(0, 1), dtype=np.float64))
            found.append(1 / gain if gain > _LEAST_GAIN else 1.0)
        return found

    def visqol(self, files: Sequence[Path], rate: int, frames: int) -> list[float | None] | None:
        """MOS-LQO of ten seconds from the middle of each; None where ViSQOL is not installed."""
        measure = model_of_listeners()
        if measure is None:
            return None
        count = min(frames, round(_MODELLED * rate))
        original = _cut(self.path, rate, (frames - count) // 2 - round(self.lag * rate), count)
        found: list[float | None] = []
        for path in files:
            with open_sound(path) as file:
                found.append(measure(original, resample(_middle(file, _MODELLED), file.samplerate, rate), rate))
        return found


def _middle(file: soundfile.SoundFile, seconds: float) -> Audio:
    """Some seconds from the middle of an open file, or all of a shorter one."""
    count = min(file.frames, round(seconds * file.samplerate))
    file.seek((file.frames - count) // 2)
    return np.asarray(file.read(count, dtype="float32", always_2d=True))


def as_channels(block: Audio, channels: int) -> Audio:
    """With as many channels: one for all, or the mean of all."""
    if block.shape[1] == channels:
        return block
    return np.repeat(block.mean(axis=1, keepdims=True), channels, axis=1)


def _without(blocks: Iterator[Audio], count: int) -> Iterator[Audio]:
    """All but the first ``count`` frames."""
    for block in blocks:
        if count < len(block):
            yield block[count:]
        count = max(0, count - len(block))


def _cut(path: Path, rate: int, start: int, count: int) -> Audio:
    """``count`` frames from ``start`` on (both at ``rate`` Hz), silence where there are none. Reads up to there."""
    with open_decoder(path) as decoded:
        own = decoded.info.rate
        first, wanted = start * own // rate, count * own // rate
        ahead = np.zeros((max(0, -first), decoded.info.channels), np.float32)
        inside = cut(decoded.blocks, max(0, first), max(0, wanted - len(ahead)))
        audio = np.concatenate([ahead, *map(with_numbers_only, inside)])[:wanted]
    audio = np.pad(audio, ((0, max(0, wanted - len(audio))), (0, 0)))
    return np.pad(resample(audio, own, rate), ((0, 1), (0, 0)))[:count]


def _spectra(audio: Audio) -> Spectrum:
    """``(time, channels, bins)`` of ``(frames, channels)``, without padding; one of silence where it is shorter."""
    audio = np.pad(audio, ((0, max(0, FFT - len(audio))), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(audio, FFT, axis=0)[:: FFT // 2]
    return np.asarray(np.fft.rfft(windows * HANN, axis=-1), np.complex64)


def _lag(wanted: Audio, heard: Audio) -> tuple[int, float]:
    """Frame of ``heard`` at which ``wanted`` lies, and the correlation there."""
    from scipy.signal import correlate

    match = correlate(heard.astype(np.float64), wanted.astype(np.float64), "valid", "fft")
    total = np.concatenate([[0.0], np.cumsum(heard.astype(np.float64) ** 2)])
    energy = total[len(wanted) :] - total[: len(total) - len(wanted)]
    alike = match / np.sqrt(np.maximum(energy, 1e-12) * max(1e-12, float((wanted.astype(np.float64) ** 2).sum())))
    best = int(np.argmax(alike))
    return best, float(alike[best])


@cache
def model_of_listeners() -> Callable[[Audio, Audio, int], float] | None:
    """ViSQOL in its mode for music, or None where it is not installed."""
    try:
        from visqol import VisqolApi
    except ImportError:
        return None
    api = VisqolApi()
    api.create(mode="audio")

    def measure(original: Audio, made: Audio, rate: int) -> float:
        was, now = (
            np.asarray(resample(audio.mean(axis=1, keepdims=True), rate, _VISQOL_RATE)[:, 0], np.float64)
            for audio in (original, made)
        )
        return round(float(api.measure_from_arrays(was, now, _VISQOL_RATE).moslqo), 3)

    return measure
