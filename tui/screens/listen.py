"""Listening: all variants of a song on one transport, toggled at once; the ear decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import OptionList

from engine.errors import RestoreError, explain_os_error
from engine.library.verdicts import change_verdict, read_verdict
from engine.player.player import Player
from engine.player.tracks import Candidate, ListeningSet
from tui.screens.blind import BlindScreen
from tui.screens.blind_setup import BlindSetup, Plan
from tui.screens.dialogs import Choice, TextDialog
from tui.screens.mixer import MixerScreen
from tui.screens.transport import TransportScreen
from tui.settings import Settings
from tui.widgets.key_line import KeyLine
from tui.widgets.meters import Meters, TransportLine
from tui.widgets.panel import Panel
from tui.widgets.pictures import Pictures
from tui.widgets.spectrogram import Spectrogram
from tui.widgets.variant_list import VariantList
from tui.widgets.waveform import Waveform

_FRAMES_PER_SECOND = 20
_NUDGE = 0.01  # seconds
_LOOK_AGAIN = 3.0  # seconds
_SYSTEM = "the system's choice"
_NEXT_RUN = "is made with it at the next run over this song."


class ListenScreen(TransportScreen):
    """Variants, spectrogram, waveform, meters and transport of one song after the other.

    With ``mixer`` the mixer is opened at once. ``kept`` is called with a song's place when a mix of it was kept; it
    gives the rest of a sentence about when the variant is made with it.
    """

    AUTO_FOCUS = "#variants-heard"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play/pause", priority=True),
        *(Binding(str(n), f"number({n})", "Variant" if n == 1 else "", show=n == 1, key_display="1-9")
          for n in range(1, 10)),
        Binding("tab", "other", "A/B", priority=True),
        Binding("left", "seek(-5)", "5 s back", show=False),
        Binding("right", "seek(5)", "5 s on", show=False),
        Binding("shift+left,comma", "seek(-1)", "1 s back", show=False),
        Binding("shift+right,full_stop", "seek(1)", "1 s on", show=False),
        Binding("home", "home", "To the start (of the loop)", show=False, priority=True),
        Binding("i", "set_in", "Loop from here"),
        Binding("o", "set_out", "Loop to here"),
        Binding("l", "loop", "Loop"),
        Binding("left_square_bracket", "nudge(0,-1)", "Loop start 10 ms earlier", show=False),
        Binding("right_square_bracket", "nudge(0,1)", "Loop start 10 ms later", show=False),
        Binding("left_curly_bracket", "nudge(1,-1)", "Loop end 10 ms earlier", show=False),
        Binding("right_curly_bracket", "nudge(1,1)", "Loop end 10 ms later", show=False),
        Binding("c", "clear_region", "No loop", show=False),
        Binding("z", "zoom", "Zoom to the loop"),
        Binding("minus", "volume(-1)", "Softer", show=False),
        Binding("plus,equals_sign", "volume(1)", "Louder", show=False),
        Binding("m", "match", "Match levels"),
        Binding("s", "view", "View"),
        Binding("g", "log", "Log frequency", show=False),
        Binding("f", "favourite", "Favourite"),
        Binding("n", "note", "Note"),
        Binding("b", "blind", "Blind test"),
        Binding("d", "device", "Output device", show=False),
        Binding("t", "mixer", "Mixer of the stems"),
        Binding("pagedown", "song(1)", "Next song", show=False, priority=True),
        Binding("pageup", "song(-1)", "Previous song", show=False, priority=True),
        Binding("escape,q", "leave", "Back"),
    ]  # fmt: skip
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(
        self, songs: Sequence[Callable[[], ListeningSet]], place: int, settings: Settings, *,
        working: Callable[[], bool] = lambda: False, blind: Sequence[str] | None = None, trials: int | None = None,
        mixer: bool = False, kept: Callable[[int], str] = lambda _: _NEXT_RUN,
    ) -> None:  # fmt: skip
        super().__init__()
        self._settings, self._working = settings, working
        self._songs, self._place = songs, place
        self._blind_at_once, self._trials = blind, trials
        self._mixer_at_once = self._only_mixer = mixer
        self._kept = kept
        self._set: ListeningSet | None = None
        self._player: Player | None = None
        self._pair: list[str] = []
        self._zoomed = False
        self._dirty = True
        self._in_view = (0, 1)
        self._opening = False
        self._left = False
        self._problem = ""  # why nothing is to be heard

    def compose(self) -> ComposeResult:
        """Title; variants and spectrograms; waveform; meters; keys."""
        yield Panel(id="listen-title")
        with Horizontal(id="listen-main"):
            with Vertical(id="listen-side"):
                yield VariantList(id="variants-heard", compact=True)
                yield Meters(id="meters")
            yield Pictures(id="pictures")
        yield Waveform(id="waveform")
        yield TransportLine(id="transport")
        yield KeyLine("leave", "help", "play", "number", "other", "blind", "favourite", "loop", "view", "note")

    def on_mount(self) -> None:
        """Get a player and the first song."""
        self.query_one("#meters").border_title = "Meters"
        self.query_one("#waveform").border_title = "Song"
        self.set_interval(1 / _FRAMES_PER_SECOND, self._frame)
        self.set_interval(_LOOK_AGAIN, self._look_for_new_variants)
        self._open()

    def on_unmount(self) -> None:
        """Let go of the device and the samples."""
        self._left = True
        if self._player is not None:
            self._settings.volume = self._player.volume
            self._settings.save()
            if not self._opening:  # what is being opened is closed by whoever opens it
                self._close_player()

    def on_screen_resume(self) -> None:
        """Whatever was on top of it may have changed what is heard."""
        self._dirty = True

    def _look_for_new_variants(self) -> None:
        """While the engine works, variants get finished: offer them."""
        if self._working() and self._set is not None and not self._opening:
            self._look_again()

    # --- songs -------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the song that is wanted; where another is being opened, when that is done."""
        self._set, self._problem = None, ""
        if not self._opening:
            self._opening = True
            self._open_in_background(self._place)

    @work(thread=True, group="song")
    def _open_in_background(self, place: int) -> None:
        found: ListeningSet | str
        try:
            found = self._songs[place]()
            if self._player is None:
                self._player = Player(self._changed, self._settings.output_device or None)
                self._player.volume = self._settings.volume
            self._player.open(found.candidates)
        except (RestoreError, OSError) as error:
            found = explain_os_error(error, "the folder for samples") if isinstance(error, OSError) else str(error)
        try:
            self.app.call_from_thread(self._opened, place, found)
        except RuntimeError:  # the app has ended meanwhile
            self._close_player()

    def _close_player(self) -> None:
        if self._player is not None:
            self._player.close()

    def _opened(self, place: int, found: ListeningSet | str) -> None:
        """Show what was opened, or tell why there is nothing to be heard."""
        self._opening = False
        if self._left:
            self._close_player()
            return
        if place != self._place:
            self._open()
            return
        if isinstance(found, str):
            self._problem = found
            self.notify(f"This song cannot be listened to. {found}", severity="error", timeout=10, markup=False)
            return
        self._set = found
        self.query_one(Pictures).forget()
        self._pair, self._zoomed = [], False
        self._dirty = True

    @work(thread=True, exclusive=True, group="look")
    def _look_again(self) -> None:
        listening_set = self._songs[self._place]()
        if self.is_running:
            self.app.call_from_thread(self._offer, listening_set)

    def _offer(self, listening_set: ListeningSet) -> None:
        """Take over what is new, where it is still about the same song."""
        player = self.player
        if player is None or self._set is None or listening_set.folder != self._set.folder:
            return
        self._set = listening_set
        for candidate in listening_set.candidates:
            player.add(candidate)
        self._dirty = True

    def _changed(self) -> None:
        """The player has news; called on its threads."""
        self._dirty = True

    def action_song(self, step: int) -> None:
        """Go to another song."""
        place = self._place + step
        if 0 <= place < len(self._songs):
            self._place = place
            self._open()

    @property
    def player(self) -> Player | None:
        """The player, once a song is open."""
        return self._player if self._set is not None and not self._opening else None

    @property
    def _candidates(self) -> tuple[Candidate, ...]:
        return self._set.candidates if self._set is not None else ()

    @property
    def _current(self) -> Candidate | None:
        player = self.player
        return next((c for c in self._candidates if player is not None and c.key == player.current), None)

    # --- painting ----------------------------------------------------------------------------------------

    def _frame(self) -> None:
        """Paint what moves; and the rest where something changed."""
        player = self.player
        if player is None or not self.is_current:
            if self._set is None:
                self._show_title()
            return
        if self._dirty:
            self._dirty = False
            self._show_title()
            self._show_variants()
            if self._mixer_at_once:
                self._mixer_at_once = False
                self.action_mixer()
                self._only_mixer = isinstance(self.app.screen, MixerScreen)
                return
            if self._blind_at_once is not None and not player.loading:
                keys, self._blind_at_once = self._blind_at_once, None
                self._set_up_blind(list(keys))
        position = player.position
        current = self._current
        self._in_view = self._whole_view(player)
        waveform = self.query_one(Waveform)
        waveform.show(player.levels_of(player.current), self._in_view, player.region)
        waveform.show_playhead(position)
        start, stop = self._in_view
        pictures = self.query_one(Pictures)
        pictures.show_playhead((position - start) / max(1, stop - start))
        self.query_one(Meters).show(
            player.levels_of(player.current), position, player.gains().get(player.current, 0.0) + player.volume
        )
        number = next((n for n, c in enumerate(self._candidates, 1) if c is current), 0)
        self.query_one(TransportLine).show(player, current.title if current is not None else "", number)
        pictures.show(player, self._candidates, self._pair, self._in_view, self._set.cutoff if self._set else None)

    def _whole_view(self, player: Player) -> tuple[int, int]:
        if self._zoomed and player.region is not None:
            start, stop = player.region
            margin = (stop - start) // 20
            return max(0, start - margin), min(player.frames, stop + margin)
        return 0, max(1, player.frames)

    def _show_title(self) -> None:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" Listen ", "bold reverse")
        if self._set is None:
            text.append(f"  {self._problem or 'opening …'}", "italic")
        else:
            text.append(f"  {self._set.title}", "bold")
            if len(self._songs) > 1:
                text.append(f"  {self._place + 1}/{len(self._songs)}", "faint")
            note = read_verdict(self._set.folder).note
            if note:
                text.append(f"  “{' '.join(note.split())}”", "italic")
        self.query_one("#listen-title", Panel).show_text(text)

    def _show_variants(self) -> None:
        player, listening_set = self.player, self._set
        if player is None or listening_set is None:
            return
        verdict = read_verdict(listening_set.folder)
        self.query_one(VariantList).show(player, listening_set.candidates, verdict)

    # --- transport ---------------------------------------------------------------------------------------

    def action_number(self, number: int) -> None:
        """Toggle to a variant by its number."""
        if number <= len(self._candidates):
            self._select(self._candidates[number - 1])

    def _select(self, candidate: Candidate) -> None:
        player = self.player
        if player is None or candidate.key == player.current:
            return
        if candidate.missing or candidate.key not in player.keys:
            self.notify(f"{candidate.title}: {candidate.missing or 'not there'}", timeout=3, markup=False)
            return
        before = player.current
        player.select(candidate.key)  # before anything is painted
        self._pair = [before, candidate.key]
        self._dirty = True

    def action_other(self) -> None:
        """Back to the variant heard before; the first time, to the plain decode."""
        player = self.player
        if player is None:
            return
        other = next((k for k in self._pair if k != player.current), "")
        plain = next((c.key for c in self._candidates if c.is_plain and c.key != player.current), "")
        rest = next((k for k in player.keys if k != player.current), "")
        key = other or plain or rest
        chosen = next((c for c in self._candidates if c.key == key), None)
        if chosen is not None:
            self._select(chosen)
        else:
            self.notify("There is no other variant to compare this one with yet.", timeout=3)

    @on(OptionList.OptionHighlighted, "#variants-heard")
    def _pointed(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_index < len(self._candidates):
            self._select(self._candidates[event.option_index])

    @on(Spectrogram.Clicked)
    def _on_picture(self, event: Spectrogram.Clicked) -> None:
        if self.player is not None:
            start, stop = self._in_view
            self.player.seek(start + round(event.share * (stop - start)))

    def set_region(self, region: tuple[int, int] | None, *, looping: bool | None = None) -> None:
        """Choose frames to repeat (None: none), and show them."""
        super().set_region(region, looping=looping)
        self._dirty = True

    def action_set_in(self) -> None:
        """The loop begins here."""
        player = self.player
        if player is not None:
            stop = player.region[1] if player.region is not None else player.frames
            here = player.position
            self.set_region((here, stop if stop > here else player.frames), looping=True)

    def action_set_out(self) -> None:
        """The loop ends here."""
        player = self.player
        if player is not None:
            start = player.region[0] if player.region is not None else 0
            here = player.position
            self.set_region((start if start < here else 0, here), looping=True)

    def action_nudge(self, edge: int, direction: int) -> None:
        """Move an edge of the loop by 10 ms."""
        player = self.player
        if player is not None and player.region is not None:
            region = list(player.region)
            region[edge] += round(direction * _NUDGE * player.rate)
            self.set_region((region[0], region[1]))

    def action_clear_region(self) -> None:
        """No loop any more."""
        self._zoomed = False
        self.set_region(None)

    def action_zoom(self) -> None:
        """Show the loop, or all."""
        self._zoomed = not self._zoomed and self.player is not None and self.player.region is not None

    def action_match(self) -> None:
        """Match the levels, or hear them as they are."""
        if self.player is not None:
            self.player.set_match(not self.player.match)
            self._dirty = True

    def action_view(self) -> None:
        """One spectrogram, two, or their difference."""
        view = self.query_one(Pictures).next_view()
        if view != "one" and not self._pair:
            self.notify("Toggle to another variant first: the last two are compared.", timeout=3)
        else:
            self.notify(f"View: {view}", timeout=2)

    def action_log(self) -> None:
        """A logarithmic axis of frequency, or a linear one."""
        pictures = self.query_one(Pictures)
        pictures.log_axis = not pictures.log_axis

    # --- devices and stems -------------------------------------------------------------------------------

    def action_device(self) -> None:
        """Choose where the sound goes."""
        self._find_devices()

    @work(thread=True, exclusive=True, group="devices")
    def _find_devices(self) -> None:
        player = self.player
        if player is not None:
            names = player.devices()
            self.app.call_from_thread(self._choose_device, names)

    def _choose_device(self, names: list[str]) -> None:
        def chosen(name: str | None) -> None:
            if name is not None and self.player is not None:
                self.player.use_device(None if name == _SYSTEM else name)
                self._settings.output_device = "" if name == _SYSTEM else name
                self._settings.save()

        if not names:
            self.notify("No output device was found; plug one in and try again.", timeout=4)
            return
        answers = {_SYSTEM: _SYSTEM, **{name: name for name in names}}
        self.app.push_screen(Choice("Where should the sound go?", answers), chosen)

    def action_mixer(self) -> None:
        """Mix the stems of what is heard, or else those of the song."""
        player, listening_set = self.player, self._set
        if player is None or listening_set is None:
            return
        current = next((r.stems for r in listening_set.remixes if r.variant == player.current), player.current)
        key = next((c.key for c in self._with_stems(current)), "")
        if not key:
            why = listening_set.no_stems or "The stems of this song cannot be played."
            self.notify(why, timeout=8, markup=False)
            return
        self.app.push_screen(MixerScreen(player, listening_set, key, self._mix_kept), self._mixed)

    def _with_stems(self, current: str) -> list[Candidate]:
        """The candidates with stems: the current one first, then those that a remix is made of."""
        mixed = [remixed.stems for remixed in self._set.remixes] if self._set is not None else []
        found = [c for c in self._candidates if self.player is not None and self.player.stems_of(c.key)]
        return sorted(found, key=lambda c: (c.key != current, c.key not in mixed))

    def _mix_kept(self) -> str:
        return self._kept(self._place)

    def _mixed(self, _: None) -> None:
        """Where the mixer was all that was wanted, the way back leads out of here, too."""
        if self._only_mixer:
            self.action_leave()

    # --- verdicts ----------------------------------------------------------------------------------------

    def action_favourite(self) -> None:
        """Make what is heard the favourite, or take that back; one that was proposed becomes the listener's own."""
        listening_set, current = self._set, self._current
        if listening_set is None or current is None:
            return
        verdict = read_verdict(listening_set.folder)
        is_one = verdict.favourite == current.key and not verdict.is_proposed
        try:
            change_verdict(listening_set.folder, favourite="" if is_one else current.key)
        except OSError as error:
            self.notify(f"The favourite could not be kept: {error.strerror}.", severity="error", markup=False)
            return
        self._dirty = True
        self.notify("No favourite any more" if is_one else f"★ {current.title}", timeout=2, markup=False)

    def action_note(self) -> None:
        """Write a note about the song."""
        listening_set = self._set
        if listening_set is None:
            return

        def written(text: str | None) -> None:
            if text is not None:
                try:
                    change_verdict(listening_set.folder, note=text)
                except OSError as error:
                    self.notify(f"The note could not be kept: {error.strerror}.", severity="error", markup=False)
                self._dirty = True

        self.app.push_screen(TextDialog("What do you hear?", read_verdict(listening_set.folder).note), written)

    # --- blind tests -------------------------------------------------------------------------------------

    def action_blind(self) -> None:
        """Set up a blind test."""
        player = self.player
        if player is None or player.loading:
            self.notify("The variants are still loading.", timeout=3)
            return
        heard = [k for k in self._pair if k in player.keys] or [player.current]
        plain = next((c.key for c in self._candidates if c.is_plain and c.key in player.keys), "")
        chosen = heard if len(set(heard)) == 2 or not plain else [plain, player.current]
        self._set_up_blind(list(dict.fromkeys(chosen)))

    def _set_up_blind(self, keys: list[str]) -> None:
        player = self.player
        if player is None:
            return
        offered = [c for c in self._candidates if c.key in player.keys and not player.error_of(c.key)]
        if len(offered) < 2:
            self.notify("A blind test needs two variants that can be heard.", timeout=4)
            return

        def begin(plan: Plan | None) -> None:
            if plan is not None and self._set is not None and self.player is not None:
                self.app.push_screen(BlindScreen(self.player, self._set, plan))

        self.app.push_screen(BlindSetup(offered, keys, self._trials), begin)

    def action_leave(self) -> None:
        """Back to where it was opened from."""
        if self.player is not None:
            self.player.pause()
        self.dismiss()
