"""``--dry-run``: what is done, stale and to do, and what the songs' headers say. Nothing is changed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.analysis.headers import headers_of, look_at
from engine.audio.headers import HeaderFacts
from engine.planning.recipes import by_number
from engine.planning.task import State
from engine.run.session import Session, SongPlan
from engine.text import counted, duration, printable

_WIDE = 130  # columns from which on a table has room for the variants' names
_WIDTH_OF_A_PIPE = 10_000  # nothing is folded where a program reads it
_WORDS = {
    State.DONE: "done", State.STALE: "stale", State.PRUNED: "pruned", State.TODO: "to do", State.IMPOSSIBLE: "not here",
}  # fmt: skip
_STYLES = {
    State.DONE: "green", State.STALE: "yellow", State.PRUNED: "dim", State.TODO: "cyan", State.IMPOSSIBLE: "dim",
}  # fmt: skip


def show(session: Session, *, force: bool, as_json: bool) -> None:
    """Print the plan, as a table or as one JSON object a song; ``force`` takes what is done for stale."""
    plans = session.states(force=force)
    facts = _facts(plans)
    for item, found in zip(plans, facts, strict=True):
        done = [task for task, state in item.states.items() if state is State.DONE]
        missing = session.missing(item.at or item.song, item.analysis, done=done, force=force)
        session.plan_room(item.song, found, item.analysis, missing)
    if as_json:
        _print_json(session, plans, facts)
    else:
        _print_table(session, plans, facts)


def _print_json(session: Session, plans: list[SongPlan], facts: list[HeaderFacts]) -> None:
    for item, found in zip(plans, facts, strict=True):
        told = {
            "duration": found.duration, "bitrate": found.bitrate, "vbr": found.vbr, "encoder": found.encoder,
            "cutoff": _cutoff(item, found), "problem": found.problem,
        }  # fmt: skip
        states = {task: _standing(item, task)[0] for task in item.states}
        room = session.room.needed(songs=[item.song.id]).kept
        print(json.dumps({"song": item.song.id, **told, "tasks": states, "bytes": room}))
    if not (needed := session.room.needed(session.jobs())).fits:
        print(needed.in_words(), file=sys.stderr)


def _print_table(session: Session, plans: list[SongPlan], facts: list[HeaderFacts]) -> None:
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_WIDTH_OF_A_PIPE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("song", overflow="fold", min_width=12)
    for name in ("length", "kbit/s", "encoder", "cutoff"):
        table.add_column(name, justify="left" if name == "encoder" else "right", no_wrap=True)
    variants = sorted((t for t in session.tasks if t.is_final), key=lambda task: by_number(task.id))
    for task in variants:
        table.add_column(task.id if console.width >= _WIDE else task.id.split("_")[0], no_wrap=True)
    for item, found in zip(plans, facts, strict=True):
        cells = [Text(*_standing(item, t.id)[1:]) for t in variants]
        table.add_row(Text(printable(item.song.id)), *map(Text, _in_words(found, _cutoff(item, found))), *cells)
    console.print(table)
    console.print(Text(_count(plans)))
    needed = session.room.needed(session.jobs())
    if words := needed.in_words():
        console.print(Text(words, "" if needed.fits else "bold yellow"))
    for text in session.left_out():
        console.print(Text(text, "yellow"))
    for item, found in zip(plans, facts, strict=True):
        if found.problem:
            console.print(Text(f"{printable(item.song.id)}: {printable(found.problem)}", "yellow"))


def _standing(plan: SongPlan, task: str) -> tuple[str, str, str]:
    """(in JSON, in a table, style) how a task stands; what failed the last time is to do, and told."""
    outcome = plan.outcomes.get(task) or plan.outcome
    state = plan.states[task]
    if plan.left and outcome is not None and outcome.reason == plan.left:
        return "left alone", "left", "cyan"
    if outcome is not None and state in (State.TODO, State.STALE):
        return outcome.kind, outcome.kind, "bold red" if outcome.kind == "failed" else "yellow"
    return state.value, _WORDS[state], _STYLES[state]


def _facts(plans: list[SongPlan]) -> list[HeaderFacts]:
    """What the headers say of each song; those that were analysed are not read again."""
    found: dict[Path, HeaderFacts] = {}
    look_at([item.song.path for item in plans if item.analysis is None], found.update)
    return [found[p.song.path] if p.analysis is None else headers_of(p.analysis) for p in plans]


def _cutoff(plan: SongPlan, facts: HeaderFacts) -> float | None:
    """Hz, as measured where the song was analysed, else as the encoder's tag tells it."""
    return plan.analysis.cutoff.hz if plan.analysis is not None else facts.lowpass


def _in_words(facts: HeaderFacts, cutoff: float | None) -> tuple[str, str, str, str]:
    """Length, bitrate, encoder and cutoff as shown."""
    if facts.problem:
        return "?", "", "unreadable", ""
    bitrate = "" if facts.bitrate is None else f"{'~' if facts.vbr else ''}{facts.bitrate / 1000:.0f}"
    return (
        "?" if facts.duration is None else duration(facts.duration),
        bitrate,
        printable(facts.encoder),
        "" if cutoff is None else f"{cutoff / 1000:.1f} kHz",
    )


def _count(plans: list[SongPlan]) -> str:
    counts = dict.fromkeys((*(state.value for state in State), "failed", "skipped", "left alone"), 0)
    for item in plans:
        for task in item.states:
            counts[_standing(item, task)[0]] += 1
    parts = [f"{number} {name}" for name, number in counts.items() if number]
    explained = (
        "\nStale means out of date: made before, but with other settings or from another file."
        if counts["stale"]
        else ""
    )
    if counts["pruned"]:
        explained += "\nPruned means that it was made and given up to make room: --force makes it anew."
    if counts["failed"] or counts["skipped"]:
        explained += "\nA run tries again what failed or was skipped."
    if counts["left alone"]:
        explained += "\nWhat is good as it is, auto leaves alone: name a recipe or variants to make them all the same."
    return f"\n{counted(len(plans), 'song')}; tasks: {', '.join(parts)}.{explained}"
