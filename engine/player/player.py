"""The player: the transport, and what it needs to know to be fair.

Candidates of one song lie on one transport. Which of them is heard, how loud, and which of its stems, are all
gains of one mix (see :mod:`engine.player.renderer`): this module decides the gains, the process applies them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.audio.loudness import decibels
from engine.audio.readers import Audio
from engine.errors import DecodeError
from engine.player.levels import Levels, matched_gains
from engine.player.loaded import Loaded, Stem
from engine.player.output import Output
from engine.player.renderer import gain_of
from engine.player.tracks import Candidate, Loader, Part, SampleFolder, Track, probe

_DEFAULT_RATE = 48000
_FADER = (-60.0, 0.0)  # dB


class Player:
    """Plays the candidates of one song. Methods belong to one thread; ``changed`` is called from others.

    ``changed`` says that something loaded, failed, or that the device came or went: look again.
    """

    def __init__(
        self, changed: Callable[[], None] | None = None, device: str | None = None, latency: float | None = None
    ) -> None:
        self._changed = changed or (lambda: None)
        self._folder = SampleFolder()
        self._device, self._latency = device, latency
        self._loaded: dict[str, Loaded] = {}
        self._loader: Loader | None = None
        self._slots = 0
        self._seeks, self._target = 0, 0
        self._gains: tuple[object, dict[str, float]] | None = None
        self.rate = _DEFAULT_RATE
        self.current = ""
        self.volume = 0.0
        self.match = True
        self.region: tuple[int, int] | None = None
        self.looping = False
        self._output = Output(self._folder.path, self._changed, lambda: self._send_all(self.position))

    # --- the output process ------------------------------------------------------------------------------

    @property
    def device_name(self) -> str:
        """Where the sound goes; empty where there is no device."""
        return self._output.device_name

    @property
    def device_latency(self) -> float:
        """Seconds from the mix to the ear, as the device tells."""
        return self._output.device_latency

    @property
    def problem(self) -> str:
        """Why there is no sound; empty where there is."""
        return self._output.problem

    def _send_all(self, position: int) -> None:
        """Tell a process everything."""
        self._output.send("open", rate=self.rate, device=self._device, latency=self._latency)
        for loaded in list(self._loaded.values()):
            for track in loaded.tracks():
                self._send_track(track)
        self._send_loop()
        self._send_mix()
        self.seek(position)

    def _send_track(self, track: Track) -> None:
        if track.ready:
            self._output.send("load", slot=track.slot, path=str(track.file), frames=track.ready)

    # --- what is on the transport ------------------------------------------------------------------------

    def open(self, candidates: Iterable[Candidate]) -> None:
        """Put the candidates of a song on the transport, from its start; takes a moment (asks the device).

        Those that are ``missing`` or cannot be decoded are left out; the latter say so (:meth:`error_of`).
        """
        self._unload()
        chosen = [c for c in candidates if not c.missing and c.parts]
        rates = [r for r in (_rate_of(c.parts[0]) for c in chosen) if r]
        wanted = max(rates, default=_DEFAULT_RATE)
        self.rate = int(self._output.ask("rates", "rate", rate=wanted, device=self._device) or 0) or wanted
        self._loader = Loader(self.rate, self._reported)
        self._output.send("open", rate=self.rate, device=self._device, latency=self._latency)
        for candidate in chosen:
            self.add(candidate)
        if chosen:
            self.select(next((c.key for c in chosen if not c.is_plain), chosen[0].key))

    def add(self, candidate: Candidate) -> None:
        """Put one more candidate on the transport (a variant that has just been made)."""
        if candidate.key in self._loaded or self._loader is None or candidate.missing:
            return
        loaded = Loaded(candidate)
        for part in candidate.parts:
            loaded.plain.append(self._new_track(part, part.path))
            loaded.enhanced.append(self._new_track(part, part.enhanced) if part.enhanced is not None else None)
            loaded.stems.append(Stem(part.name, can_be_enhanced=part.enhanced is not None))
        self._loaded[candidate.key] = loaded

    def _new_track(self, part: Part, path: Path) -> Track:
        assert self._loader is not None
        self._slots += 1
        track = Track(self._slots, self._folder.new_file())
        self._loader.add(part, path, track)
        return track

    def _unload(self) -> None:
        if self._loader is not None:
            self._loader.close()
        self._output.send("unload")
        files = [t.file for loaded in self._loaded.values() for t in loaded.tracks()]
        self._loaded, self.current = {}, ""
        self.region, self.looping, self._gains = None, False, None
        for file in files:
            with suppress(OSError):  # Windows keeps files that are mapped until the process lets go of them
                file.unlink(missing_ok=True)

    def _reported(self, track: Track) -> None:
        """On the loader's thread: a track has a first part, is complete, or failed."""
        self._send_track(track)
        for loaded in list(self._loaded.values()):
            loaded.measure_sum(self.rate)
        self._send_mix()
        self._changed()

    @property
    def keys(self) -> list[str]:
        """The candidates on the transport, in order."""
        return list(self._loaded)

    @property
    def frames(self) -> int:
        """Length of the transport."""
        return max((t.frames for loaded in self._loaded.values() for t in loaded.tracks()), default=0)

    def progress_of(self, key: str) -> float:
        """How much of a candidate is loaded, 0 to 1."""
        loaded = self._loaded.get(key)
        return loaded.progress if loaded is not None else 0.0

    @property
    def loading(self) -> bool:
        """Whether something is still to come."""
        return any(self.progress_of(key) < 1 for key in self.keys)

    def error_of(self, key: str) -> str:
        """Why a candidate cannot be heard; empty where it can."""
        loaded = self._loaded.get(key)
        return loaded.error if loaded is not None else ""

    def levels_of(self, key: str) -> Levels | None:
        """What was measured of a candidate; None while it loads."""
        loaded = self._loaded.get(key)
        return loaded.levels if loaded is not None else None

    def samples_of(self, key: str, start: int, stop: int) -> Audio:
        """Frames of a candidate as float32 ``(frames, 2)`` at :attr:`rate`, without any gain; stems are summed."""
        loaded = self._loaded.get(key)
        return loaded.samples(start, stop) if loaded is not None else np.zeros((0, 2), np.float32)

    # --- the transport -----------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The frame that is heard now, as well as it is known: counted back by what the device still holds."""
        if self._output.status[7] != self._seeks:
            return self._target  # on its way: the next seek counts from there
        rendered = int(self._output.status[0])
        if not self.playing:
            return rendered
        latency = max(self._output.status[5], 0.0) - (time.monotonic() - self._output.status[4])
        return max(0, min(self.frames, rendered - round(latency * self.rate)))

    @property
    def playing(self) -> bool:
        """Whether sound comes out."""
        return bool(self._output.status[1])

    @property
    def underruns(self) -> int:
        """Times at which the device ran dry."""
        return int(self._output.status[2])

    def play(self) -> None:
        """Go on."""
        self._output.send("play")

    def pause(self) -> None:
        """Stand still."""
        self._output.send("pause")

    def seek(self, frame: int) -> None:
        """Go to a frame (kept within the song)."""
        self._target = max(0, min(int(frame), self.frames))
        self._seeks += 1
        self._output.send("seek", frame=self._target, number=self._seeks)

    def set_region(self, region: tuple[int, int] | None, *, looping: bool | None = None) -> None:
        """Choose the frames to compare (None: the whole song) and whether they are repeated."""
        if region is not None:
            start, stop = sorted((max(0, region[0]), min(self.frames, region[1])))
            region = (start, stop) if stop - start >= self.rate // 10 else None
        self.region = region
        self.looping = region is not None and (self.looping if looping is None else looping)
        self._send_loop()
        self._send_mix()

    def _send_loop(self) -> None:
        start, stop = self.region if self.region is not None and self.looping else (0, 0)
        self._output.send("loop", start=start, stop=stop)

    # --- the mix -----------------------------------------------------------------------------------------

    def select(self, key: str, at: int | None = None) -> None:
        """Toggle to a candidate at the same position; ``at`` is the frame at which its crossfade begins."""
        if key not in self._loaded:
            return
        self.current = key
        if self._loader is not None:
            self._loader.first({t.slot for t in self._loaded[key].tracks()})
        self._send_mix(at)

    def set_volume(self, volume: float) -> None:
        """The fader, in dB from -60 to 0."""
        self.volume = max(_FADER[0], min(_FADER[1], volume))
        self._send_mix()

    def set_match(self, match: bool) -> None:
        """Make all candidates equally loud, or leave them as they are."""
        self.match = match
        self._send_mix()

    def stems_of(self, key: str) -> list[Stem]:
        """The stems of a candidate, where it has any; change them and call :meth:`stems_changed`."""
        loaded = self._loaded.get(key)
        return loaded.stems if loaded is not None and len(loaded.plain) > 1 else []

    def track_of(self, key: str, place: int) -> Track:
        """The track by which the stem at ``place`` of a candidate is heard."""
        return self._loaded[key].track_of(place)

    def stems_changed(self) -> None:
        """Take over what was changed in :meth:`stems_of`: it is heard within a block, without a click."""
        self._send_mix()

    def gains(self) -> dict[str, float]:
        """What each loaded candidate is changed by, in dB, without the volume."""
        levels = {key: value for key in self.keys if (value := self.levels_of(key)) is not None}
        mixes = tuple(
            (stem.strip, self.track_of(key, n).slot) for key in levels for n, stem in enumerate(self.stems_of(key))
        )
        state = (tuple(levels), self.region, self.match, mixes)
        if self._gains is None or self._gains[0] != state:  # asked at every frame, and long songs take a while
            gains = matched_gains(levels, self.region, match=self.match)
            over = max((self._over(key, gain) for key, gain in gains.items()), default=0.0)
            self._gains = (state, {key: gain - over for key, gain in gains.items()})
        return dict(self._gains[1])

    def _over(self, key: str, gain: float) -> float:
        """By how many dB the stems of a candidate, as they are mixed, would go beyond full scale at that gain."""
        if not self.stems_of(key):
            return 0.0
        limit = gain_of(-gain)
        return decibels(self._loaded[key].peak(limit) / limit)

    def mix_of(self, key: str, gains: Mapping[str, float] | None = None) -> dict[int, tuple[float, float]]:
        """Factors for left and right by slot with which a candidate is heard."""
        loaded = self._loaded.get(key)
        if loaded is None:
            return {}
        gain = gain_of((self.gains() if gains is None else gains).get(key, 0.0) + self.volume)
        return {track.slot: (gain * left, gain * right) for track, (left, right) in loaded.heard()}

    def _send_mix(self, at: int | None = None) -> None:
        if self.current:
            self._output.send("mix", gains=self.mix_of(self.current), at=at)

    # --- devices -----------------------------------------------------------------------------------------

    def devices(self) -> list[str]:
        """Names of output devices; takes a moment."""
        return list(self._output.ask("devices", "devices") or [])

    def use_device(self, name: str | None) -> None:
        """Send sound elsewhere (None: wherever the system does); the position stays."""
        position = self.position
        self._device = name
        self._send_all(position)

    def close(self) -> None:
        """End everything and leave nothing behind."""
        if self._loader is not None:
            self._loader.close()
        self._output.close()
        self._loaded = {}
        self._folder.close()


def _rate_of(part: Part) -> int:
    try:
        return part.rate or probe(part).rate
    except DecodeError:
        return 0
