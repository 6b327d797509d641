"""The grid that a performance keeps coming back to: its beat, and where in the beat its sounds fall.

The tempo is the strongest lag of the onsets' autocorrelation, the beats a path through them at about that tempo
(Ellis 2007, "Beat tracking by dynamic programming"). What is systematic is no mistake: the places in the beat that
sounds gather at are found from the performance itself, so that a swung eighth stays as swung as it was, and the beat
may drift as the tempo does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_PACE = 100  # values a second of the onsets' strength
_BLUR = 0.02  # s
_SLOWEST, _FASTEST = 1.2, 0.4  # s from beat to beat; of a faster one every other, so that swing is seen
_USUAL, _WIDTH = 0.5, 0.9  # s that is likeliest, and octaves around it
_RELATED = (1.0, 0.5, 2.0, 2 / 3, 1.5, 0.75, 4 / 3)  # times that: what may be the beat as well
_TIGHT = 100.0  # how little the path may leave the tempo
_NEAR = 4.0  # beats over which the path is smoothed
_STEP, _GATHER = 0.002, 0.015  # s: how finely places in the beat are told, width of the kernel that finds them
_APART = 0.085  # s between two places, at least
_OFF = 0.05  # s from its place beyond which a sound does not belong to it
_LEAST_SHARE, _LEAST_COUNT = 0.04, 4  # of all sounds, that gather at a place
_FEWEST = 24  # sounds, below which there is no telling
_BELONG = 0.7  # share of the sounds that must belong to a place,
_NEARLY, _CHANCE, _SURE = 0.65, 2.2, 8.0  # that must lie within half of that, times as many as by chance, deviations
_STEPS = (64, 32, 16, 8)  # beats from knot to knot with which a drifting tempo is tried
_EACH = 8  # sounds for each parameter of a drifting tempo, at least
_PLAIN = 0.03  # by which each more place must make it better
_DOUBT = 10.0  # by which the criterion must be better for a drifting tempo to be believed
_ROUNDS = 3

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Where each sound belongs (seconds, NaN: nowhere), seconds from beat to beat, and the places in it (0 to 1)."""

    targets: Times
    period: float
    places: tuple[float, ...]


def find_grid(times: Times, strengths: Times) -> Grid | None:
    """The grid of onsets at ``times`` (seconds, rising) of ``strengths`` (above 0); None where none is steady."""
    if len(times) < _FEWEST:
        return None
    strength = _strength(times, strengths)
    period = _period(strength)
    if period is None:
        return None
    best: tuple[float, Grid] | None = None
    for factor in _RELATED:
        if _FASTEST <= period * factor <= _SLOWEST:
            beats = _smooth(_path(strength, period * factor * _PACE) / _PACE)
            found = _grid(times, beats) if len(beats) >= _LEAST_COUNT else None
            if found is not None and (best is None or found[0] > best[0]):
                best = found
    return best[1] if best is not None else None


def _grid(times: Times, beats: Times) -> tuple[float, Grid] | None:
    """The grid around these beats, and by how much more than by chance sounds lie near it; None: it is not steady."""
    period = float(np.median(np.diff(beats)))
    position = _positions(times, beats)
    targets = np.full(len(times), np.nan)
    places: tuple[float, ...] = ()
    for _ in range(_ROUNDS):
        places = _places(position % 1, period)
        if not places:
            return None
        nearest = _nearest(position, places)
        belongs = np.abs(nearest - position) * period <= _OFF
        if belongs.sum() < _FEWEST:
            return None
        fitted = _Line(nearest[belongs], times[belongs])
        targets = np.where(belongs, fitted(nearest), np.nan)
        # Where each sound lies on the fitted beat, of which a beat's length there is the slope.
        slope = fitted(nearest + 0.5) - fitted(nearest - 0.5)
        position = nearest + (times - fitted(nearest)) / np.maximum(slope, 0.5 * period)
    share = float(np.isfinite(targets).mean())
    nearly = float((np.abs(targets - times) < _OFF / 2).mean())
    chance = min(0.99, _OFF * len(places) / period)
    sure = (nearly - chance) / np.sqrt(chance * (1 - chance) / len(times))
    if share < _BELONG or nearly < max(_NEARLY, _CHANCE * chance) or sure < _SURE:
        return None
    return nearly - chance - _PLAIN * len(places), Grid(targets, period, places)


def _strength(times: Times, strengths: Times) -> Times:
    """The onsets as a series of ``_PACE`` values a second."""
    from scipy.ndimage import gaussian_filter1d

    series = np.zeros(int(times[-1] * _PACE) + _PACE)
    np.add.at(series, np.round(times * _PACE).astype(int), np.sqrt(strengths))
    series = gaussian_filter1d(series, _BLUR * _PACE, mode="constant")
    return np.asarray(series / series.std())


def _period(strength: Times) -> float | None:
    """Seconds from beat to beat."""
    from scipy.signal import correlate

    around = strength - strength.mean()
    alike = correlate(around, around, "full", "fft")[len(around) - 1 :]
    lags = np.arange(round(_FASTEST * _PACE), min(round(_SLOWEST * _PACE), len(alike) - 1))
    if not len(lags):
        return None
    liking = np.exp(-0.5 * (np.log2(lags / _PACE / _USUAL) / _WIDTH) ** 2)
    return float(lags[np.argmax(alike[lags] * liking)] / _PACE)


