"""From a voice's pitch to its notes, and how far each is from where it should be.

What is corrected is the slow centre of a note. What lies within it, vibrato, the way in from below, a fall at the
end, moves along and stays what it was; so do glides from note to note, and notes too short to have a centre.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import UsageError

STEP = 0.005  # seconds between two values of a pitch
SILENT = 0.0  # Hz: no pitch
CHROMATIC, DETECTED = "chromatic", "auto"
_TONICS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
# How well each tone fits a key, from its tonic on (Krumhansl and Kessler 1982).
_FIT = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
_SHORTEST = 0.12  # seconds that a note must last to be corrected
_ALONE = 0.84  # the clarity of a voice; two that sing a third have 0.81
_EDGE = 0.04  # seconds at the ends of a note that say nothing of its centre
_VIBRATO = 0.25  # seconds over which the pitch is averaged to tell notes
_SWITCH = 1e5  # what it costs to begin another note: cents squared times values
_LEVELS = 20.0  # cents between the levels that a note is looked for at
_WIDEST = 150.0  # cents from a note's middle that are believed
_RATES = np.arange(3.5, 8.6, 0.25)  # Hz, of vibratos
_DRIFT = 1.2  # Hz up to which what moves is the centre
_GLIDE = 60.0  # cents that a note's centre may wander from one end to the other
_GLIDE_RATE = 100.0  # cents in a second that a long one may drift
_EXACT = 6.0  # cents: nobody hears that a note is nearer than that
_FADE = 0.06  # seconds in which one correction goes over into another
_IN_KEY = 0.9  # the share of the time that must lie in a scale for it to be taken
_REFERENCE = 6900.0  # cents, of A above middle C

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Note:
    """``first`` to ``end`` (values of the pitch); ``centre`` in cents (6900 is A), at each of them."""

    first: int
    end: int
    centre: Values

    @property
    def middle(self) -> float:
        return float(np.mean(self.centre))


def scale_named(text: str) -> tuple[int, ...]:
    """The pitch classes (0: C) of ``C major``, ``F# minor``, ``Bb major`` or ``chromatic``.

    Raises:
        UsageError: there is no such scale.
    """
    if text.strip().lower() == CHROMATIC:
        return tuple(range(12))
    found = re.fullmatch(r"\s*([A-Ga-g])([#b♯♭]?)\s+(major|minor)\s*", text)
    if not found:
        raise UsageError(f"scale must be '{DETECTED}', '{CHROMATIC}' or such as 'C major' or 'F# minor', not {text!r}.")
    sign = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[found[2]]
    tonic = _TONICS[found[1].upper()] + sign
    return tuple(sorted((tonic + step) % 12 for step in _MODES[found[3]]))


def cents_of(hz: npt.ArrayLike, tuning: float) -> Values:
    """Cents above the lowest C (6900 is the A of ``tuning`` Hz); nan where there is no pitch."""
    pitch = np.asarray(hz, np.float64)
    return np.where(pitch > SILENT, _REFERENCE + 1200 * np.log2(np.where(pitch > SILENT, pitch, 1.0) / tuning), np.nan)


def runs(hz: npt.ArrayLike) -> list[tuple[int, int]]:
    """The stretches ``[first, end)`` with a pitch."""
    voiced = np.concatenate([[0], np.asarray(hz) > SILENT, [0]]).astype(np.int8)
    edges = np.diff(voiced)
    return list(zip(np.flatnonzero(edges > 0).tolist(), np.flatnonzero(edges < 0).tolist(), strict=True))


def notes_of(cents: Values, clarity: Values) -> list[Note]:
    """The notes of one stretch of pitch (no nan in it) that one voice holds long enough for them to have a centre."""
    found = []
    smooth = _smoothed(cents, _VIBRATO)
    for first, end in _segments(smooth):
        edge = round(_EDGE / STEP)
        if (end - first) * STEP < _SHORTEST or np.median(clarity[first:end]) < _ALONE:
            continue
        within = slice(first + edge, end - edge) if (end - first) > 4 * edge else slice(first, end)
        wander = np.polyfit(np.linspace(-0.5, 0.5, within.stop - within.start), smooth[within], 1)[0]
        if abs(wander) > max(_GLIDE, _GLIDE_RATE * (end - first) * STEP):
            continue
        centre = np.empty(end - first)
        inner = _slow(cents[within])
        centre[within.start - first : within.stop - first] = inner
        centre[: within.start - first], centre[within.stop - first :] = inner[0], inner[-1]
        found.append(Note(first, end, centre))
    return found


def tuning_offset(notes: list[Note]) -> float:
    """By how many cents (-50 to 50) all notes together lie beside the tuning's."""
    if not notes:
        return 0.0
    weights = np.array([note.end - note.first for note in notes])
    turns = np.array([note.middle for note in notes]) * (2 * np.pi / 100)
    return float(np.angle((weights * np.exp(1j * turns)).sum()) * 100 / (2 * np.pi))


