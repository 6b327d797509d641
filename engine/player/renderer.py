"""What is heard, sample by sample: tracks on one transport, mixed by gains that change in crossfades.

Needs nothing but numpy: it runs inside the audio callback of a process of its own.

There is one idea: at every moment the output is a weighted sum of all tracks at one position, with a weight for the
left and one for the right. Toggling between variants, matching their levels, muting a stem, moving it to a side and
turning the volume are all new weights, reached in a
raised-cosine crossfade of 10 ms whose halves sum to one (variants of one song are coherent: equal gain, not
equal power). A jump (seeking, the end of a loop) crossfades from the old position to the new one in the same way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]
Weight = npt.NDArray[np.float64]  # (left, right)
Gain = float | tuple[float, float]  # of both channels, or of left and right

CROSSFADE = 0.010  # seconds
CHANNELS = 2
_SILENT: Weight = np.zeros(2)


class Renderer:
    """Renders blocks of float32 ``(frames, 2)`` at ``rate`` Hz.

    Commands may be called from another thread: they are queued and take effect at the start of the next block
    (:meth:`mix` at a given frame, where one is asked for).
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.position = 0
        self.playing = False
        self.switched_at = -1
        self.sought = 0
        self._fade = max(1, round(CROSSFADE * rate))
        self._curve = (np.sin(np.pi / 2 * np.arange(1, self._fade + 1) / self._fade) ** 2).astype(np.float32)
        self._tracks: dict[int, Audio] = {}
        self._commands: deque[tuple[str, Any]] = deque()
        self._length = 0
        # the mix: where the weights come from, where they go, and how far they are
        self._from: dict[int, Weight] = {}
        self._to: dict[int, Weight] = {}
        self._mixed = self._fade
        self._waiting_mix: tuple[int, dict[int, Weight]] | None = None
        # the transport: a level that ramps on play and pause, a loop, and the head that a jump has left behind
        self._level, self._goal = 0, 0  # in steps of the curve: 0 silent, self._fade full
        self._loop: tuple[int, int] | None = None
        self._old_head = 0
        self._jumped = self._fade
        self._waiting_jump: tuple[int, int] | None = None

    # --- commands ----------------------------------------------------------------------------------------

    def load(self, slot: int, samples: Audio) -> None:
        """Put ``(frames, 2)`` into ``slot``; a longer part of the same track may follow."""
        self._commands.append(("load", (slot, samples)))

    def unload_all(self) -> None:
        """Forget all tracks and stand still at the start."""
        self._commands.append(("unload", None))

    def mix(self, gains: Mapping[int, Gain], at: int | None = None) -> None:
        """Crossfade to these gains (linear, by slot; slots that are not named go silent).

        ``at`` is the frame of the song at which the crossfade begins; without it, or where that frame has
        passed, it begins at once.
        """
        weights = {slot: np.broadcast_to(np.asarray(gain, np.float64), 2) for slot, gain in gains.items()}
        self._commands.append(("mix", (-1 if at is None else at, weights)))

    def play(self) -> None:
        """Go on from the position."""
        self._commands.append(("play", True))

    def pause(self) -> None:
        """Fade out and stand still."""
        self._commands.append(("play", False))

    def seek(self, frame: int, number: int = 0) -> None:
        """Go to ``frame``; :attr:`sought` becomes ``number`` when that is done."""
        self._commands.append(("seek", (frame, number)))

    def loop(self, start: int, stop: int) -> None:
        """Repeat frames ``start`` to ``stop``; none where they are too close to crossfade."""
        self._commands.append(("loop", (start, stop) if stop - start > 2 * self._fade else None))

    def _obey(self) -> None:
        while self._commands:
            name, value = self._commands.popleft()
            if name == "load":
                slot, samples = value
                self._tracks[slot] = samples
                self._length = max(self._length, len(samples))
            elif name == "unload":
                self._tracks, self._length, self.position = {}, 0, 0
                self._from, self._to, self._waiting_mix, self._loop = {}, {}, None, None
                self.playing, self._level, self._goal, self._waiting_jump = False, 0, 0, None
                self._mixed = self._jumped = self._fade
            elif name == "mix":
                if value[0] > self.position:
                    self._waiting_mix = value
                else:
                    self._begin_mix(value[1])
            elif name == "play":
                self._goal = self._fade if value else 0
                if value and self.position >= self._length:
                    self.position = self._loop[0] if self._loop else 0
                self.playing = value
            elif name == "seek":
                self._waiting_jump = max(0, min(value[0], self._length)), value[1]
            elif name == "loop":
                self._loop = value

    # --- rendering ---------------------------------------------------------------------------------------

    def render(self, out: Audio) -> None:
        """Fill ``out``, ``(frames, 2)``."""
        self._obey()
        out[:] = 0.0
        done = 0
        while done < len(out):
            self._begin_what_is_due()
            if self._silent:
                return  # standing still
            count = min(len(out) - done, self._until_next_change())
            self._render_piece(out[done : done + count])
            done += count

    def _begin_what_is_due(self) -> None:
        """Start waiting mixes and jumps whose time has come; stop at the end."""
        silent = self._silent
        if self._waiting_mix is not None and self._waiting_mix[0] <= self.position:
            self._begin_mix(self._waiting_mix[1])
        if self._waiting_jump is not None and (silent or self._jumped >= self._fade):
            target, self.sought = self._waiting_jump
            self._jump(target, silent=silent)
            self._waiting_jump = None
        elif self._loop and not silent and self._jumped >= self._fade and self.position == self._loop[1]:
            self._jump(self._loop[0], silent=False)
        if self.position >= self._length and not silent and self._jumped >= self._fade:
            self._level, self._goal, self.playing = 0, 0, False

    @property
    def _silent(self) -> bool:
        return self._level == 0 and self._goal == 0

    def _begin_mix(self, weights: dict[int, Weight]) -> None:
        self._from = self._weights(self._mixed)
        self._to, self._mixed, self._waiting_mix = weights, self._fade if self._silent else 0, None
        self.switched_at = self.position

    def _jump(self, target: int, *, silent: bool) -> None:
        self._old_head, self.position = self.position, target
        self._jumped = self._fade if silent else 0

    def _until_next_change(self) -> int:
        """Frames for which all that is under way goes on as it does."""
        limits = [1 << 20]
        if self._waiting_mix is not None and self._waiting_mix[0] > self.position:
            limits.append(self._waiting_mix[0] - self.position)
        if self._mixed < self._fade:
            limits.append(self._fade - self._mixed)
        if self._jumped < self._fade:
            limits.append(self._fade - self._jumped)
        if self._level != self._goal:
            limits.append(abs(self._goal - self._level))
        if self._loop and self._loop[1] > self.position:
            limits.append(self._loop[1] - self.position)
        if self._length > self.position:
            limits.append(self._length - self.position)
        return min(limits)

    def _weights(self, done: int) -> dict[int, Weight]:
        """The weights after ``done`` frames of the crossfade."""
        if done >= self._fade:
            return dict(self._to)
        share = float(self._curve[done - 1]) if done else 0.0
        slots = set(self._from) | set(self._to)
        return {s: (1 - share) * self._from.get(s, _SILENT) + share * self._to.get(s, _SILENT) for s in slots}

    def _render_piece(self, out: Audio) -> None:
        count = len(out)
        self._mix_at(out, self.position)
        if self._jumped < self._fade:
            share = self._curve[self._jumped : self._jumped + count, None]
            left_behind = np.zeros_like(out)
            self._mix_at(left_behind, self._old_head)
            out *= share
            out += left_behind * (1 - share)
            self._old_head += count
            self._jumped += count
        if self._mixed < self._fade:
            self._mixed += count
        if self._level != self._goal:
            direction = 1 if self._goal > self._level else -1
            steps = self._level + direction * np.arange(1, count + 1)
            out *= np.where(steps > 0, self._curve[np.maximum(steps, 1) - 1], 0.0).astype(np.float32)[:, None]
            self._level += direction * count
        elif self._level < self._fade:
            out *= self._curve[self._level - 1] if self._level else 0.0
        self.position += count

    def _mix_at(self, out: Audio, position: int) -> None:
        """Add all tracks from ``position`` on; what lies beyond a track's end is silence."""
        if self._mixed >= self._fade:
            for slot, weight in self._to.items():
                self._add(out, slot, position, weight)
            return
        share = self._curve[self._mixed : self._mixed + len(out), None]
        for slot in set(self._from) | set(self._to):
            before, after = self._from.get(slot, _SILENT), self._to.get(slot, _SILENT)
            if (before == after).all():  # a track that goes on as it was is not touched by rounding
                self._add(out, slot, position, before)
            else:
                weights = np.float32(before) * (1 - share) + np.float32(after) * share
                self._add(out, slot, position, weights)

    def _add(self, out: Audio, slot: int, position: int, weights: npt.NDArray[np.floating]) -> None:
        """Add a track by its weights, ``(2,)`` or ``(frames, 2)``."""
        track = self._tracks.get(slot)
        if track is None or not weights.any():
            return
        piece = track[position : position + len(out)]
        out[: len(piece)] += piece * (weights if weights.ndim == 1 else weights[: len(piece)]).astype(np.float32)


def gain_of(decibels: float) -> float:
    """The linear gain of a level in dB."""
    return math.pow(10.0, decibels / 20)
