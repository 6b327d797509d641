"""Blind tests on the screen. What is behind a letter is known to the player alone; nothing here shows it."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar, Literal

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen

from engine.files import file_hash
from engine.player.blind import BlindTest, Kind, Outcome
from engine.player.player import Player
from engine.player.tracks import ListeningSet
from engine.text import printable, short_path
from tui.screens import blind_pages
from tui.screens.blind_pages import CHOICES, LABELS, QUESTIONS
from tui.screens.blind_setup import Plan
from tui.screens.dialogs import Choice
from tui.screens.transport import VOLUME_STEP
from tui.widgets.key_line import KeyLine
from tui.widgets.panel import Panel

_FRAMES_PER_SECOND = 15
_REGION = 12.0  # seconds that are looped where nothing was chosen


class BlindScreen(Screen[None]):
    """Training, trials, outcome. Waveform, meters and spectrogram would tell: they are not here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play/pause", priority=True),
        Binding("a", "hear('A')", "Hear", key_display="a b x"),
        Binding("b", "hear('B')", "", show=False),
        Binding("x", "hear('X')", "", show=False),
        Binding("1", "hear('1')", "Hear", key_display="1 2"),
        Binding("2", "hear('2')", "", show=False),
        Binding("home", "restart", "From the start", show=False),
        Binding("left", "answer(0)", "Answer", key_display="← →"),
        Binding("right", "answer(1)", "", show=False),
        Binding("enter", "confirm", "Go on"),
        Binding("minus", "volume(-1)", "Softer", show=False),
        Binding("plus,equals_sign", "volume(1)", "Louder", show=False),
        Binding("escape,q", "leave", "Leave"),
    ]

    def __init__(self, player: Player, listening_set: ListeningSet, plan: Plan) -> None:
        super().__init__()
        self._player, self._set, self._plan = player, listening_set, plan
        self._names = {c.key: c.title for c in plan.candidates}
        self.test = BlindTest(plan.kind, [c.key for c in plan.candidates], plan.trials, names=self._names)
        self.phase: Literal["training", "trials", "break", "outcome"] = "training"
        self._label = ""
        self._practice = plan.candidates[secrets.randbelow(2)].key
        self._practice_told = ""
        self._hashes: dict[str, str] = {}
        self._saved = ""
        self._outcome: Outcome | None = None
        self._matched_before, self._heard_before = player.match, player.current

    def compose(self) -> ComposeResult:
        """One page of text, and the keys."""
        yield Panel(id="blind-title")
        with Vertical(id="blind-body"):
            yield Panel(id="blind-text", wraps=True)
        yield KeyLine("leave", "confirm", "answer", "play", "hear")

    def on_mount(self) -> None:
        """Match the levels, loop a region, compute what the log needs, begin with training."""
        player = self._player
        player.set_match(True)
        if player.region is None:
            start = min(player.position, max(0, player.frames - round(_REGION * player.rate)))
            player.set_region((start, min(player.frames, start + round(_REGION * player.rate))), looping=True)
        else:
            player.set_region(player.region, looping=True)
        if player.region is not None:
            player.seek(player.region[0])
        self._hash()
        self.action_hear("A" if self._plan.kind is Kind.ABX else "1")
        self.set_interval(1 / _FRAMES_PER_SECOND, self._paint)
        self._paint()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only the labels that this test has, and nothing to hear or to answer between and after the trials."""
        if self.phase in ("break", "outcome") and action in ("play", "hear", "answer", "restart", "volume"):
            return False
        return action != "hear" or parameters[0] in LABELS[self._plan.kind]

    @work(thread=True)
    def _hash(self) -> None:
        """The hashes of what is compared, for the log."""
        for candidate in self._plan.candidates:
            hashes = []
            for part in candidate.parts:
                try:
                    hashes.append(candidate.sha256 or file_hash(part.path))
                except OSError as error:
                    hashes.append(f"not readable: {error.strerror}")
            self._hashes[candidate.key] = ",".join(hashes)

    # --- listening ---------------------------------------------------------------------------------------

    def _behind(self, label: str) -> str:
        """What to play for a label; in training, a trial that does not count."""
        if self.phase == "training":
            if label in "AB":
                return self._plan.candidates["AB".index(label)].key
            if label == "X":
                return self._practice
            return self._practice if label == "1" else self._other(self._practice)
        return self.test.current.candidate(label)

    def _other(self, key: str) -> str:
        return next(c.key for c in self._plan.candidates if c.key != key)

    def action_hear(self, label: str) -> None:
        """Switch to a label, at the same position: the same command for each, whatever is behind it."""
        if self.phase in ("break", "outcome"):
            return
        if label != self._label:
            self.test.current.switches += self.phase == "trials"
            self._label = label
            self._player.select(self._behind(label))
            self._paint()

    def action_play(self) -> None:
        """Play or pause."""
        if self._player.playing:
            self._player.pause()
        else:
            self._player.play()

    def action_restart(self) -> None:
        """From the start of the loop."""
        if self._player.region is not None:
            self._player.seek(self._player.region[0])

    def action_volume(self, steps: int) -> None:
        """Turn the volume: of all alike."""
        self._player.set_volume(self._player.volume + steps * VOLUME_STEP)

    # --- answering ---------------------------------------------------------------------------------------

    def action_answer(self, place: int) -> None:
        """Choose an answer; it can be changed until it is confirmed."""
        choice = CHOICES[self._plan.kind][place]
        if self.phase == "trials":
            self.test.answer(choice)
        elif self.phase == "training" and self._plan.kind is Kind.ABX:
            right = self._behind(choice) == self._practice
            self._practice_told = f"X was {'A' if self._behind('A') == self._practice else 'B'}: " + (
                "right." if right else "not this time."
            )
            self._practice = self._plan.candidates[secrets.randbelow(2)].key
            if self._label == "X":
                self._player.select(self._practice)
        self._paint()

    def action_confirm(self) -> None:
        """Go on: from training to the trials, from trial to trial, and to the outcome."""
        match self.phase:
            case "training" if not self._player.device_name:
                self.notify("A blind test needs sound: it can begin when a device is there.", timeout=4)
            case "training":
                self.phase = "trials"
                self._next_trial()
            case "break":
                self.phase = "trials"
                self._next_trial()
            case "trials":
                if not self.test.confirm():
                    self.notify("Choose an answer first: ◂ or ▸.", timeout=2)
                elif self.test.finished:
                    self._finish()
                elif self.test.time_for_a_break:
                    self.phase = "break"
                    self._player.pause()
                else:
                    self._next_trial()
            case "outcome":
                self._close()
        self.refresh_bindings()
        self._paint()

    def _next_trial(self) -> None:
        """From the start of the loop, with the first label: every trial begins alike."""
        self._label = ""
        self.action_restart()
        self.action_hear(CHOICES[self._plan.kind][0])
        self._player.play()

    def _finish(self) -> None:
        self.phase = "outcome"
        self._player.pause()
        self._outcome = self.test.outcome()
        self._save()

    def _facts(self) -> dict[str, Any]:
        player = self._player
        gains = player.gains()
        region = player.region or (0, player.frames)
        return {
            "song": self._set.title,
            "names": self._names,
            "files": {c.key: [printable(str(p.path)) for p in c.parts] for c in self._plan.candidates},
            "sha256": self._hashes,
            "gain_db": {c.key: round(gains.get(c.key, 0.0), 3) for c in self._plan.candidates},
            "region_seconds": [round(frame / player.rate, 3) for frame in region],
            "rate": player.rate,
            "device": player.device_name,
        }

    def _save(self) -> None:
        try:
            self._saved = short_path(self.test.save(self._set.folder, self._facts()))
        except OSError as error:
            self.notify(f"The log could not be written: {error.strerror}.", severity="error", markup=False)

    def action_leave(self) -> None:
        """Leave; an unfinished test is asked about, and logged as unfinished."""
        if self.phase in ("training", "outcome"):
            self._close()
            return

        def answered(answer: str | None) -> None:
            if answer == "leave":
                self._save()
                self._close()

        question = "Leave the test? It will not be counted: stopping early would make its result worthless."
        self.app.push_screen(Choice(question, {"stay": "Go on with the test", "leave": "Leave"}), answered)

    def _close(self) -> None:
        self._player.set_match(self._matched_before)
        self._player.select(self._heard_before)
        self.dismiss()

    # --- painting ----------------------------------------------------------------------------------------

    def _paint(self) -> None:
        if not self.is_mounted:
            return
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(" Blind test ", "bold reverse")
        title.append(f"  {QUESTIONS[self._plan.kind]}", "bold")
        self.query_one("#blind-title", Panel).show_text(title)
        self.query_one("#blind-text", Panel).show_text(self._page())

    def _page(self) -> Text:
        """What the phase has to say."""
        sounding = blind_pages.sounding(LABELS[self._plan.kind], self._label, self._player)
        match self.phase:
            case "training":
                return blind_pages.training(self._plan, len(self.test.trials), self._practice_told, sounding)
            case "trials":
                return blind_pages.trial(self._plan.kind, self.test, sounding)
            case "break":
                return blind_pages.rest(self.test)
        assert self._outcome is not None
        return blind_pages.result(self._plan, self._outcome, self._saved)
