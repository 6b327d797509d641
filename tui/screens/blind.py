"""Blind tests on the screen. What is behind a letter is known to the player alone; nothing here shows it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from engine.files import file_hash
from engine.player.blind import DEFAULT_TRIALS, TRIALS, BlindTest, Kind, Outcome, show_p
from engine.player.player import Player
from engine.player.tracks import Candidate, ListeningSet
from engine.text import printable, short_path
from tui.screens.dialogs import Choice
from tui.widgets.cells import bar
from tui.widgets.panel import Panel

_FRAMES_PER_SECOND = 15
_REGION = 12.0  # seconds that are looped where nothing was chosen
_FEW_PER_PAIR = 6  # below this not even a clean sweep can be significant


@dataclass(frozen=True)
class Plan:
    """What is to be tested."""

    kind: Kind
    candidates: tuple[Candidate, ...]
    trials: int


class BlindSetup(ModalScreen[Plan | None]):
    """Which question, about which variants, in how many trials."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("left", "trials(-1)", "Fewer trials", priority=True),
        Binding("right", "trials(1)", "More trials", priority=True),
        Binding("space", "switch", "Choose", priority=True),
    ]

    def __init__(self, offered: Sequence[Candidate], chosen: Sequence[str], trials: int | None = None) -> None:
        super().__init__()
        self._offered = list(offered)
        self._chosen = [key for key in chosen if any(c.key == key for c in offered)]
        self._trials = max(TRIALS[0], min(TRIALS[1], trials or DEFAULT_TRIALS))
        self._kind = Kind.ABX

    def compose(self) -> ComposeResult:
        """The question, the candidates, the number of trials, and the start."""
        with Vertical(classes="dialog"):
            yield Static(Text("Blind test"), classes="title")
            yield OptionList(id="setup")
            yield Static("", id="advice", classes="hint")

    def on_mount(self) -> None:
        """Paint; the cursor begins at the start."""
        self._paint(at=len(self._offered) + 2)

    def _paint(self, at: int | None = None) -> None:
        options = self.query_one("#setup", OptionList)
        place = options.highlighted if at is None else at
        question = {
            Kind.ABX: "Is there a difference?  (ABX)", Kind.PREFERENCE: "Which is better?  (preference)",
        }[self._kind]  # fmt: skip
        lines = [(Text.assemble(("Question   ", "dim"), question), "question")]
        for candidate in self._offered:
            mark = "●" if candidate.key in self._chosen else "○"
            lines.append((Text(f"  {mark} {candidate.title}", overflow="ellipsis", no_wrap=True), candidate.key))
        lines.append((Text.assemble(("Trials     ", "dim"), f"◂ {self._trials} ▸"), "trials"))
        lines.append((Text("Begin", "bold"), "begin"))
        options.clear_options()
        options.add_options(Option(text, id=f"o{n}") for n, (text, _) in enumerate(lines))
        options.highlighted = place
        options.focus()
        self.query_one("#advice", Static).update(Text(self._advice()))

    def _advice(self) -> str:
        """What stands in the way, or what is wise."""
        count = len(self._chosen)
        if self._kind is Kind.ABX and count != 2:
            return "Choose exactly two variants."
        if count < 2:
            return "Choose at least two variants."
        pairs = count * (count - 1) // 2
        if self._trials // pairs < _FEW_PER_PAIR:
            return (
                f"{pairs} pairs share {self._trials} trials: too few for a clear answer. "
                "More trials or fewer variants tell more."
            )
        return "Space chooses, ◂ ▸ sets the trials, Enter begins. Loop 5 to 20 telling seconds first."

    def action_trials(self, step: int) -> None:
        """Another number of trials."""
        self._trials = max(TRIALS[0], min(TRIALS[1], self._trials + step))
        self._paint()

    def action_switch(self) -> None:
        """What is under the cursor, the other way round."""
        place = self.query_one("#setup", OptionList).highlighted or 0
        if place == 0:
            self._kind = Kind.PREFERENCE if self._kind is Kind.ABX else Kind.ABX
        elif place <= len(self._offered):
            key = self._offered[place - 1].key
            if key in self._chosen:
                self._chosen.remove(key)
            else:
                self._chosen.append(key)
                if self._kind is Kind.ABX and len(self._chosen) > 2:
                    self._chosen.pop(0)
        self._paint()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter: begin, or choose."""
        if event.option_index != len(self._offered) + 2:
            self.action_switch()
            return
        count = len(self._chosen)
        if count < 2 or (self._kind is Kind.ABX and count != 2):
            self.notify(self._advice(), severity="warning", timeout=3)
            return
        candidates = tuple(c for c in self._offered if c.key in self._chosen)
        self.dismiss(Plan(self._kind, candidates, self._trials))


class BlindScreen(Screen[None]):
    """Training, trials, outcome. Waveform, meters and spectrogram would tell: they are not here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play/pause", priority=True),
        Binding("a", "hear('A')", "A"),
        Binding("b", "hear('B')", "B"),
        Binding("x", "hear('X')", "X"),
        Binding("1", "hear('1')", "1"),
        Binding("2", "hear('2')", "2"),
        Binding("home", "restart", "From the start", show=False),
        Binding("left", "answer(0)", "Left answer"),
        Binding("right", "answer(1)", "Right answer"),
        Binding("enter", "confirm", "Confirm"),
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
        self._matched_before = player.match

    def compose(self) -> ComposeResult:
        """One page of text, and the keys."""
        yield Panel(id="blind-title")
        with Vertical(id="blind-body"):
            yield Panel(id="blind-text")
        yield Footer()

    def on_mount(self) -> None:
        """Match the levels, loop a region, compute what the log needs, begin with training."""
        self.query_one("#blind-text", Panel).wraps = True
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
        """Only the labels that this test has."""
        if action == "hear":
            return parameters[0] in (("A", "B", "X") if self._plan.kind is Kind.ABX else ("1", "2"))
        return True

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
        self._player.set_volume(self._player.volume + 1.5 * steps)

    # --- answering ---------------------------------------------------------------------------------------

    @property
    def _choices(self) -> tuple[str, str]:
        return ("A", "B") if self._plan.kind is Kind.ABX else ("1", "2")

    def action_answer(self, place: int) -> None:
        """Choose an answer; it can be changed until it is confirmed."""
        choice = self._choices[place]
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
        self._paint()

    def _next_trial(self) -> None:
        """From the start of the loop, with the first label: every trial begins alike."""
        self._label = ""
        self.action_restart()
        self.action_hear(self._choices[0])
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
        self.dismiss()

    # --- painting ----------------------------------------------------------------------------------------

    def _paint(self) -> None:
        if not self.is_mounted:
            return
        title = Text(no_wrap=True, overflow="ellipsis")
        kind = "ABX: is there a difference?" if self._plan.kind is Kind.ABX else "Preference: which is better?"
        title.append(" Blind test ", "bold reverse")
        title.append(f"  {kind}", "bold")
        self.query_one("#blind-title", Panel).show_text(title)
        panel = self.query_one("#blind-text", Panel)
        painted = {
            "training": self._training, "trials": self._trial, "break": self._break, "outcome": self._result,
        }[self.phase]()  # fmt: skip
        panel.show_text(painted)

    def _labels(self) -> Text:
        """The letters, the one that is heard in reverse."""
        text = Text()
        for label in ("A", "B", "X") if self._plan.kind is Kind.ABX else ("1", "2"):
            text.append(f"  {label}  ", "bold reverse" if label == self._label else "bold")
            text.append("   ")
        return text

    def _playing(self) -> Text:
        player = self._player
        start, stop = player.region or (0, player.frames)
        share = (player.position - start) / max(1, stop - start)
        text = Text("▶  " if player.playing else "❚❚ ")
        text.append(bar(share, 30), self.query_one("#blind-text", Panel).bar_style)
        text.append(f"  {(stop - start) / player.rate:.1f} s loop", "dim")
        if player.problem and not player.device_name:
            text.append(f"\nNo sound: {printable(player.problem)}.", "italic")
        return text

    def _training(self) -> Text:
        text = Text("Get to know the sounds. This does not count.\n\n")
        text.append(self._labels())
        text.append("\n\n")
        text.append(self._playing())
        text.append("\n\n")
        if self._plan.kind is Kind.ABX:
            for label, candidate in zip("AB", self._plan.candidates, strict=True):
                text.append(f"  {label} is {candidate.title}\n")
            text.append("  X is one of them. Guess with ◂ (A) or ▸ (B), as often as you like.\n\n")
            text.append(f"  {self._practice_told}\n\n", "bold")
        else:
            text.append("  Two of the variants, names hidden. Find a moment where they differ.\n\n")
        text.append("Levels are matched, switching keeps the position. Rest, find your volume (+ and -).\n\n")
        text.append(f"Enter begins the {len(self.test.trials)} trials.", "bold")
        return text

    def _trial(self) -> Text:
        test = self.test
        text = Text.assemble((f"Trial {test.place + 1} of {len(test.trials)}   ", "bold"))
        text.append(bar(test.place / len(test.trials), 20), self.query_one("#blind-text", Panel).bar_style)
        text.append("\n\n")
        text.append(self._labels())
        text.append("\n\n")
        text.append(self._playing())
        text.append("\n\n")
        left, right = self._choices
        if self._plan.kind is Kind.ABX:
            words = (f"◂  X is {left}", f"X is {right}  ▸")
        else:
            words = (f"◂  {left} is better", f"{right} is better  ▸")
        for choice, word in zip(self._choices, words, strict=True):
            text.append(f"  {word}  ", "bold reverse" if test.current.answer == choice else "")
            text.append("    ")
        text.append("\n\n")
        text.append("Enter confirms; until then you can choose otherwise. The score comes at the end.", "dim")
        return text

    def _break(self) -> Text:
        text = Text.assemble((f"{self.test.place} of {len(self.test.trials)} done. ", "bold"))
        text.append("Ears tire: take a minute of silence.\n\n")
        text.append("Enter goes on.", "bold")
        return text

    def _result(self) -> Text:
        outcome = self._outcome
        if outcome is None:
            return Text()
        text = Text.assemble((f"{outcome.words}\n\n", "bold"))
        if self._plan.kind is Kind.ABX:
            text.append(f"A was {self._plan.candidates[0].title}, B was {self._plan.candidates[1].title}.\n\n")
            text.append("A guesser gets this far with the probability p (exact binomial, one-sided).\n", "dim")
        else:
            for result in outcome.pairs:
                first, second = (self._names[key] for key in result.pair)
                text.append(f"  {first} {result.hits} : {result.trials - result.hits} {second}   {show_p(result.p)}\n")
            text.append("\nA coin gives a split like this with the probability p (exact binomial, two-sided", "dim")
            text.append("; adjusted for several pairs).\n" if len(outcome.pairs) > 1 else ").\n", "dim")
        if self._saved:
            text.append(f"\nThe log of all trials: {self._saved}\n", "dim")
        text.append("\nEnter goes back.", "bold")
        return text
