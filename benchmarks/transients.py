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
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from benchmarks.restorer import Alone, decoded, distance, si_sdr
from engine.audio.readers import Audio
from engine.audio.resample import resample
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
    """For each place, the frame within 12 ms of it at which half of the highest energy (of 1 ms) has come."""
    smooth, reach = energy(audio, rate, 0.001), round(0.012 * rate)
    out = []
    for place in near:
        first = max(0, place - reach)
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


def repaired(song: Alone, params: TransientsParams) -> Audio:
    """What the stage makes of a file."""
    made = Transients().run(Alone(song.source, song.analysis, song.input), params)
    assert isinstance(made, Rendered)
    return np.concatenate(list(made.blocks()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--codings", default="64.mp3,128.mp3")
    parser.add_argument("--pieces", default="")
    parser.add_argument("--amount", type=float, default=TransientsParams().pre_echo)
    given = parser.parse_args()
    params = TransientsParams(pre_echo=given.amount)
    print(f"{'piece':26} onsets    pre   each  moved  si-sdr  gained    lsd  gained  s per s")
    for place in sorted(given.folder.iterdir()):
        if not (place / "ref.flac").exists() or (given.pieces and place.name not in given.pieces.split(",")):
            continue
        reference, rate = soundfile.read(place / "ref.flac", dtype="float32", always_2d=True)
        onsets = pick(reference, rate)
        for coding in given.codings.split(","):
            if not (place / coding).exists():
                continue
            with tempfile.TemporaryDirectory() as folder:
                song, heard = decoded(place / coding, Path(folder))
                started = time.process_time()
                audio = repaired(song, params)
                seconds = time.process_time() - started
            before, after = (resample(a, song.input.rate, rate) for a in (heard, audio))
            count = min(len(reference), len(before))
            first, plain, made = reference[:count], before[:count], after[:count]
            own = onsets[onsets < count - rate // 20]
            gain = np.float32((first * plain).sum() / (plain**2).sum())
            pre, pre_made = (excess(first, a * gain, rate, own) for a in (plain, made))
            heard_ahead = pre > 1e-7
            each = np.log10((pre_made[heard_ahead] / pre[heard_ahead] + 1e-3) / 1.001)
            moved = np.abs(half_risen(made, rate, own) - half_risen(plain, rate, own)).max(initial=0) / rate * 1000
            sdr, lsd = (np.array([f(first, a) for a in (plain, made)]) for f in (si_sdr, distance))
            mean = 10 * float(each.mean()) if len(each) else 0.0
            print(
                f"{place.name + '/' + coding:26} {len(own):6} {_db(pre_made.sum(), pre.sum()):6.2f} {mean:6.2f}"
                f" {moved:6.2f} {sdr[1]:7.2f} {sdr[1] - sdr[0]:7.3f} {lsd[1]:6.3f} {lsd[1] - lsd[0]:7.4f}"
                f" {seconds / (count / rate):8.4f}"
            )


def _db(after: float, before: float) -> float:
    return 10 * float(np.log10((after + 1e-12) / (before + 1e-12)))


if __name__ == "__main__":
    main()
