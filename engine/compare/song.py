"""One song: all of its variants against the plain decode, in one pass and in memory that does not grow with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from engine.analysis.dynamics import loudness_range
from engine.analysis.excerpts import Excerpts
from engine.analysis.holes import EDGES, find_holes
from engine.analysis.pre_echo import PreEchoMeter, attacks, rises_at
from engine.audio.loudness import SILENCE_DB, LoudnessMeter, TruePeakMeter, decibels
from engine.audio.readers import BLOCK, Audio
from engine.audio.resample import resample_stream
from engine.audio.soundfiles import open_sound
from engine.compare.figures import OCTAVES, Figures, Reference
from engine.compare.metrics import FLOOR, common_gain
from engine.compare.original import Original, blocks_of
from engine.compare.pictures import Columns, Picture
from engine.compare.seams import ClickMeter, count_level_steps
from engine.dsp.spectrum import BINS, FFT, HANN, HOP, power, stft
from engine.errors import SongError
from engine.text import printable

_HOP = 1024  # frames between spectra: half of a window, and half of the work
_AT_ONCE = 32  # spectra of all signals in memory
_CROSSOVER = 1000.0  # Hz below the cutoff from which on it is a crossover's, and no null is asked for
_ABOVE = 300.0  # Hz above the cutoff from which on the plain decode holds nothing
_BESIDE = (4000.0, 500.0)  # Hz below the cutoff: the band that the one above it is held against
_LEVEL = 4  # spectra of a level for steps
_SILENT = 1e-11  # power of what is not heard, in full scale squared
_LOWEST = -150.0  # dB
_FEW_ATTACKS = 8
_FEW_HOLES = 0.001  # share of the cells
_HOLE_GUARD = 600.0  # Hz below the cutoff
_CELL = 8  # bins


@dataclass(frozen=True)
class Compared:
    """What came of one signal: its figures, and the picture of its spectrum over time."""

    figures: Figures
    picture: Picture


def compare(
    signals: Mapping[str, Path], plain: str, cutoff: float | None, original: Path | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> dict[str, Compared]:  # fmt: skip
    """Compare sound files of one song with each other.

    Args:
        signals: the sound files by name; all start at the same moment and are as long as each other.
        plain: the name of the plain decode among them; all are compared at its rate.
        cutoff: Hz above which the encoder kept nothing; None: nothing was cut off.
        original: the lossless original, where there is one.
        checkpoint: called with every block, and may raise to end it.

    Raises:
        SongError: one of them cannot be read, or the original is another recording; one sentence for the user.
    """
    paths = {plain: signals[plain], **signals}
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(open_sound(path)) for path in paths.values()]
            found = Original.of(original, paths[plain]) if original is not None else None
            return _compared(paths, files, cutoff, found, checkpoint)
    except (OSError, soundfile.SoundFileError) as error:
        why = printable(str(getattr(error, "error_string", error))).rstrip(".")
        raise SongError(f"A result could not be read ({why}): let it be made again (--force).") from error


def _compared(
    paths: Mapping[str, Path], files: Sequence[soundfile.SoundFile], cutoff: float | None, original: Original | None,
    checkpoint: Callable[[], None],
) -> dict[str, Compared]:  # fmt: skip
    rate, frames, channels = files[0].samplerate, files[0].frames, files[0].channels
    for name, file in zip(paths, files, strict=True):
        if file.channels != channels:
            raise SongError(f"{printable(name)} has {file.channels} channels instead of {channels}: make it again.")
    levels = [_LevelMeter(file.samplerate, channels) for file in files]
    streams = [_stream(file, level, rate, frames) for file, level in zip(files, levels, strict=True)]
    gains = original.gains(list(paths.values()), cutoff) if original is not None else None
    together = _Together(len(files), rate, channels, frames, cutoff, gains)
    originals = original.blocks(rate, channels, frames) if original is not None else None
    for blocks in zip(*streams, strict=True):
        checkpoint()
        together.process(np.stack(blocks), next(originals) if originals is not None else None)
    together.end()
    visqol = original.visqol(list(paths.values()), rate, frames) if original is not None else None
    return {
        name: Compared(together.figures(place, level, visqol[place] if visqol else None), together.picture(place))
        for place, (name, level) in enumerate(zip(paths, levels, strict=True))
    }


class _LevelMeter:
    """What is measured of a file at its own rate."""

    def __init__(self, rate: int, channels: int) -> None:
        self._loudness, self._peak = LoudnessMeter(rate, channels), TruePeakMeter(rate, channels)

    def process(self, block: Audio) -> None:
        self._loudness.process(block)
        self._peak.process(block)

    def result(self) -> tuple[float | None, float | None, float]:
        """Loudness in LUFS, true peak in dBTP, loudness range in LU."""
        loudness, peak = self._loudness.integrated(), decibels(self._peak.true_peak())
        return (
            _told(loudness, 2) if loudness > SILENCE_DB else None, _told(peak, 2) if peak > SILENCE_DB else None,
            loudness_range(self._loudness.steps),
        )  # fmt: skip


def _stream(file: soundfile.SoundFile, level: _LevelMeter, rate: int, frames: int) -> Iterator[Audio]:
    """A file's blocks of :data:`BLOCK` frames at ``rate`` Hz, ``frames`` in all; measured on the way."""

    def measured() -> Iterator[Audio]:
        for block in file.blocks(BLOCK, dtype="float32", always_2d=True):
            level.process(block)
            yield block

    return blocks_of(resample_stream(measured(), file.samplerate, rate, frames), BLOCK)