def _path(strength: Times, period: float) -> Times:
    """Beats, as places in the series: strong ones, at about ``period`` from each other."""
    steps = np.arange(max(1, round(period / 2)), round(period * 2) + 1)
    cost = _TIGHT * np.log(steps / period) ** 2
    score, came = strength.copy(), np.full(len(strength), -1)
    for at in range(steps[-1], len(strength)):
        before = score[at - steps] - cost
        best = int(np.argmax(before))
        score[at] += before[best]
        came[at] = at - steps[best]
    last = len(score) - steps[-1] + int(np.argmax(score[-steps[-1] :]))
    path = [last]
    while came[path[-1]] >= 0:
        path.append(came[path[-1]])
    return np.array(path[::-1], np.float64)


def _smooth(beats: Times) -> Times:
    """Each beat on the parabola through those around it."""
    number = np.arange(len(beats), dtype=np.float64)
    out = np.empty(len(beats))
    reach = round(2 * _NEAR)
    for at in range(len(beats)):
        part = slice(max(0, at - reach), at + reach + 1)
        x, y = number[part] - at, beats[part]
        weight = np.exp(-0.5 * (x / _NEAR) ** 2)
        if len(x) < 4:
            return beats
        out[at] = np.polyfit(x, y, 2, w=np.sqrt(weight))[2]
    return out


def _positions(times: Times, beats: Times) -> Times:
    """Times in beats, beyond the first and the last beat too."""
    number = np.arange(len(beats), dtype=np.float64)
    first, last = beats[1] - beats[0], beats[-1] - beats[-2]
    beats = np.concatenate([[beats[0] - 1000 * first], beats, [beats[-1] + 1000 * last]])
    number = np.concatenate([[-1000.0], number, [number[-1] + 1000]])
    return np.interp(times, beats, number)


def _places(phases: Times, period: float) -> tuple[float, ...]:
    """Where in the beat (0 to 1) sounds gather."""
    from scipy.ndimage import gaussian_filter1d

    count, off = round(period / _STEP), _OFF / period
    density, edges = np.histogram(phases, count, (0, 1))
    density = gaussian_filter1d(density.astype(np.float64), _GATHER / _STEP, mode="wrap")
    at = (edges[1:] + edges[:-1]) / 2
    peaks = np.flatnonzero((density > np.roll(density, 1)) & (density >= np.roll(density, -1)))
    found: list[float] = []
    for peak in peaks[np.argsort(-density[peaks])]:
        place = float(at[peak])
        for _ in range(2):  # to the mean of those that belong to it
            members = _around(phases - place)
            members = members[np.abs(members) <= off]
            place = (place + float(members.mean()) if len(members) else place) % 1
        if len(members) < max(_LEAST_COUNT, _LEAST_SHARE * len(phases)):
            continue
        if all(abs(_around(np.array(place - other))) * period >= _APART for other in found):
            found.append(place)
    return tuple(sorted(found))


def _around(phases: Times) -> Times:
    """Differences of places in the beat, -0.5 to 0.5."""
    return (phases + 0.5) % 1 - 0.5


def _nearest(position: Times, places: tuple[float, ...]) -> Times:
    """The places, in beats, that are nearest."""
    beat = np.floor(position)
    around = np.concatenate([np.array(places) - 1, places, np.array(places) + 1])
    all_places = beat[:, None] + around
    return np.asarray(all_places[np.arange(len(position)), np.abs(all_places - position[:, None]).argmin(axis=1)])


class _Line:
    """Seconds of places in beats: the smoothest curve that tells the times (by Schwarz's criterion, 1978)."""

    def __init__(self, beats: Times, times: Times) -> None:
        from scipy.interpolate import make_lsq_spline

        self._first, self._last = float(beats.min()), float(beats.max())
        order = np.argsort(beats, kind="stable")
        x, y = beats[order], times[order]
        self._line = np.polynomial.Polynomial.fit(x, y, 1)
        self._curve = self._line
        best = self._badness(x, y, self._line, 2)
        for step in _STEPS:
            inner = np.arange(self._first + step, self._last - step / 2, step)
            if len(inner) + 4 > len(x) / _EACH:
                break
            knots = np.concatenate([[x[0]] * 4, inner, [x[-1]] * 4])
            try:
                curve = make_lsq_spline(x, y, knots, 3)
            except (ValueError, np.linalg.LinAlgError):
                continue  # nothing was played between two knots
            badness = self._badness(x, y, curve, len(inner) + 4) + _DOUBT
            if badness < best:
                best, self._curve = badness, curve

    def __call__(self, beats: Times) -> Times:
        """Seconds of places in beats."""
        inside = np.clip(beats, self._first, self._last)
        return np.asarray(self._curve(inside) + self._line.deriv()(beats) * (beats - inside))

    @staticmethod
    def _badness(x: Times, y: Times, curve: Callable[[Times], Times], parameters: int) -> float:
        error = float(((curve(x) - y) ** 2).mean()) + 1e-8
        return len(x) * float(np.log(error)) + parameters * float(np.log(len(x)))
