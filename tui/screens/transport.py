"""What all screens with a transport do alike: play, seek, loop, turn the volume, and take the waveform's word."""

from __future__ import annotations

from textual import on
from textual.screen import Screen

from engine.player.player import Player
from engine.text import printable
from tui.widgets.waveform import Waveform

VOLUME_STEP = 1.5  # dB
_LOOP = 10  # seconds that are repeated where nothing was chosen


class TransportScreen(Screen[None]):
    """The actions; which keys they have is said by the screen itself."""

    @property
    def player(self) -> Player | None:
        """What is heard; None where nothing can be yet."""
        raise NotImplementedError

    def set_region(self, region: tuple[int, int] | None, *, looping: bool | None = None) -> None:
        """Choose frames to repeat (None: none)."""
        if self.player is not None:
            self.player.set_region(region, looping=looping)

    def action_play(self) -> None:
        """Play or pause."""
        player = self.player
        if player is None:
            return
        if not player.device_name and not player.playing and player.problem:
            self.notify(
                f"No sound: {printable(player.problem)}. It begins when a device is there.", markup=False, timeout=4
            )
        if player.playing:
            player.pause()
        else:
            player.play()

    def action_seek(self, seconds: int) -> None:
        """Move by seconds."""
        if self.player is not None:
            self.player.seek(self.player.position + seconds * self.player.rate)

    def action_home(self) -> None:
        """To the start of the loop or the song."""
        if self.player is not None:
            self.player.seek(self.player.region[0] if self.player.region is not None else 0)

    def action_loop(self) -> None:
        """Repeat the region, or go on beyond it; without one, the ten seconds from here on."""
        player = self.player
        if player is None:
            return
        if player.region is None:
            here = min(player.position, max(0, player.frames - player.rate))
            self.set_region((here, here + _LOOP * player.rate), looping=True)
        else:
            self.set_region(player.region, looping=not player.looping)

    def action_volume(self, steps: int) -> None:
        """Turn the volume."""
        if self.player is not None:
            self.player.set_volume(self.player.volume + steps * VOLUME_STEP)

    @on(Waveform.Pointed)
    def _waveform_pointed(self, event: Waveform.Pointed) -> None:
        if self.player is None:
            return
        if event.until is None:
            self.player.seek(event.frame)
        else:
            start, stop = sorted((event.frame, event.until))
            self.set_region((start, stop), looping=True)
            self.player.seek(start)