class _Together:
    """All meters that hear the signals side by side; the first is the plain decode."""

    def __init__(
        self, count: int, rate: int, channels: int, frames: int, cutoff: float | None, gains: Sequence[float] | None
    ) -> None:
        self._count, self._rate, self._channels, self._cutoff = count, rate, channels, cutoff
        self._hop = HOP if gains is not None else _HOP
        self._rest = np.zeros((count + (gains is not None), 0, channels), np.float32)
        self._clicks = [ClickMeter() for _ in range(count)]
        self._excerpts = _ExcerptMeters(count, rate, channels, frames, cutoff)
        self._power, self._cross = np.zeros((2, count, BINS))  # of each; with the plain decode
        self._mid, self._side = np.zeros((2, count, BINS))
        self._columns = [Columns(max(1, (frames - FFT) // self._hop + 1)) for _ in range(count)]
        self._bands: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(count)]
        self._spectra = self._frames = 0
        top = cutoff if cutoff is not None else rate / 2
        self._below = _bins(rate, 0, top - _CROSSOVER if cutoff is not None else top)
        self._above = _bins(rate, top + _ABOVE, rate / 2) if cutoff is not None else slice(0, 0)
        self._beside = _bins(rate, top - _BESIDE[0], top - _BESIDE[1])
        self._scale = 1 / (float((HANN**2).sum()) * FFT / 2)  # of summed powers to full scale squared
        self._distances = (
            _Distances(gains, _bins(rate, 0, top), _bins(rate, top, rate / 2)) if gains is not None else None
        )

    def process(self, blocks: npt.NDArray[np.float32], original: Audio | None) -> None:
        """Take the next ``(signals, frames, channels)``, and as many frames of the original."""
        self._frames += blocks.shape[1]
        for clicks, made in zip(self._clicks[1:], blocks[1:], strict=True):
            clicks.process(blocks[0], made)
        self._excerpts.process(blocks)
        if original is not None and self._distances is not None:
            self._distances.in_time(blocks, original)
            blocks = np.concatenate([blocks, original[None]])
        data = np.concatenate([self._rest, blocks], axis=1)
        whole = max(0, (data.shape[1] - FFT) // self._hop + 1)
        for first in range(0, whole, _AT_ONCE):
            last = min(whole, first + _AT_ONCE)
            self._look(data[:, first * self._hop : (last - 1) * self._hop + FFT])
        self._rest = data[:, whole * self._hop :].copy()

    def _look(self, data: npt.NDArray[np.float32]) -> None:
        from scipy import fft

        windows = np.lib.stride_tricks.sliding_window_view(data, FFT, axis=1)[:, :: self._hop]
        spectra = fft.rfft(windows * HANN, axis=-1)  # (signals, time, channels, bins)
        powers = power(spectra)
        if self._distances is not None:
            self._distances.in_frequency(powers)
        spectra, powers = spectra[: self._count], powers[: self._count]
        self._power += powers.sum(axis=(1, 2), dtype=np.float64)
        plain = spectra[0]
        for place, one in enumerate(spectra):
            self._cross[place] += (plain.real * one.real + plain.imag * one.imag).sum(axis=(0, 1), dtype=np.float64)
            self._columns[place].add(self._spectra, powers[place].mean(axis=1))
            if self._channels == 2:
                for total, sign in ((self._mid, 1), (self._side, -1)):
                    total[place] += power(one[:, 0] + sign * one[:, 1]).sum(axis=0, dtype=np.float64)
        if self._cutoff is not None:
            beside = powers[0, :, :, self._beside].sum(axis=(1, 2), dtype=np.float64)
            for place in range(self._count):
                band = powers[place, :, :, self._above].sum(axis=(1, 2), dtype=np.float64)
                self._bands[place].append(np.stack([band, beside]) * self._scale)
        self._spectra += spectra.shape[1]

    def end(self) -> None:
        """All has been taken."""
        self._excerpts.end()

    def picture(self, place: int) -> Picture:
        """That of one signal."""
        return self._columns[place].picture(self._rate)

    def figures(self, place: int, level: _LevelMeter, visqol: float | None) -> Figures:
        """Those of one signal."""
        loudness, peak, lra = level.result()
        minutes = self._frames / self._rate / 60
        gain = self._gain(place)
        left = self._left(place, gain)
        total = self._power[place].sum()
        above, generated = self._power[place, self._above].sum(), left[self._above].sum()
        below = self._power[place, self._below].sum()
        is_plain, there = place == 0, total > self._silence(slice(None))
        return Figures(
            loudness=loudness,
            true_peak=peak,
            plr=_told(peak - loudness, 2) if peak is not None and loudness is not None else None,
            lra=lra,
            width=self._width(place),
            gain=_told(20 * math.log10(gain), 2) if gain > 0 else None,
            octaves=self._octaves(place, gain),
            residual=_ratio(left[self._below].sum(), below) if there and not is_plain else None,
            above=_ratio(above, total) if there and self._above.stop else None,
            generated=self._generated(above, generated) if not is_plain else None,
            clicks=_told(self._clicks[place].count / minutes, 2) if minutes else 0.0,
            level_steps=self._steps(place, minutes),
            reference=self._distances.result(place, self._rate, visqol) if self._distances is not None else None,
            **self._excerpts.result(place),
        )

    def _gain(self, place: int) -> float:
        """The factor by which it is louder than the plain decode, told below the cutoff; 0: they share nothing."""
        return common_gain(self._cross[place, self._below], self._power[0, self._below])

    def _left(self, place: int, gain: float) -> npt.NDArray[np.float64]:
        """Power per bin of what is left when the plain decode, with that gain, is taken away."""
        left = self._power[place] - 2 * gain * self._cross[place] + gain * gain * self._power[0]
        return np.maximum(0, left)

    def _generated(self, above: float, left: float) -> float | None:
        return _told(min(1.0, left / above), 4) if above > self._silence(self._above) else None

    def _silence(self, band: slice) -> float:
        """Summed power of a band that nobody hears."""
        return self._spectra * self._channels * _SILENT / self._scale if band.stop != 0 else math.inf

    def _octaves(self, place: int, gain: float) -> tuple[float | None, ...]:
        return _octave_levels(self._power[place], self._power[0] * gain * gain, self._rate, self._silence(slice(None)))

    def _width(self, place: int) -> float | None:
        mid, side = self._mid[place].sum(), self._side[place].sum()
        return _ratio(side, mid) if self._channels == 2 and mid > 0 else None

    def _steps(self, place: int, minutes: float) -> float | None:
        if not self._bands[place] or not minutes:
            return None
        band, beside = np.concatenate(self._bands[place], axis=1)
        whole = len(band) // _LEVEL * _LEVEL
        band, beside = (x[:whole].reshape(-1, _LEVEL).mean(axis=1) for x in (band, beside))
        return _told(count_level_steps(band, beside, self._rate / self._hop / _LEVEL) / minutes, 2)


class _Distances:
    """How far the signals are from the original, which comes last."""

    def __init__(self, gains: Sequence[float], below: slice, above: slice) -> None:
        count = len(gains)
        #: What the powers are to be multiplied by, so that loudness is not what is compared.
        self._matched = np.array([*(gain**2 for gain in gains), 1.0], np.float32)[:, None, None, None]
        self._bands = (slice(0, BINS), below, above)
        self._sums = np.zeros((count, 3))
        self._rows = 0
        self._products = np.zeros((count, 2))  # with the original, with itself
        self._energy = 0.0
        self._power = np.zeros((count + 1, BINS))

    def in_time(self, blocks: npt.NDArray[np.float32], original: Audio) -> None:
        """Take ``(signals, frames, channels)`` and the original's."""
        wanted = original.astype(np.float64)
        self._energy += float((wanted**2).sum())
        for place, made in enumerate(blocks.astype(np.float64)):
            self._products[place] += (wanted * made).sum(), (made**2).sum()

    def in_frequency(self, powers: npt.NDArray[np.float32]) -> None:
        """Take ``(signals, time, channels, bins)``."""
        powers = powers * self._matched
        self._power += powers.sum(axis=(1, 2), dtype=np.float64)
        logs = np.log10(np.maximum(powers, FLOOR))
        squares = (logs[:-1] - logs[-1]) ** 2
        for number, band in enumerate(self._bands):
            if band.stop > band.start:
                self._sums[:, number] += np.sqrt(squares[..., band].mean(axis=-1)).sum(axis=(1, 2))
        self._rows += squares.shape[1] * squares.shape[2]

    def result(self, place: int, rate: int, visqol: float | None) -> Reference:
        """What was found of one signal."""
        cut = self._bands[2].stop > self._bands[2].start
        lsd, below, above = (_told(x / self._rows, 3) if self._rows else None for x in self._sums[place])
        shared, own = self._products[place]
        kept = shared**2 / self._energy if self._energy else 0.0
        octaves = _octave_levels(self._power[place], self._power[-1], rate, self._rows * FLOOR)
        return Reference(
            lsd, below if cut else None, above if cut else None,
            _ratio(kept, max(0.0, own - kept)) if kept > 0 else None, octaves, visqol,
        )  # fmt: skip


class _ExcerptMeters:
    """Pre-echo and holes, in excerpts that are the same of all signals."""

    def __init__(self, count: int, rate: int, channels: int, frames: int, cutoff: float | None) -> None:
        self._excerpts, self._count, self._channels = Excerpts(frames), count, channels
        self._pre_echo = PreEchoMeter(rate)
        self._rises: list[list[float]] = [[] for _ in range(count)]
        top = min(EDGES[-1], cutoff - _HOLE_GUARD) if cutoff is not None else EDGES[-1]
        width = _CELL * rate / FFT
        self._cells = slice(round(EDGES[0] / width), max(round(EDGES[0] / width), round(top / width)))
        self._holes, self._heard, self._left = 0, 0, np.zeros(count)

    def process(self, blocks: npt.NDArray[np.float32]) -> None:
        """Take the next ``(signals, frames, channels)``."""
        side_by_side = blocks.transpose(1, 0, 2).reshape(blocks.shape[1], -1)
        for piece in self._excerpts.take(side_by_side):
            self._look(piece)

    def end(self) -> None:
        """All has been taken."""
        for piece in self._excerpts.rest():
            self._look(piece)

    def _look(self, piece: Audio) -> None:
        signals = [piece[:, n * self._channels : (n + 1) * self._channels] for n in range(self._count)]
        energies = [self._pre_echo.energy(signal) for signal in signals]
        places = attacks(energies[0]) if len(energies[0]) else []
        for rises, energy in zip(self._rises, energies, strict=True):
            rises.extend(rises_at(energy, places) if places else [])
        holes = [self._holes_of(signal) for signal in signals]
        own, heard = holes[0]
        self._holes += int(own.sum())
        self._heard += int(heard.sum())
        self._left += [float((own & other).sum()) for other, _ in holes]

    def _holes_of(self, signal: Audio) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        edge = FFT // HOP // 2
        spectra = power(stft(signal[: len(signal) // HOP * HOP], HANN)[edge:-edge])[:, :, : FFT // 2]
        cells = spectra.reshape(len(spectra), spectra.shape[1], -1, _CELL).mean(axis=3)
        holes, heard = find_holes(cells)
        return holes[:, :, self._cells], heard[:, :, self._cells]

    def result(self, place: int) -> dict[str, Any]:
        """The figures of one signal, by name."""
        rises = self._rises[place]
        share = self._holes / self._heard if self._heard else None
        some = share is not None and share > _FEW_HOLES and place > 0
        return {
            "attacks": len(rises),
            "pre_echo": _told(float(np.median(rises)), 2) if len(rises) >= _FEW_ATTACKS else None,
            "holes": _told(share, 4) if share is not None else None,
            "holes_filled": _told(1 - float(self._left[place]) / self._holes, 4) if some else None,
        }


def _bins(rate: int, low: float, high: float) -> slice:
    first, last = (min(BINS, max(0, round(hz * FFT / rate))) for hz in (low, high))
    return slice(first, max(first, last))


def _octave_levels(
    made: npt.NDArray[np.float64], against: npt.NDArray[np.float64], rate: int, silence: float
) -> tuple[float | None, ...]:
    """dB of summed powers per bin in each octave; None where neither is more than ``silence``."""
    out: list[float | None] = []
    for centre in OCTAVES:
        band = _bins(rate, centre / math.sqrt(2), centre * math.sqrt(2))
        one, other = float(made[band].sum()), float(against[band].sum())
        out.append(_ratio(max(one, silence), max(other, silence)) if max(one, other) > silence else None)
    return tuple(out)


def _ratio(part: float, whole: float) -> float | None:
    """dB of one power against another; at least -150, None against nothing."""
    if whole <= 0:
        return None
    return max(_LOWEST, _told(10 * math.log10(max(part / whole, 1e-20)), 2))


def _told(value: float, digits: int) -> float:
    """A plain number: what is kept is read back, and numpy's are not written."""
    return round(float(value), digits)
