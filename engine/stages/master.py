"""Master: optional tilt and width, then one gain to the loudness target and a true-peak limiter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine.audio.loudness import SILENCE_DB, LoudnessMeter, TruePeakMeter, decibels
from engine.audio.readers import Audio
from engine.dsp.filters import apply_fir, tilt
from engine.dsp.limiter import Limiter
from engine.stages.base import Context, Params, Rendered, Signal, Stage, one_of, parameter, passed, read_blocks, watched

_TARGETS = {"streaming": -14.0, "ebu": -23.0}  # LUFS
_ALL_TARGETS = ("song", *_TARGETS, "album", "none")
_TOLERANCE = 0.03  # LU
_TOLD = 0.5  # LU that are missing, from which on it is told
_WORTH = 0.05  # LU that a dB of gain must bring to be worth it
_LEAST_SLOPE = 0.15  # LU that the next is taken to bring, at least
_PASSES = 8
_METER_MARGIN = 0.15  # dB by which other true-peak meters may read more than ours


@dataclass(frozen=True)
class MasterParams(Params):
    loudness_lufs: float = parameter(-14.0, "integrated loudness (BS.1770)", unit="LUFS", low=-40.0, high=-5.0)
    ceiling_dbtp: float = parameter(-1.0, "highest true peak", unit="dBTP", low=-20.0, high=0.0)
    tilt_db: float = parameter(
        0.0,
        "tilt of the spectrum around 1 kHz; positive is brighter",
        unit="dB per octave",
        low=-2.0,
        high=2.0,
    )
    width: float = parameter(1.0, "level of the side signal; 0 is mono, 1 leaves it as it is", low=0.0, high=2.0)
    release_ms: float = parameter(80.0, "how fast the limiter lets go", unit="ms", low=10.0, high=1000.0)
    target: str = parameter(
        "song", "what is brought where: song (to loudness_lufs), streaming (-14 LUFS), ebu (-23), album (all songs of "
        "a folder with the same album tag together to loudness_lufs; their differences stay), none (only the ceiling)",
        later=True,
    )  # fmt: skip
    album_lufs: float = parameter(
        0.0, "what the album has as it came, for the target album; 0: measured", unit="LUFS", low=-70.0, high=0.0,
        later=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("target", self.target, _ALL_TARGETS)


class Master(Stage):
    """Brings a song to a loudness, exactly, whatever the limiter takes away."""

    name = "master"
    title = "Master"
    cost = 0.08
    sets_loudness = True
    Parameters = MasterParams

    def wants_album(self, params: MasterParams) -> bool:
        return params.target == "album" and not params.album_lufs

    def in_album(self, params: MasterParams, loudness: float) -> MasterParams:
        return replace(params, album_lufs=loudness)

    def run(self, context: Context, params: MasterParams) -> Rendered:
        signal = context.input
        shaped = _Shaped(context, signal, params)
        loudness, peak = _measure(shaped.blocks(), signal)
        aim = _aim(context, params, loudness)
        if aim is None:
            context.warn("The song is too quiet or too short for its loudness to be measured: it was not mastered.")
            return passed(signal, "not mastered")
        gain, ceiling = aim.gain, params.ceiling_dbtp - _METER_MARGIN

        def rendered(blocks: Callable[[], Iterator[Audio]], note: str = aim.note) -> Rendered:
            note = f"{note}, peaks at or below {params.ceiling_dbtp:g} dBTP"
            return Rendered(signal.rate, signal.channels, signal.frames, blocks, note=note, gain=aim.undone)

        if decibels(peak) + gain <= ceiling:
            factor = np.float32(10 ** (gain / 20))
            return rendered(lambda: (block * factor for block in shaped.blocks()))
        gain, ceiling, missing = _settle(shaped, signal, params, aim, ceiling)
        limiter = _limiter(signal, params, ceiling)

        def limited() -> Iterator[Audio]:
            return limiter.process(shaped.blocks(), 10 ** (gain / 20))

        if aim.loudness is None or missing <= _TOLD:
            return rendered(limited)
        reached = f"{aim.loudness - missing:.1f} LUFS"
        context.warn(
            f"The song has {reached}, not {aim.loudness:.1f}: its peaks leave no more below {params.ceiling_dbtp:g} "
            "dBTP. Ask for less loudness, or for a higher ceiling."
        )
        return rendered(limited, f"mastered to {reached}")


@dataclass(frozen=True)
class _Aim:
    """Where a song is to be brought: by a ``gain`` in dB, then to a ``loudness`` in LUFS (None: whatever it has then).

    ``undone`` is what of the gain takes back an attenuation on the way from the source.
    """

    gain: float
    loudness: float | None
    note: str
    undone: float = 0.0


def _aim(context: Context, params: MasterParams, loudness: float) -> _Aim | None:
    """What the target means for a song of that loudness; None where it has none to go by."""
    before = context.input.gain
    album, own = params.album_lufs, context.analysis.loudness
    if params.target == "none":
        return _Aim(-before, None, "as loud as it was", -before)
    if params.target == "album" and album and min(loudness, own) <= SILENCE_DB:
        return _Aim(params.loudness_lufs - album - before, None, "turned up or down as its album")
    if loudness <= SILENCE_DB:
        return None
    wanted = _TARGETS.get(params.target, params.loudness_lufs)
    note = f"mastered to {wanted:g} LUFS"
    if params.target == "album" and album:
        wanted += own - album
        note = f"{wanted:.1f} LUFS, so that its album is mastered to {params.loudness_lufs:g} LUFS"
    return _Aim(wanted - loudness, wanted, note)


class _Shaped:
    """The input after tilt and width, as often as it is asked for."""

    def __init__(self, context: Context, signal: Signal, params: MasterParams) -> None:
        self._context, self._signal, self._params = context, signal, params
        self._passes = 0

    def blocks(self) -> Iterator[Audio]:
        self._passes += 1
        share = 1 - 0.5**self._passes
        stream = watched(self._context, self._as_wide(), self._signal.frames, 2 * share - 1, share)
        if self._params.tilt_db:
            stream = apply_fir(stream, tilt(self._params.tilt_db, self._signal.rate))
        return stream

    def _as_wide(self) -> Iterator[Audio]:
        width = np.float32(self._params.width)
        for block in read_blocks(self._signal):
            if width != 1 and block.shape[1] == 2:
                mid = block.mean(axis=1, keepdims=True)
                yield mid + (block - mid) * width
            else:
                yield block


def _measure(blocks: Iterator[Audio], signal: Signal) -> tuple[float, float]:
    """(integrated loudness in LUFS, true peak as an amplitude)."""
    loudness = LoudnessMeter(signal.rate, signal.channels)
    peak = TruePeakMeter(signal.rate, signal.channels)
    for block in blocks:
        loudness.process(block)
        peak.process(block)
    return loudness.integrated(), peak.true_peak()


def _limiter(signal: Signal, params: MasterParams, ceiling: float) -> Limiter:
    return Limiter(signal.rate, 10 ** (ceiling / 20), release=params.release_ms / 1000)


def _settle(
    shaped: _Shaped, signal: Signal, params: MasterParams, aim: _Aim, ceiling: float
) -> tuple[float, float, float]:  # fmt: skip
    """(gain in dB, limiter ceiling in dBTP) with which loudness and true peak come out as asked, and the LU that are
    missing all the same.

    The limiter takes loudness away, so the gain is raised until the result is right (secant method), or until more gain
    brings next to nothing: it would bring up what is quiet, and crush what is loud.
    """
    gain, missing, enough = aim.gain, 0.0, False
    tried: list[tuple[float, float]] = []
    for _ in range(_PASSES):
        limiter = _limiter(signal, params, ceiling)
        loudness, peak = _measure(limiter.process(shaped.blocks(), 10 ** (gain / 20)), signal)
        over = decibels(peak) - (params.ceiling_dbtp - _METER_MARGIN / 2)
        if over > 0:
            ceiling -= over + 0.02
        missing = aim.loudness - loudness if aim.loudness is not None else 0.0
        if over <= 0 and (enough or abs(missing) <= _TOLERANCE):
            break
        tried.append((gain, missing))
        if not enough and missing > _TOLD and _slope(tried) < _WORTH:
            gain, enough = tried[-2][0], True
        elif not enough:
            gain += _step(tried) if missing else 0.0
    return gain, ceiling, missing


def _slope(tried: list[tuple[float, float]]) -> float:
    """LU that a dB of gain brought, from the (gain, missing loudness) of the passes; 1 where that is not known yet."""
    gain, missing = tried[-1]
    if len(tried) > 1 and abs(gain - tried[-2][0]) > 1e-3:
        return (tried[-2][1] - missing) / (gain - tried[-2][0])
    return 1.0


def _step(tried: list[tuple[float, float]]) -> float:
    """How much to raise the gain."""
    return float(np.clip(tried[-1][1] / np.clip(_slope(tried), _LEAST_SLOPE, 1.0), -6, 6))
