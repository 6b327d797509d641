"""The spectrograms of what is heard: one, two side by side, or their difference; computed in the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.geometry import Size

from engine.analysis.spectrogram import Picture, spectrogram
from engine.player.player import Player
from engine.player.tracks import Candidate
from tui import pixels
from tui.widgets.pixel_spectrogram import PixelSpectrogram
from tui.widgets.spectrogram import Spectrogram

View = Literal["one", "side by side", "difference"]
_VIEWS: tuple[View, ...] = ("one", "side by side", "difference")
_MOST_KEPT = 30
_INAUDIBLE = -95  # dB below which a difference is none


@dataclass(frozen=True)
class _Wanted:
    """All that decides what is to be seen. ``part`` is (first, last) frame; ``gains`` in dB, one a key."""

    keys: tuple[str, ...]
    titles: tuple[str, ...]
    gains: tuple[float, ...]
    part: tuple[int, int]
    size: Size
    view: View
    log: bool
    cutoff: float | None
    theme: str


class Pictures(Horizontal):
    """Shows the spectrograms that are wanted as soon as they are computed."""

    def __init__(self, **options: str) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.view: View = "one"
        self.log_axis = False
        self._wanted: _Wanted | None = None
        self._known: dict[tuple[str, tuple[int, int], int], Picture] = {}

    def compose(self) -> ComposeResult:
        """Two pictures, of which the second is hidden at first."""
        kind = Spectrogram if pixels.image_widget() is None else PixelSpectrogram
        yield kind(id="picture")
        other = kind(id="picture-other")
        other.display = False
        yield other

    @property
    def _first(self) -> Spectrogram:
        return self.query_one("#picture", Spectrogram)

    @property
    def _second(self) -> Spectrogram:
        return self.query_one("#picture-other", Spectrogram)

    def next_view(self) -> View:
        """Go on to the next view, and give it."""
        self.view = _VIEWS[(_VIEWS.index(self.view) + 1) % len(_VIEWS)]
        return self.view

    def forget(self) -> None:
        """Another song: nothing that was computed is of use any more, nor what is being computed."""
        self._known, self._wanted = {}, None

    def show_playhead(self, share: float) -> None:
        """Put the playhead at a share of the time shown."""
        for picture in self.query(Spectrogram):
            picture.show_playhead(share)

    def show(
        self, player: Player, candidates: Sequence[Candidate], pair: Sequence[str], part: tuple[int, int],
        cutoff: float | None,
    ) -> None:  # fmt: skip
        """See to it that what is heard is shown; ``pair`` are the two heard last, ``part`` the frames in view."""
        other = next((k for k in reversed(pair) if k != player.current), "")
        keys = (player.current,) if self.view == "one" or not other else (player.current, other)
        if not keys[0] or any(player.levels_of(k) is None for k in keys):
            return
        gains = player.gains()
        wanted = _Wanted(
            keys, tuple(next((c.title for c in candidates if c.key == k), k) for k in keys),
            tuple(gains.get(k, 0.0) for k in keys), part, self._first.size, self.view, self.log_axis, cutoff,
            self.app.theme,
        )  # fmt: skip
        if wanted != self._wanted:
            self._wanted = wanted
            self._compute(player, wanted, self._first.columns, self._known)

    @work(thread=True, exclusive=True, group="pictures")
    def _compute(
        self, player: Player, wanted: _Wanted, columns: int, known: dict[tuple[str, tuple[int, int], int], Picture]
    ) -> None:
        pictures = []
        for key in wanted.keys:
            place = key, wanted.part, columns
            if place not in known:
                if len(known) > _MOST_KEPT:
                    known.clear()
                known[place] = spectrogram(partial(player.samples_of, key), *wanted.part, columns)
            pictures.append(known[place])
        levelled = [p + np.float32(gain) for p, gain in zip(pictures, wanted.gains, strict=True)]
        if self.is_running:
            self.app.call_from_thread(self._show, player.rate, wanted, levelled)

    def _show(self, rate: int, wanted: _Wanted, pictures: list[Picture]) -> None:
        if wanted is not self._wanted or not self.is_mounted:  # something newer is on its way
            return
        first, second = self._first, self._second
        second.display = wanted.view == "side by side" and len(pictures) == 2
        if wanted.view == "difference" and len(pictures) == 2:
            quiet = np.maximum(pictures[0], pictures[1]) < _INAUDIBLE
            difference = np.where(quiet, np.float32(0), pictures[0] - pictures[1])
            first.show_picture(difference, rate, wanted.part, kind="difference", log=wanted.log, cutoff=wanted.cutoff)
            names = Text(f"{wanted.titles[0]} against {wanted.titles[1]}: ").markup
            first.border_title = f"{names}[$more]more [/][$less]less[/]"
            return
        loudest = max(float(p.max()) for p in pictures)
        for widget, picture, title in zip((first, second), pictures, wanted.titles, strict=False):
            widget.show_picture(picture, rate, wanted.part, log=wanted.log, cutoff=wanted.cutoff, loudest=loudest)
            widget.border_title = Text(title).markup
