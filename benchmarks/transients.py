"""What ``transients`` does to pieces whose original is known.

``python -m benchmarks.transients FOLDER [--codings 64.mp3,128.mp3]`` with a folder of pieces, each a folder with
``ref.flac`` and codings of it. Onsets are found on the original by an independent picker: where the energy of 2 ms
stands highest, and at least 9 dB, above that of the 5 ms before. One row per piece and coding:

* ``pre``: pre-echo against the plain decode, in dB: the energy in the 25 ms before the onsets beyond the original's, in
  the third octaves that the original rises in by 12 dB (each onset and band by itself, levels matched as a whole);
* ``each``: the same, mean over onsets of the dB of each, of which 30 dB count at the most;
* ``moved``: the most ms by which an onset lies elsewhere than in the plain decode;
* ``si-sdr`` and ``lsd`` of the whole, and what they gained (see benchmarks/restorer.py).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from benchmarks.restorer import Alone, decoded
from engine.audio.readers import Audio
from engine.audio.resample import resample
from engine.compare.metrics import log_spectral_distance, si_sdr
from engine.stages.base import Rendered
from engine.stages.transients import Transients, TransientsParams

Series = npt.NDArray[np.float64]
_BEFORE, _GUARD, _AFTER = 0.025, 0.0005, 0.01  # s
_RISE = 10**1.2  # s


def energy(audio: Audio, rate: int, over: float) -> Series:
    """Mean energy of ``over`` seconds around each frame, over all channels."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d((audio.astype(np.float64) ** 2).sum(axis=1), max(1, round(over * rate)))


