"""The mixer: the stems of a song on faders, heard live, and kept for the remix of that song."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from engine.audio.loudness import SILENCE_DB
from engine.dsp.mix import LEVELS, Strip, in_the_mix
from engine.errors import explain_os_error
from engine.library.mixes import keep_mix, read_mixes
from engine.player.loaded import Stem
from engine.player.player import Player
from engine.player.tracks import ListeningSet, Remixed
from engine.text import fit
from tui.screens.dialogs import Choice
from tui.screens.transport import TransportScreen
from tui.widgets.key_line import KeyLine
from tui.widgets.meters import TransportLine
from tui.widgets.mixer_strip import LEVEL_STEP, MixerStrip, Shown
from tui.widgets.panel import Panel
from tui.widgets.waveform import Waveform

_FRAMES_PER_SECOND = 20
_PLACE_STEP = 0.1
_NAME = 12  # cells that the song's name has at least


class MixerScreen(TransportScreen):
    """Strips, waveform and transport. The player stays that of the screen beneath, and plays on.

    ``key`` is the candidate with the stems, ``original`` what they are compared with (empty: nothing). ``kept`` is
    called when a mix was kept; it gives a sentence about when the variant is made with it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play/pause", priority=True),
        Binding("left", "choose(-1)", "Strip", key_display="←→"),
        Binding("right", "choose(1)", "", show=False),
        Binding("up", "louder(1)", "Level", key_display="↑↓"),
        Binding("down", "louder(-1)", "", show=False),
        Binding("shift+up,pageup", "louder(6)", "3 dB up", show=False),
        Binding("shift+down,pagedown", "louder(-6)", "3 dB down", show=False),
        Binding("shift+left,less_than_sign", "move(-1)", "Place", key_display="< >"),
        Binding("shift+right,greater_than_sign", "move(1)", "", show=False),
        Binding("m", "mute", "Mute"),
        Binding("s", "solo", "Solo"),
        Binding("0", "reset", "Strip as it was"),
        Binding("backspace", "reset_all", "All strips as in the recipe", show=False),
        Binding("e", "treated", "Treated or as separated", show=False),
        Binding("tab", "original", "A/B original", priority=True),
        Binding("k", "keep", "Keep this mix"),
        *(Binding(str(n), f"number({n})", "Strip 1-9" if n == 1 else "", show=False, key_display="1-9")
          for n in range(1, 10)),
        Binding("comma", "seek(-1)", "1 s back", show=False),
        Binding("full_stop", "seek(1)", "1 s on", show=False),
        Binding("ctrl+left,semicolon", "seek(-5)", "5 s back", show=False),
        Binding("ctrl+right,colon", "seek(5)", "5 s on", show=False),
        Binding("home", "home", "To the start (of the loop)", show=False, priority=True),
        Binding("l", "loop", "Loop on/off", show=False),
        Binding("minus", "volume(-1)", "Softer", show=False),
        Binding("plus,equals_sign", "volume(1)", "Louder", show=False),
        Binding("escape,q,t", "leave", "Back"),
    ]  # fmt: skip
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(
        self, player: Player, listening_set: ListeningSet, key: str, kept: Callable[[], str] = lambda: ""
    ) -> None:
        super().__init__()
        self._player, self._set, self._key, self._kept = player, listening_set, key, kept
        self._remixed: Remixed | None = next((r for r in listening_set.remixes if r.stems == key), None)
        self._original = next((c.key for c in listening_set.candidates if c.is_plain and c.key in player.keys), "")
        self._place = 0
        self._own = self._read_kept()
        if self._is_untouched:
            self._take(self._on_disk)
            for stem in self._stems:
                stem.enhanced = stem.can_be_enhanced and self._takes_treated
            player.stems_changed()

    def compose(self) -> ComposeResult:
        """Title; strips; waveform; transport; keys."""
        yield Panel(id="mixer-title")
        with Horizontal(id="strips"):
            yield from (MixerStrip(n, stem.name) for n, stem in enumerate(self._stems))
        yield Waveform(id="waveform")
        yield TransportLine(id="transport")
        yield KeyLine("leave", "help", "play", "mute", "solo", "keep", "original", "louder", "move", "choose")

    def on_mount(self) -> None:
        """Hear the mix, and paint."""
        if self._player.current != self._key:
            self._player.select(self._key)
        self.query_one("#waveform").border_title = "Song"
        self.set_interval(1 / _FRAMES_PER_SECOND, self._frame)
        self._frame()

    @property
    def player(self) -> Player:
        """What is heard: that of the screen beneath."""
        return self._player

    # --- the mix -----------------------------------------------------------------------------------------

    @property
    def _stems(self) -> list[Stem]:
        return self._player.stems_of(self._key)

    @property
    def _mix(self) -> dict[str, Strip]:
        return {stem.name: stem.strip for stem in self._stems}

    @property
    def _recipes(self) -> dict[str, Strip]:
        """The mix that the recipe asks for."""
        mix = self._remixed.mix if self._remixed is not None else {}
        return {stem.name: mix.get(stem.name, Strip()) for stem in self._stems}

    @property
    def _on_disk(self) -> dict[str, Strip]:
        """The mix that the variant is made with: the recipe's, or the one that was kept."""
        return {name: self._own.get(name, strip) for name, strip in self._recipes.items()}

    def _read_kept(self) -> dict[str, Strip]:
        """The mix that was kept, from disk: it is asked for with every frame that is painted."""
        return read_mixes(self._set.folder).get(self._remixed.variant, {}) if self._remixed is not None else {}

    @property
    def _takes_treated(self) -> bool:
        return self._remixed is None or self._remixed.treated

    @property
    def _is_untouched(self) -> bool:
        """Whether the stems are heard as when they were loaded."""
        return all(strip == Strip() for strip in self._mix.values()) and not any(s.enhanced for s in self._stems)

    def _take(self, mix: dict[str, Strip]) -> None:
        for stem in self._stems:
            stem.strip = mix[stem.name]

    def _change(self, place: int, strip: Strip) -> None:
        """Set a strip, as far as level and place can go, and have it heard."""
        level = max(LEVELS[0], min(LEVELS[1], strip.db))
        pan = max(-1.0, min(1.0, strip.pan))
        self._stems[place].strip = replace(strip, db=round(level, 2) + 0.0, pan=round(pan, 2) + 0.0)
        self._heard_anew()

    def _heard_anew(self) -> None:
        """What was changed is what one wants to hear."""
        if self._player.current != self._key:
            self._player.select(self._key)
        else:
            self._player.stems_changed()
        self._frame()

    @property
    def _strip(self) -> Strip:
        return self._stems[self._place].strip

    def action_choose(self, step: int) -> None:
        """Another strip."""
        self._place = (self._place + step) % len(self._stems)
        self._frame()

    def action_number(self, number: int) -> None:
        """A strip by its number."""
        if number <= len(self._stems):
            self._place = number - 1
            self._frame()

    def action_louder(self, steps: int) -> None:
        """Move the fader."""
        self._change(self._place, replace(self._strip, db=self._strip.db + steps * LEVEL_STEP))

    def action_move(self, steps: int) -> None:
        """Move the stem to a side."""
        if self._player.track_of(self._key, self._place).mono:
            self.notify("This stem is mono: it has no left and right.", timeout=3)
            return
        self._change(self._place, replace(self._strip, pan=self._strip.pan + steps * _PLACE_STEP))

    def action_mute(self) -> None:
        """Leave the stem out, or not."""
        self._change(self._place, replace(self._strip, muted=not self._strip.muted))

    def action_solo(self) -> None:
        """Hear only this stem (and the others that are solo), or all again."""
        self._change(self._place, replace(self._strip, solo=not self._strip.solo))

    def action_reset(self) -> None:
        """The strip as the stem was in the song."""
        self._change(self._place, Strip())

    def action_reset_all(self) -> None:
        """All strips as the recipe has them."""
        self._take(self._recipes)
        self._heard_anew()

    def action_treated(self) -> None:
        """The stem as it was treated, or as it was separated; only to be heard."""
        stem = self._stems[self._place]
        if not stem.can_be_enhanced:
            self.notify("The recipe does nothing to this stem.", timeout=3)
            return
        stem.enhanced = not stem.enhanced
        self._heard_anew()

    @on(MixerStrip.Changed)
    def _by_mouse(self, event: MixerStrip.Changed) -> None:
        self._place = event.place
        if event.strip is not None:
            self._change(event.place, event.strip)
        else:
            self._frame()

    def action_original(self) -> None:
        """The song as it was, or the mix."""
        if not self._original:
            self.notify("There is no original here to compare the mix with.", timeout=3)
            return
        self._player.select(self._key if self._player.current == self._original else self._original)
        self._frame()

    # --- keeping -----------------------------------------------------------------------------------------

    @property
    def _is_changed(self) -> bool:
        return self._remixed is not None and self._mix != self._on_disk

    def action_keep(self) -> None:
        """Have the song's remix made with this mix from now on."""
        self._keep()

    def _keep(self) -> bool:
        """Whether it is kept now."""
        if self._remixed is None:
            self.notify(
                "There is no remix to keep it for: it takes a song of the library and a recipe with remix, such as "
                "'stems'.", timeout=6,
            )  # fmt: skip
            return False
        variant, own = self._remixed.variant, self._mix != self._recipes
        if not self._is_changed:
            self.notify("Kept already." if own else f"This is what the recipe makes of {variant} anyway.", timeout=3)
            return True
        try:
            keep_mix(self._set.folder, variant, self._mix if own else {})
        except OSError as error:
            text = explain_os_error(error, "the mix, which is not kept")
            self.notify(text, severity="error", markup=False, timeout=8)
            return False
        self._own = self._read_kept()
        what = "Kept for this song." if own else "The recipe's mix again."
        self.notify(f"{what} {variant} {self._kept()}", timeout=8, markup=False)
        self._frame()
        return True

    def action_leave(self) -> None:
        """Back; a mix that was not kept is asked about."""
        if not self._is_changed:
            self.dismiss()
            return

        def answered(answer: str | None) -> None:
            if answer == "keep" and self._keep():
                self.dismiss()
            elif answer == "drop":
                self._take(self._on_disk)
                self._heard_anew()
                self.dismiss()

        answers = {"keep": "Keep it", "drop": "Leave the song as it was", "stay": "Go on mixing"}
        self.app.push_screen(Choice("This mix is not kept yet.", answers), answered)

    # --- painting ----------------------------------------------------------------------------------------

    def _frame(self) -> None:
        """Paint what moves, and all else where it changed."""
        if not self.is_current or not self._stems:
            return
        player, position = self._player, self._player.position
        gain = player.gains().get(self._key, 0.0) + player.volume
        mixing = player.current == self._key
        for place, strip in enumerate(self.query(MixerStrip)):
            strip.show(self._shown(place, position, gain, sounding=mixing and player.playing))
        waveform = self.query_one(Waveform)
        waveform.show(player.levels_of(player.current), (0, max(1, player.frames)), player.region)
        waveform.show_playhead(position)
        self.query_one(TransportLine).show(player, "the mix" if mixing else "the original", 0)
        self.query_one("#mixer-title", Panel).show_text(self._title(mixing, gain - player.volume))

    def _shown(self, place: int, position: int, gain: float, *, sounding: bool) -> Shown:
        stem, track = self._stems[place], self._player.track_of(self._key, place)
        strip, heard = stem.strip, in_the_mix(self._mix, stem.name)
        peak = SILENCE_DB
        if sounding and heard and track.levels is not None:
            peak = track.levels.recent_peak(position) + strip.db + gain
        if track.error:
            label = "not there"
        elif not track.ready:
            label = "loading…"
        elif stem.can_be_enhanced:
            label = "treated" if stem.enhanced else "plain"
        else:
            label = "" if heard else "silent"
        return Shown(strip, heard, peak, label, track.mono, place == self._place)

    def _title(self, mixing: bool, gain: float) -> Text:
        text = Text()
        if not mixing:
            text.append("  ORIGINAL", "warning")
        remixed = self._remixed
        if remixed is None:
            text.append("  only to be heard", "faint")
        elif self._is_changed:
            text.append(f"  {remixed.variant}: changed, k keeps it", "accent")
        else:
            own = self._mix != self._recipes
            text.append(f"  {remixed.variant}: {'your mix, kept' if own else 'as in the recipe'}", "faint")
        stem = next((s for s in self._stems if s.can_be_enhanced and s.enhanced != self._takes_treated), None)
        if remixed is not None and stem is not None:
            takes = "treated" if self._takes_treated else "plain"
            text.append(f"  the remix takes {stem.name} {takes}", "italic")
        elif remixed is not None and remixed.further:
            text.append("  heard before what the recipe does to the stems on the way", "italic")
        error = next((t.error for n in range(len(self._stems)) if (t := self._player.track_of(self._key, n)).error), "")
        if error:
            text.append(f"  {error}", "error")
        elif round(gain, 1):
            text.append(f"  heard at {gain:+.1f} dB", "faint")
        return self._after_name(text)

    def _after_name(self, said: Text) -> Text:
        """The title line; what is ``said`` of the mix is whole, and the song's name gets the room that is left."""
        head = Text.assemble((" Mixer ", "bold reverse"), "  ", no_wrap=True, overflow="ellipsis")
        name = self._set.title
        room = max(_NAME, self.size.width - head.cell_len - said.cell_len - 1)
        head.append(fit(name, min(cell_len(name), room), keep_end=True), "bold")
        return head.append_text(said)
