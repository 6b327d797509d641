"""Choosing for the whole library: a few blind comparisons, and what they say of all other songs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Literal

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from engine.errors import RestoreError, explain_os_error
from engine.player.choosing import ASKED, NOTHING_YET, Chooser, Proposal, Question, tally
from engine.player.player import Player
from engine.player.telling import LOOP, telling_place
from engine.player.tracks import Candidate, ListeningSet
from engine.text import counted, printable
from tui.screens.blind_pages import sounding
from tui.screens.transport import TransportScreen
from tui.settings import Settings
from tui.widgets.cells import bar
from tui.widgets.key_line import KeyLine
from tui.widgets.panel import Panel

_FRAMES_PER_SECOND = 15
_LOOK_AGAIN = 0.05  # seconds
Phase = Literal["reading", "opening", "asking", "proposal", "nothing"]


class ChooseScreen(TransportScreen):
    """Asks which of two is better, song by song, at the place where they differ most; then proposes for the rest."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play/pause", priority=True),
        Binding("1", "hear(0)", "Hear", key_display="1 2"),
        Binding("2", "hear(1)", "", show=False),
        Binding("left", "answer(0)", "Better", key_display="← →"),
        Binding("right", "answer(1)", "", show=False),
        Binding("down", "skip", "No difference"),
        Binding("p", "propose", "Proposal"),
        Binding("enter", "choose(True)", "Choose the sure ones"),
        Binding("a", "choose(False)", "Choose all"),
        Binding("c", "go_on", "Compare more"),
        Binding("minus", "volume(-1)", "Softer", show=False),
        Binding("plus,equals_sign", "volume(1)", "Louder", show=False),
        Binding("home", "home", "From the start", show=False),
        Binding("escape,q", "leave", "Leave"),
    ]

    def __init__(
        self, chooser: Callable[[Callable[[], None]], Chooser], listen: Callable[[Question], ListeningSet],
        settings: Settings,
    ) -> None:  # fmt: skip
        """``chooser`` is called with what to call between songs, ``listen`` gives what there is to hear of a song."""
        super().__init__()
        self._make_chooser, self._listen, self._settings = chooser, listen, settings
        self.phase: Phase = "reading"
        self.chooser: Chooser | None = None
        self.question: Question | None = None
        self._title = ""
        self._asked = 0
        self._proposals: list[Proposal] = []
        self._problem = ""
        self._player: Player | None = None
        self._left = threading.Event()

    def compose(self) -> ComposeResult:
        """One page of text, and the keys."""
        yield Panel(id="blind-title")
        with Vertical(id="blind-body"):
            yield Panel(id="blind-text", wraps=True)
        yield KeyLine("leave", "answer", "skip", "play", "hear", "propose", "choose")

    def on_mount(self) -> None:
        """Read what was chosen so far."""
        self.set_interval(1 / _FRAMES_PER_SECOND, self._frame)
        self._read()
        self._paint()

    def on_unmount(self) -> None:
        """Let go of the device and the samples."""
        self._left.set()
        if self._player is not None:
            self._settings.volume = self._player.volume
            self._settings.save()
            if self.phase != "opening":  # what is being opened is closed by whoever opens it
                self._player.close()

    @property
    def player(self) -> Player | None:
        """The player, while there is something to hear."""
        return self._player if self.phase == "asking" else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done in each phase."""
        if action in ("play", "hear", "answer", "skip", "home", "volume"):
            return self.phase == "asking"
        if action == "propose":
            return self.phase in ("asking", "opening")
        if action == "go_on":
            return self.phase == "proposal"
        return action != "choose" or (self.phase == "proposal" and bool(self._proposals))

    # --- questions ---------------------------------------------------------------------------------------

    @work(thread=True, group="read")
    def _read(self) -> None:
        def checkpoint() -> None:
            if self._left.is_set():
                raise _LeftError

        with suppress(_LeftError):
            chooser = self._make_chooser(checkpoint)
            with suppress(RuntimeError):  # the app has ended meanwhile
                self.app.call_from_thread(self._was_read, chooser)

    def _was_read(self, chooser: Chooser) -> None:
        self.chooser = chooser
        if not self._left.is_set():
            self._ask()

    def _ask(self) -> None:
        """The next question; after some, or where there is none, the proposal."""
        assert self.chooser is not None
        self.question = self.chooser.question() if self.chooser.heard else None
        if self.question is None:
            self._show("proposal" if self.chooser.heard else "nothing")
        elif self._asked >= ASKED:
            self.action_propose()
        else:
            self._show("opening")
            self._open(self.question)

    def _show(self, phase: Phase) -> None:
        self.phase = phase
        if phase == "proposal" and self.chooser is not None:
            self._proposals = self.chooser.proposals()
        self.refresh_bindings()
        self._paint()

    @work(thread=True, group="song")
    def _open(self, question: Question) -> None:
        """Load the two, and find where they differ."""
        problem, title, region = "", "", (0.0, LOOP)
        try:
            found = self._listen(question)
            title = found.title
            candidates = [next(c for c in found.candidates if c.key == key) for key in question.pair]
            region = _region(candidates)
            if self._player is None:
                self._player = Player(device=self._settings.output_device or None)
                self._player.volume = self._settings.volume
            self._player.open(candidates)
            self._player.set_match(True)
            self._wait(self._player, question.pair, region[1])
            problem = next((e for c in candidates if (e := self._player.error_of(c.key))), "")
        except StopIteration:
            problem = "one of the variants is not there any more"
        except OSError as error:
            problem = explain_os_error(error, "the folder for samples")
        except RestoreError as error:
            problem = str(error)
        try:
            self.app.call_from_thread(self._opened, question, title, region, problem)
        except RuntimeError:
            if self._player is not None:
                self._player.close()

    def _wait(self, player: Player, keys: tuple[str, str], until: float) -> None:
        """Until both can be played as far as that (seconds), or as far as there is anything."""
        while player.loading and not self._left.is_set():
            enough = until * player.rate / player.frames if player.frames else 1.0
            if all(player.progress_of(key) >= min(enough, 1.0) for key in keys):
                return
            time.sleep(_LOOK_AGAIN)

    def _opened(self, question: Question, title: str, region: tuple[float, float], problem: str) -> None:
        player = self._player
        if self._left.is_set():
            if player is not None:
                player.close()
            return
        if self.phase != "opening" or question != self.question:
            return
        if problem or player is None:
            self._skip_broken(question, problem)
            return
        self._title = title
        rate = player.rate
        start, stop = (min(player.frames, round(second * rate)) for second in region)
        if stop - start < rate:
            start, stop = 0, player.frames
        player.set_region((start, stop), looping=True)
        self._show("asking")
        self.action_hear(0)
        player.seek(start)
        player.play()

    def _skip_broken(self, question: Question, problem: str) -> None:
        assert self.chooser is not None
        self.notify(f"{printable(question.song.id)} cannot be compared: {problem}", timeout=5, markup=False)
        self.chooser.skip(question)
        self._ask()

    def action_hear(self, place: int) -> None:
        """Switch to the first or the second, at the same position."""
        if self.player is not None and self.question is not None:
            self.player.select(self.question.pair[place])
            self._paint()

    def action_answer(self, place: int) -> None:
        """The first or the second is better: keep that, and go on."""
        if self.chooser is None or self.question is None:
            return
        try:
            self.chooser.answer(self.question, self.question.pair[place])
        except OSError as error:
            self.notify(explain_os_error(error, "your answer"), severity="error", markup=False)
            return
        self._next()

    def action_skip(self) -> None:
        """No difference is heard: go on."""
        if self.chooser is not None and self.question is not None:
            self.chooser.skip(self.question)
            self._next()

    def _next(self) -> None:
        if self._player is not None:
            self._player.pause()
        self._asked += 1
        self._ask()

    # --- the proposal ------------------------------------------------------------------------------------

    def action_propose(self) -> None:
        """What the answers so far say of the rest."""
        if self._player is not None and self.phase == "asking":
            self._player.pause()
        self._show("proposal")

    def action_go_on(self) -> None:
        """More comparisons."""
        self._asked = 0
        self._ask()

    def action_choose(self, only_sure: bool) -> None:
        """Make the proposal the favourites of the rest."""
        assert self.chooser is not None
        wanted = [p for p in self._proposals if p.prediction.is_sure or not only_sure]
        try:
            count = self.chooser.choose(wanted)
        except OSError as error:
            self.notify(explain_os_error(error, "a favourite"), severity="error", markup=False)
            return
        self.notify(f"Chosen for {counted(count, 'song')}: ☆ marks what you did not choose yourself.", timeout=6)
        self.dismiss()

    def action_leave(self) -> None:
        """Leave; every answer is kept already."""
        self.dismiss()

    # --- painting ----------------------------------------------------------------------------------------

    def _frame(self) -> None:
        """What moves; all else is painted when it changes."""
        if self.phase == "asking":
            self._paint()

    def _paint(self) -> None:
        if not self.is_mounted:
            return
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(" Choose for the rest ", "bold reverse")
        if self.phase == "asking":
            title.append(f"  {self._title}", "bold")
        self.query_one("#blind-title", Panel).show_text(title)
        self.query_one("#blind-text", Panel).show_text(self._page())

    def _page(self) -> Text:
        match self.phase:
            case "reading":
                return Text("Reading what you chose so far …", "italic")
            case "nothing":
                return Text(NOTHING_YET)
            case "opening":
                return Text("Looking for the place where two variants differ most …", "italic")
            case "asking":
                return self._asking()
        return self._proposal()

    def _asking(self) -> Text:
        player, question = self._player, self.question
        assert player is not None and question is not None
        text = Text.assemble((f"Comparison {self._asked + 1} of {ASKED}   ", "bold"))
        text.append(bar(self._asked / ASKED, 20), "primary")
        text.append("\n\nWhich is better? Two variants of this song, names hidden, levels matched.\n\n")
        heard = "12"[question.pair.index(player.current)] if player.current in question.pair else ""
        text.append(sounding("12", heard, player, "{:.0f} s, where they differ most"))
        text.append("◂  1 is better     2 is better  ▸", "bold")
        text.append("\n▾  no difference\n\n")
        text.append(self._learnt(), "faint")
        return text

    def _learnt(self) -> str:
        assert self.chooser is not None
        count = len(self.chooser.answers)
        if not count:
            return "Your answers teach what you would choose of all other songs. Each is kept at once."
        if self.chooser.taste.is_there:
            return f"{counted(count, 'answer')} so far: a preference shows. p shows the proposal."
        return f"{counted(count, 'answer')} so far: no preference shows yet."

    def _proposal(self) -> Text:
        assert self.chooser is not None
        count = len(self.chooser.answers)
        if not self._proposals:
            text = Text.assemble(("No preference found.\n\n", "bold"))
            if self.chooser.open_songs == 0:
                return Text("You have judged every song yourself: there is nothing left to choose.")
            text.append(
                f"Tossing a coin explains your {counted(count, 'answer')} as well. That may change with more of "
                "them (c), or the variants sound alike to you: then any of them will do."
            )
            return text
        songs = counted(len(self._proposals), "song")
        text = Text.assemble(
            (f"From {counted(count, 'answer')}, for the {songs} that you have not judged:\n\n", "bold")
        )
        lines = tally(self._proposals)
        width = max(len(variant) for variant, _, _ in lines)
        for variant, number, sure in lines:
            text.append(f"  {variant:<{width}}  {number:>6}", "bold")
            text.append(f"   sure of {sure}\n", "faint")
        certain = sum(sure for _, _, sure in lines)
        unsure = len(self._proposals) - certain
        others = f", a also the {unsure} others" if unsure else ""
        text.append(
            f"\nEnter chooses the {certain} it is sure of (at least 4 in 5){others}.\n"
            "What you chose yourself stays. ☆ marks what was chosen here; f in the listen screen makes it yours."
        )
        return text


class _LeftError(Exception):
    """The screen was left."""


def _region(candidates: list[Candidate]) -> tuple[float, float]:
    """Where the two differ most, in seconds; from the start where that cannot be told."""
    import soundfile

    if not all(candidate.sha256 for candidate in candidates):
        return 0.0, LOOP  # one is the source itself, which is decoded elsewhere
    first, second = (candidate.parts[0].path for candidate in candidates)
    try:
        return telling_place(first, second)
    except (OSError, soundfile.SoundFileError):
        return 0.0, LOOP