def half_risen(audio: Audio, rate: int, near: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each place, the frame (from 4 ms before to 12 ms after it) at which half of the highest energy has come."""
    smooth, reach = energy(audio, rate, 0.001), round(0.012 * rate)
    out = []
    for place in near:
        first = max(0, place - reach // 3)
        piece = smooth[first : place + reach]
        out.append(first + int(np.argmax(piece >= piece.max() / 2)))
    return np.array(out, np.int64)


def pick(audio: Audio, rate: int) -> npt.NDArray[np.int64]:
    """Onsets: where the energy of 2 ms stands highest, and at least 9 dB, above that of the 5 ms before."""
    from scipy.ndimage import maximum_filter1d

    total = np.concatenate([[0.0], np.cumsum((audio.astype(np.float64) ** 2).sum(axis=1))])
    two, five = round(0.002 * rate), round(0.005 * rate)
    at = np.arange(round(0.05 * rate), len(audio) - round(0.05 * rate))
    rise = np.log10(((total[at + two] - total[at]) / two + 1e-8) / ((total[at] - total[at - five]) / five + 1e-8))
    return at[(rise > 0.9) & (rise == maximum_filter1d(rise, 2 * round(0.03 * rate) + 1))].astype(np.int64)


def bands(piece: Audio, rate: int) -> Series:
    """Energy of ``(frames, channels)`` in third octaves from 200 Hz to 16 kHz, in one spectrum, over all channels."""
    edges = 200 * 2 ** (np.arange(20) / 3)
    power = (np.abs(np.fft.rfft(piece, axis=0)) ** 2).sum(axis=1) / len(piece)
    which = np.digitize(np.fft.rfftfreq(len(piece), 1 / rate), edges)
    return np.asarray(np.bincount(which, power, minlength=len(edges) + 1)[1 : len(edges)], np.float64)


def tapered(piece: Audio, rate: int) -> Audio:
    """The same with its ends faded over 1 ms, so that neither attack nor edge leaks into other bands."""
    fade = round(0.001 * rate)
    ends = np.ones((len(piece), 1))
    ends[:fade, 0] = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade) ** 2
    ends[-fade:, 0] = ends[:fade, 0][::-1]
    return np.asarray(piece * ends)


def excess(reference: Audio, estimate: Audio, rate: int, onsets: npt.NDArray[np.int64]) -> Series:
    """``(onsets,)``: energy ahead beyond the reference's, in the bands that the attack is in; see the head."""
    ahead, guard, after = (round(s * rate) for s in (_BEFORE, _GUARD, _AFTER))
    out = []
    for at in onsets:
        before = slice(at - guard - ahead, at - guard)
        was, now = (bands(tapered(a[before], rate), rate) for a in (reference, estimate))
        attack = bands(tapered(reference[at : at + after], rate), rate) / after
        out.append(np.maximum(now - was, 0)[attack > _RISE * (was / ahead + 1e-9)].sum())
    return np.array(out)


@dataclass(frozen=True)
class Figures:
    """Of one piece and coding; see the head of this file. ``seconds`` of work for each of the song."""

    onsets: int
    pre: float
    each: float
    moved: float
    sdr: tuple[float, float]
    lsd: tuple[float, float]
    seconds: float


def figures(place: Path, coding: str, params: TransientsParams) -> Figures:
    """What the stage makes of a coding, beside ``ref.flac`` in the same folder."""
    reference, rate = soundfile.read(place / "ref.flac", dtype="float32", always_2d=True)
    with tempfile.TemporaryDirectory() as folder:
        song, heard = decoded(place / coding, Path(folder))
        started = time.process_time()
        audio = repaired(song, params)
        seconds = (time.process_time() - started) / (len(heard) / song.input.rate)
    plain, made = (resample(a, song.input.rate, rate)[: len(reference)] for a in (heard, audio))
    first = reference[: len(plain)]
    onsets = pick(first, rate)
    gain = np.float32((first * plain).sum() / (plain**2).sum())
    pre, pre_made = (excess(first, a * gain, rate, onsets) for a in (plain, made))
    audible = pre > 1e-7
    each = 10 * np.log10((pre_made[audible] / pre[audible] + 1e-3) / 1.001)
    moved = np.abs(half_risen(made, rate, onsets) - half_risen(plain, rate, onsets)).max(initial=0) / rate * 1000
    sdr = (si_sdr(first, plain), si_sdr(first, made))
    lsd = (log_spectral_distance(first, plain, rate), log_spectral_distance(first, made, rate))
    less = 10 * float(np.log10((pre_made.sum() + 1e-12) / (pre.sum() + 1e-12)))
    return Figures(len(onsets), less, float(each.mean()) if len(each) else 0.0, float(moved), sdr, lsd, seconds)


def repaired(song: Alone, params: TransientsParams) -> Audio:
    """What the stage makes of a file."""
    made = Transients().run(Alone(song.source, song.analysis, song.input), params)
    assert isinstance(made, Rendered)
    return np.concatenate(list(made.blocks()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--codings", default="64.mp3,128.mp3")
    parser.add_argument("--pieces", default="", help="only these, such as sp_amen,gm_rock")
    parser.add_argument("--pre-echo", type=float, default=TransientsParams().pre_echo)
    parser.add_argument("--attack-db", type=float, default=TransientsParams().attack_db)
    given = parser.parse_args()
    params = TransientsParams(pre_echo=given.pre_echo, attack_db=given.attack_db)
    print(f"{'piece':26} onsets    pre   each  moved  si-sdr  gained    lsd  gained  s per s")
    for place in sorted(given.folder.iterdir()):
        if not (place / "ref.flac").exists() or (given.pieces and place.name not in given.pieces.split(",")):
            continue
        for coding in given.codings.split(","):
            if (place / coding).exists():
                it = figures(place, coding, params)
                print(
                    f"{place.name + '/' + coding:26} {it.onsets:6} {it.pre:6.2f} {it.each:6.2f} {it.moved:6.2f}"
                    f" {it.sdr[1]:7.2f} {it.sdr[1] - it.sdr[0]:7.3f} {it.lsd[1]:6.3f} {it.lsd[1] - it.lsd[0]:7.4f}"
                    f" {it.seconds:8.4f}"
                )


if __name__ == "__main__":
    main()
