"""What a blind test says on the screen, phase by phase. Nothing here knows what is behind a letter."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from engine.player.blind import BlindTest, Kind, Outcome, show_p
from engine.player.player import Player
from engine.text import printable
from tui.screens.blind_setup import Plan
from tui.widgets.cells import bar

QUESTIONS = {Kind.ABX: "ABX: is there a difference?", Kind.PREFERENCE: "Preference: which is better?"}
CHOICES = {Kind.ABX: ("A", "B"), Kind.PREFERENCE: ("1", "2")}
LABELS = {Kind.ABX: ("A", "B", "X"), Kind.PREFERENCE: ("1", "2")}


def sounding(labels: Iterable[str], label: str, player: Player, said: str = "{:.1f} s loop") -> Text:
    """The labels, the one that is heard in reverse; and the playhead in the loop, whose seconds ``said`` tells."""
    text = Text()
    for one in labels:
        text.append(f"  {one}  ", "bold reverse" if one == label else "bold")
        text.append("   ")
    start, stop = player.region or (0, player.frames)
    share = (player.position - start) / max(1, stop - start)
    text.append("\n\n▶  " if player.playing else "\n\n❚❚ ")
    text.append(bar(share, 30), "primary")
    text.append(f"  {said.format((stop - start) / player.rate)}", "faint")
    if player.problem and not player.device_name:
        text.append(f"\nNo sound: {printable(player.problem)}.", "italic")
    text.append("\n\n")
    return text


def training(plan: Plan, trials: int, told: str, sounding: Text) -> Text:
    """Getting to know the sounds; ``told`` is what the last guess was worth."""
    text = Text("Get to know the sounds. This does not count.\n\n")
    text.append(sounding)
    if plan.kind is Kind.ABX:
        for label, candidate in zip("AB", plan.candidates, strict=True):
            text.append(f"  {label} is {candidate.title}\n")
        text.append("  X is one of them. Guess with ◂ (A) or ▸ (B), as often as you like.\n\n")
        text.append(f"  {told}\n\n", "bold")
    else:
        text.append("  Two of the variants, names hidden. Find a moment where they differ.\n\n")
    text.append("Levels are matched, switching keeps the position. Take your time; + and - set the volume.\n\n")
    text.append(f"Enter begins the {trials} trials.", "bold")
    return text


def trial(kind: Kind, test: BlindTest, sounding: Text) -> Text:
    """A trial, with the answer that is chosen but not confirmed."""
    text = Text.assemble((f"Trial {test.place + 1} of {len(test.trials)}   ", "bold"))
    text.append(bar(test.place / len(test.trials), 20), "primary")
    text.append("\n\n")
    text.append(sounding)
    left, right = CHOICES[kind]
    if kind is Kind.ABX:
        words = (f"◂  X is {left}", f"X is {right}  ▸")
    else:
        words = (f"◂  {left} is better", f"{right} is better  ▸")
    for choice, word in zip(CHOICES[kind], words, strict=True):
        text.append(f"  {word}  ", "bold reverse" if test.current.answer == choice else "")
        text.append("    ")
    text.append("\n\n")
    text.append("Enter confirms; until then you can choose otherwise. The score comes at the end.", "faint")
    return text


def rest(test: BlindTest) -> Text:
    """A break between trials."""
    text = Text.assemble((f"{test.place} of {len(test.trials)} done. ", "bold"))
    text.append("Ears tire: take a minute of silence.\n\n")
    text.append("Enter goes on.", "bold")
    return text


def result(plan: Plan, outcome: Outcome, saved: str) -> Text:
    """The outcome; ``saved`` is where the log lies."""
    names = {c.key: c.title for c in plan.candidates}
    text = Text.assemble((f"{outcome.words}\n\n", "bold"))
    if plan.kind is Kind.ABX:
        text.append(f"A was {plan.candidates[0].title}, B was {plan.candidates[1].title}.\n\n")
        text.append("A guesser gets this far with the probability p (exact binomial, one-sided).\n", "faint")
    else:
        for found in outcome.pairs:
            first, second = (names[key] for key in found.pair)
            text.append(f"  {first} {found.hits} : {found.trials - found.hits} {second}   {show_p(found.p)}\n")
        text.append("\nA coin gives a split like this with the probability p (exact binomial, two-sided", "faint")
        text.append("; adjusted for several pairs).\n" if len(outcome.pairs) > 1 else ").\n", "faint")
    if saved:
        text.append(f"\nThe log of all trials: {saved}\n", "faint")
    text.append("\nEnter goes back.", "bold")
    return text
