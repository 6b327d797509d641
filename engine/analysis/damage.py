"""All that an encoder did to a song, in figures. What they mean is said in :mod:`engine.analysis.findings`.

The figures are kept with the song. Of what is made only the learned restorer goes by one of them
(:attr:`Damage.earlier`), so that new ones do not make a finished library unfinished.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.analysis.cutoff import CutoffShape, LongTermSpectrum, shape_of
from engine.analysis.dynamics import loudness_range
from engine.analysis.excerpts import Excerpts
from engine.analysis.holes import HoleMeter, Holes
from engine.analysis.mp3_grid import Grid, GridMeter
from engine.analysis.pre_echo import PreEcho, PreEchoMeter
from engine.analysis.stereo import Stereo, StereoMeter
from engine.analysis.transform_grid import TransformGridMeter
from engine.audio.loudness import SILENCE_DB, LoudnessMeter
from engine.audio.readers import Audio
from engine.dsp.spectrum import FFT, HANN, HOP, power, stft

_MOMENT = 1024  # frames of a level
_FLOOR_SHARE = 0.01  # of the moments, the quietest, that the noise floor is told by
_DIGITAL_SILENCE = -110.0  # dBFS
_TOO_LOUD = 16.0  # beyond full scale nothing is music; float files may hold it all the same


@dataclass(frozen=True)
class Damage:
    """``noise_floor``: dBFS (RMS) of the quietest hundredth of the moments that are not digital silence; ``rms``: dBFS
    of the whole; ``loudness_range``: LU. ``stereo`` is None of songs that have not two channels. ``earlier``: dB that
    Vorbis or AAC left (:meth:`engine.analysis.transform_grid.TransformGridMeter.depth`), 0 where neither did."""

    shape: CutoffShape
    holes: Holes
    pre_echo: PreEcho
    stereo: Stereo | None
    grid: Grid
    earlier: float
    noise_floor: float
    rms: float
    loudness_range: float


class DamageMeter:
    """Measures pieces of a stream, in constant memory; ``promised`` frames are expected (0 or less: not known)."""

    def __init__(self, rate: int, channels: int, promised: int) -> None:
        self._excerpts = Excerpts(promised)
        self._holes, self._pre_echo, self._grid = HoleMeter(rate), PreEchoMeter(rate), GridMeter()
        self._earlier = TransformGridMeter()
        self._stereo = StereoMeter(rate) if channels == 2 else None
        self._quietest: list[float] = []
        self._power = self._frames = 0.0

    def process(self, block: Audio) -> None:
        """Take the next ``(frames, channels)``; all of them are numbers."""
        clipped = np.clip(block, -_TOO_LOUD, _TOO_LOUD).ravel()
        self._power += float(clipped @ clipped) / block.shape[1]
        self._frames += len(block)
        for piece in self._excerpts.take(block):
            self._look_at(piece)

    def _look_at(self, piece: Audio) -> None:
        piece = np.clip(piece, -_TOO_LOUD, _TOO_LOUD)
        self._grid.process(piece)
        self._earlier.process(piece)
        self._pre_echo.process(piece)
        moments = piece[: len(piece) // _MOMENT * _MOMENT].reshape(-1, _MOMENT * piece.shape[1])
        levels = 10 * np.log10(np.square(moments, dtype=np.float64).mean(axis=1) + 1e-20)
        self._quietest += levels[levels > _DIGITAL_SILENCE].tolist()
        spectra = stft(piece[: len(piece) // HOP * HOP], HANN)[FFT // HOP // 2 : -(FFT // HOP // 2)]
        self._holes.process(power(spectra))
        if self._stereo is not None:
            self._stereo.process(spectra)

    def result(self, cutoff: float | None, spectrum: LongTermSpectrum, loudness: LoudnessMeter) -> Damage:
        """What was found in a song that ends at ``cutoff`` Hz, with what else was measured of it. Ends the stream."""
        for piece in self._excerpts.rest():
            self._look_at(piece)
        mean = self._power / self._frames if self._frames else 0.0
        return Damage(
            shape=shape_of(spectrum),
            holes=self._holes.result(cutoff),
            pre_echo=self._pre_echo.result(),
            stereo=self._stereo.result() if self._stereo is not None else None,
            grid=self._grid.result(),
            earlier=round(self._earlier.depth(), 2),
            noise_floor=round(float(np.quantile(self._quietest, _FLOOR_SHARE)), 1) if self._quietest else SILENCE_DB,
            rms=round(10 * math.log10(mean), 2) if mean > 1e-20 else SILENCE_DB,
            loudness_range=loudness_range(loudness.steps),
        )