def detected_scale(notes: list[Note], offset: float = 0.0) -> str:
    """The major or minor scale that the notes are of, or ``chromatic`` where no scale holds nine tenths of them."""
    times = np.zeros(12)
    for note in notes:
        times[round((note.middle - offset) / 100) % 12] += note.end - note.first
    if not times.any():
        return CHROMATIC
    best, score = CHROMATIC, 0.0
    for mode, steps in _MODES.items():
        for tonic in range(12):
            turned = np.roll(times, -tonic)
            if turned[list(steps)].sum() < _IN_KEY * times.sum():
                continue
            fit = float(np.corrcoef(turned, _FIT[mode])[0, 1])
            if fit > score:
                best, score = f"{_NAMES[tonic]} {mode}", fit
    return best


def correction(
    count: int, notes: list[Note], scale: tuple[int, ...], offset: float, strength: float, most: float
) -> Values:
    """Cents to add at each of the ``count`` values of one stretch of pitch: all zero where nothing is to be done.

    Every tone of the scale lies ``offset`` cents above where its tuning has it. Notes that are farther than ``most``
    cents from the scale are left where they are.
    """
    wanted = np.zeros(count)
    for note in notes:
        target = _nearest(note.middle - offset, scale) + offset
        off = float(np.sqrt(np.mean((target - note.centre) ** 2)))
        if abs(target - note.middle) <= most and off > _EXACT:
            wanted[note.first : note.end] = strength * np.clip(target - note.centre, -most, most)
    return _smoothed(wanted, _FADE) if wanted.any() else wanted


def _nearest(middle: float, scale: tuple[int, ...]) -> float:
    octave = 1200 * np.floor(middle / 1200)
    tones = octave + 100 * np.array([tone + shift for shift in (-12, 0, 12) for tone in scale])
    return float(tones[np.abs(tones - middle).argmin()])


def _smoothed(values: Values, seconds: float) -> Values:
    """A moving average (Hann) that knows nothing beyond the ends."""
    length = round(seconds / STEP)
    window = np.hanning(length + 2 + (length + 1) % 2)[1:-1]
    if len(values) < 2:
        return values
    half = len(window) // 2
    total = np.convolve(values, window)[half : half + len(values)]
    return total / np.convolve(np.ones(len(values)), window)[half : half + len(values)]


def _slow(cents: Values) -> Values:
    """What of a note's pitch moves more slowly than any vibrato.

    Cosines up to :data:`_DRIFT` Hz are fitted together with a vibrato, at the rate that fits best: alone they would
    take part of it for drift, as a note seldom ends with a whole turn of it.
    """
    seconds = np.arange(len(cents)) * STEP
    length = len(cents) * STEP
    middle = float(np.median(cents))
    known = np.clip(cents - middle, -_WIDEST, _WIDEST)
    turns = np.arange(1 + int(2 * _DRIFT * length)) / length / 2
    slow = np.cos(2 * np.pi * (seconds[:, None] + STEP / 2) * turns)
    best, least = np.full(len(cents), known.mean()), np.inf
    for rate in _RATES[_RATES * length > 1.0]:
        phase = 2 * np.pi * rate * seconds[:, None]
        parts = np.concatenate([slow, np.cos(phase), np.sin(phase)], axis=1)
        weights = np.linalg.lstsq(parts, known, rcond=1e-3)[0]
        left = float(np.sum((parts @ weights - known) ** 2))
        if left < least:
            best, least = slow @ weights[: slow.shape[1]], left
    return middle + best


def _segments(smooth: Values) -> list[tuple[int, int]]:
    """Where one level is left for another, however the pitch sways: the best fit of steps (Viterbi)."""
    levels = np.arange(smooth.min(), smooth.max() + _LEVELS, _LEVELS)
    away = (smooth[:, None] - levels) ** 2
    stay = np.ones(away.shape, bool)
    before = np.zeros(len(away), int)
    total = away[0]
    for at in range(1, len(away)):
        before[at] = total.argmin()
        switched = total[before[at]] + _SWITCH
        stay[at] = total <= switched
        total = np.minimum(total, switched) + away[at]
    level, end, found = int(total.argmin()), len(away), []
    for at in range(len(away) - 1, 0, -1):
        if not stay[at, level]:
            found.append((at, end))
            level, end = int(before[at]), at
    return [(0, end), *reversed(found)]
