"""Another pitch for a voice, its formants kept: pitch-synchronous overlap-add in the time domain.

After Moulines and Charpentier, "Pitch-synchronous waveform processing techniques" (Speech Communication 9, 1990): the
voice is cut into grains of two periods, one around each mark, and these are laid anew at other distances. A grain is
what one opening of the glottis sounds like, so the formants stay, whatever the distance. Grains are placed between the
samples, as rounding to them would roughen high voices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio

_SEARCH = 0.15  # of a period: how far the next mark is looked for from where the pitch says it is
_CLOSING = 2.0  # cents that the pitch may be bent by so that a stretch ends in step with what follows …
_TAIL, _TAIL_GIVES = 10, 8.0  # … and in its last periods, where a pitch is hardly heard, so many times that
_BATCH = 256  # grains at a time

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bend:
    """A stretch of one voice and how its pitch is to change.

    ``[start, end)`` in frames of the song; ``times`` (frames of the song) at which ``periods`` (frames) and ``cents``
    are known.
    """

    start: int
    end: int
    times: Values
    periods: Values
    cents: Values

    @property
    def margin(self) -> int:
        """Frames beyond its ends that are listened to."""
        return int(2 * self.periods.max()) + 2


def bent(blocks: Iterable[Audio], bends: list[Bend], watch: Callable[[int], None] = lambda _: None) -> Iterator[Audio]:
    """The stream with other pitches where ``bends`` (in order, not overlapping) say so; all else passes untouched.

    ``watch`` is told how many frames are done, whenever more are.
    """
    source = _Held(blocks)
    done = 0
    for bend in bends:
        while bend.start - done > 0:
            yield source.at(done, min(bend.start, done + (1 << 16)))
            done = min(bend.start, done + (1 << 16))
            source.forget(done - (1 << 16))
            watch(done)
        margin = bend.margin
        window = source.at(bend.start - margin, bend.end + margin)
        yield _moved(window, bend, margin)
        done = bend.end
        source.forget(done - (1 << 16))
        watch(done)
    for block in source.rest(done):
        yield block
        done += len(block)
        watch(done)


class _Held:
    """A stream of which the last part is at hand."""

    def __init__(self, blocks: Iterable[Audio]) -> None:
        self._blocks = iter(blocks)
        self._first, self._parts = 0, np.zeros((0, 1), np.float32)

    def at(self, start: int, end: int) -> Audio:
        """Frames ``[start, end)``, with silence where there are none."""
        parts, have = [self._parts], self._first + len(self._parts)
        while have < end and (block := next(self._blocks, None)) is not None:
            parts = [part for part in parts if len(part)] + [block]
            have += len(block)
        self._parts = np.concatenate(parts)
        first, last = max(start, self._first), min(end, have)
        return np.pad(
            self._parts[first - self._first : max(first, last) - self._first],
            ((first - start, end - max(first, last)), (0, 0)),
        )

    def forget(self, before: int) -> None:
        """What lies before that frame is not asked for again."""
        gone = max(0, before - self._first)
        self._parts, self._first = self._parts[gone:], self._first + gone

    def rest(self, start: int) -> Iterator[Audio]:
        """All from ``start`` on."""
        if start < self._first + len(self._parts):
            yield self._parts[start - self._first :]
        yield from self._blocks


def _moved(window: Audio, bend: Bend, margin: int) -> Audio:
    """The frames of a bend at its new pitch, from a window with ``margin`` frames more on both sides."""
    own = window[margin : len(window) - margin]
    times = bend.times - bend.start + margin
    marks = _marks(window.mean(axis=1, dtype=np.float64), times, bend.periods, margin)
    if len(marks) < 3:
        return own
    phases = _phases(marks, times, bend.cents)
    places = np.interp(np.arange(int(phases[-1] + 1e-6) + 1), phases, marks)
    laid, weight = _laid(window.astype(np.float64), marks, places)
    inside = np.zeros(len(window), bool)
    inside[int(np.ceil(places[0])) : int(places[-1]) + 1] = True
    # Within, grains alone; at the ends they are faded into what is there.
    scale = np.where(inside, 1 / np.maximum(weight, 0.05), 1.0)
    kept = np.where(inside, 0.0, 1 - np.minimum(weight, 1.0))
    made = laid * scale[:, None] + window * kept[:, None]
    return made[margin : len(window) - margin].astype(np.float32)


def _marks(mono: Values, times: Values, periods: Values, margin: int) -> Values:
    """One place in every period, always at the same place of it: from the loudest on to both sides, each where the
    sound is most like that around the one before."""
    low, high = margin + periods[0], len(mono) - margin - periods[-1]
    within = mono[int(low) : int(high)]
    if not len(within) or not within.any():
        return np.zeros(0)
    loudest = int(low) + float(np.abs(within).argmax())
    later = _followed(mono, loudest, 1, times, periods, low, high)
    earlier = _followed(mono, loudest, -1, times, periods, low, high)
    return np.array([*reversed(earlier), loudest, *later])


def _followed(
    mono: Values, start: float, way: int, times: Values, periods: Values, low: float, high: float
) -> list[float]:
    found: list[float] = []
    mark = start
    while True:
        period = float(np.interp(mark, times, periods))
        half, reach = int(period / 2) + 1, max(2, int(_SEARCH * period))
        around, guess = round(mark), round(mark + way * period)
        if guess - half - reach - 1 < 0 or guess + half + reach + 2 > len(mono):
            return found
        piece = mono[around - half : around + half + 1]
        there = mono[guess - half - reach : guess + half + reach + 1]
        energy = np.convolve(there**2, np.ones(len(piece)), "valid")
        likeness = np.correlate(there, piece, "valid") / np.sqrt(energy + 1e-12)
        best = int(likeness.argmax())
        shift = 0.0
        if 0 < best < len(likeness) - 1:
            before, at, after = likeness[best - 1 : best + 2]
            shift = 0.5 * (before - after) / min(before - 2 * at + after, -1e-12)
        mark += guess + best - reach + float(np.clip(shift, -0.5, 0.5)) - around
        if not low <= mark <= high:
            return found
        found.append(mark)


def _phases(marks: Values, times: Values, cents: Values) -> Values:
    """How many new periods have passed at each mark; at the last one, if that can be had, a whole number of them.

    Then the voice goes over into what follows without a break. The pitch is bent for that, at the end most.
    """
    ratio = 2 ** (np.interp((marks[1:] + marks[:-1]) / 2, times, cents) / 1200)
    give = np.ones(len(ratio))
    give[-_TAIL:] = _TAIL_GIVES
    missing = (max(1, round(float(ratio.sum()))) - ratio.sum()) / (ratio * give).sum()
    if abs(missing) > 2 ** (_CLOSING / 1200) - 1:
        missing = 0.0
    return np.concatenate([[0.0], np.cumsum(ratio * (1 + give * missing))])


def _laid(window: Values, marks: Values, places: Values) -> tuple[Values, Values]:
    """Grains around ``marks`` laid around ``places``, ``(frames, channels)``, and the sum of their windows."""
    from scipy import fft

    widths = np.diff(marks)
    left, right = np.concatenate([widths[:1], widths]), np.concatenate([widths, widths[-1:]])
    nearest = np.clip(np.searchsorted(marks, places), 1, len(marks) - 1)
    nearest -= places - marks[nearest - 1] < marks[nearest] - places
    size = fft.next_fast_len(int(2 * max(left.max(), right.max())) + 16, real=True)
    span = np.arange(size) - size // 2
    padded = np.pad(window, ((size, size), (0, 0)))
    laid, weight = np.zeros_like(padded), np.zeros(len(padded))
    turns = -2j * np.pi * fft.rfftfreq(size)
    for at in range(0, len(places), _BATCH):
        source, place = nearest[at : at + _BATCH], places[at : at + _BATCH]
        mark = marks[source]
        middle = np.rint(mark).astype(int)
        shift = place - mark
        whole = np.rint(shift).astype(int)
        position = span + (middle - mark)[:, None]
        grains = padded[middle[:, None] + span + size] * _hann(position, left[source], right[source])[:, :, None]
        spectra = fft.rfft(grains, axis=1) * np.exp(turns * (shift - whole)[:, None])[:, :, None]
        grains = fft.irfft(spectra, size, axis=1)
        windows = _hann(position - (shift - whole)[:, None], left[source], right[source])
        for n, start in enumerate((middle + whole + size - size // 2).tolist()):
            laid[start : start + size] += grains[n]
            weight[start : start + size] += windows[n]
    return laid[size:-size], weight[size:-size]


def _hann(position: Values, left: Values, right: Values) -> Values:
    """Windows ``(grains, frames)`` that rise over ``left`` frames to 1 at position 0 and fall over ``right``."""
    wide = np.where(position < 0, left[:, None], right[:, None])
    return np.where(np.abs(position) < wide, 0.5 + 0.5 * np.cos(np.pi * position / wide), 0.0)
