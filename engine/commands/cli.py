"""The command line: ``mp3restore PATH...`` opens the dashboard, with ``--no-tui`` it restores at once.

``play``, ``abx``, ``export``, ``prune``, ``verify``, ``report``, ``models``, ``setup``, ``analyze``, ``doctor`` and
``demo`` are commands of their own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from engine import __version__
from engine.errors import RestoreError, UsageError
from engine.text import printable, strip_ansi

if TYPE_CHECKING:
    from engine.player.tracks import ListeningSet


@dataclass(frozen=True)
class Screens:
    """What opens the user interface; each gives the exit code.

    ``dashboard(paths, out, recipe, jobs, device)`` and ``listening(sets, candidates of a blind test, trials)``.
    """

    dashboard: Callable[[list[Path], Path | None, str, int, str], int]
    listening: Callable[[list[ListeningSet], tuple[str, ...] | None, int | None], int]


_screens: Screens | None = None
_NO_TERMINAL = "Listening needs a terminal."
_OPTIONS_OF_THE_GROUP = ("--help", "--version")


class _DefaultToRun(TyperGroup):
    """What is not a command's name is something to restore."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in _OPTIONS_OF_THE_GROUP):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options of a run too: it is what is mostly wanted, and needs no word of its own."""
        super().format_options(ctx, formatter)
        records = [shown for item in self.commands["run"].params if (shown := item.get_help_record(ctx)) is not None]
        with formatter.section("Options of a run (mp3restore [PATH...])"):
            formatter.write_dl([record for record in records if record[0] != "--help"])


app = typer.Typer(
    cls=_DefaultToRun,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Rebuilds plausible approximations of what MP3 threw away, and lets your ear decide.\n\n"
    "mp3restore [PATH...] opens the dashboard; with --no-tui it works without.",
)


class Device(StrEnum):
    """Where models run."""

    AUTO, CPU, CUDA, MPS = "auto", "cpu", "cuda", "mps"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mp3restore {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH...]", help="Songs, and folders with all that is below them.")
    ] = None,
    no_tui: Annotated[bool, typer.Option("--no-tui", help="Work without the dashboard.")] = False,
    out: Annotated[str, typer.Option(help="Output folder [default: AI_Restored_Variants beside the first PATH].")] = "",
    recipe: Annotated[
        str, typer.Option(help="Name of a recipe, or a TOML file [default: auto, what fits this machine].")
    ] = "",
    variants: Annotated[str, typer.Option(help="Only these variants, such as 01,11_offline.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Do again what is done.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is done, stale and to do; change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    device: Annotated[Device, typer.Option(help="Where models run.")] = Device.AUTO,
    jobs: Annotated[int, typer.Option(min=0, max=64, help="Songs at a time [0: by the machine].")] = 0,
) -> None:
    """Restore songs (also without the word 'run': mp3restore --no-tui PATH...)."""
    names = [name.strip() for name in variants.split(",") if name.strip()]
    given = [Path(p) for p in paths or []]
    if not (no_tui or dry_run or as_json):
        _dashboard(given, Path(out) if out else None, recipe, jobs, device.value)
    from engine.commands import headless
    from engine.planning import recipes
    from engine.run.session import Session

    if not given:
        raise UsageError("Give the songs or folders to restore.")
    session = Session(given, Path(out) if out else None, recipe or recipes.DEFAULT, names, device.value)
    if device is not Device.AUTO:
        session.device  # noqa: B018  (what is not here is said now)
    if dry_run:
        from engine.commands import dry_run as plan

        plan.show(session, force=force, as_json=as_json)
        return
    raise typer.Exit(headless.run(session, jobs=jobs, force=force, as_json=as_json))


def _dashboard(paths: list[Path], out: Path | None, recipe: str, jobs: int, device: str) -> None:
    """Hand over to the dashboard that :func:`main` was given."""
    screens = _screens_or("The dashboard needs a terminal: add --no-tui to work without it.")
    if device != Device.AUTO:
        from engine.models.runtime.device import choose

        choose(device)  # what is not here is said now
    for path in paths:
        if not path.exists():
            raise UsageError(f"{printable(str(path))} does not exist: check the path (and its drive).")
    raise typer.Exit(screens.dashboard(paths, out, recipe, jobs, device))


@app.command()
def play(
    paths: Annotated[list[str], typer.Argument(metavar="FILE_OR_FOLDER...", help="A song, a library, or any files.")],
    out: Annotated[str, typer.Option(help="Where the results are [default: beside what is given].")] = "",
) -> None:
    """Listen: the variants of songs, or any audio files, on one transport with instant toggling."""
    from engine.player.listening_sets import of_paths

    sets = of_paths([Path(p) for p in paths], Path(out) if out else None)
    raise typer.Exit(_screens_or(_NO_TERMINAL).listening(sets, None, None))


@app.command()
def abx(
    first: Annotated[str, typer.Argument(metavar="A", help="An audio file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one, of the same music.")],
    trials: Annotated[int, typer.Option(min=10, max=25, help="How often you are asked.")] = 16,
) -> None:
    """Test blindly whether you hear a difference between two files."""
    from engine.player.listening_sets import of_files

    listening_set = of_files([Path(first), Path(second)])
    keys = tuple(c.key for c in listening_set.candidates[-2:])
    if len(set(keys)) < 2:
        raise UsageError("These are the same file: give two different ones.")
    raise typer.Exit(_screens_or(_NO_TERMINAL).listening([listening_set], keys, trials))


def _screens_or(problem: str) -> Screens:
    """The screens that :func:`main` was given; ``problem`` where there are none, or no terminal for them."""
    if _screens is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(problem)
    return _screens


@app.command()
def export(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="The library whose favourites are wanted.")],
    to: Annotated[str, typer.Option(help="The folder that they go to.")],
    out: Annotated[str, typer.Option(help="Where the results are [default: beside what is given].")] = "",
    link: Annotated[bool, typer.Option("--link", help="Hard-link instead of copying, where the disk can.")] = False,
    kind: Annotated[
        str, typer.Option("--format", help="For other players: flac16, alac, opus or mp3 [default: as they are].")
    ] = "",
    gains: Annotated[
        bool | None,
        typer.Option("--replaygain/--no-replaygain", help="Tags for equal loudness [default: with --format]."),
    ] = None,
) -> None:
    """Collect the favourites that were chosen while listening in one clean folder."""
    from engine.commands import export as exporting
    from engine.run.session import Session

    exporting.check_kind(kind, link=link)
    session = Session([Path(p) for p in paths], Path(out) if out else None)
    songs = [session.where(song) for song in session.songs]
    if not exporting.favourites(session.store, songs):
        raise UsageError("No song has a favourite yet: choose them while listening (mp3restore, key l, then f).")
    with_gains = bool(kind) if gains is None else gains
    tell = print if with_gains or kind else None  # each takes its time
    result = exporting.export(session.store, songs, Path(to), link=link, kind=kind, gains=with_gains, progress=tell)
    print(result.in_words(to))
    for problem in result.problems:
        print(f"mp3restore: {problem}", file=sys.stderr)
    raise typer.Exit(1 if result.problems else 0)


@app.command()
def prune(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="The library that is to make room.")],
    keep: Annotated[str, typer.Option(help="Keep these variants too, of all songs, such as 01,07.")] = "",
    proposed: Annotated[
        bool, typer.Option("--proposed", help="Also prune songs whose favourite was only proposed (☆).")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete for good instead of moving to the trash.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; change nothing.")] = False,
    out: Annotated[str, typer.Option(help="Where the results are [default: beside what is given].")] = "",
) -> None:
    """Make room: keep the favourites, move the other variants to the trash; they are not made again by themselves."""
    from engine.commands import prune as pruning
    from engine.library.pruning import delete as for_good
    from engine.library.pruning import to_trash
    from engine.run.session import Session

    session = Session([Path(p) for p in paths], Path(out) if out else None)
    songs = [session.where(song) for song in session.songs]
    rule = pruning.Rule(tuple(name.strip() for name in keep.split(",") if name.strip()), proposed)
    shown = pruning.preview(session.store, songs, rule)
    for line in shown.in_words():
        print(line)
    if dry_run:
        return
    if not shown.doomed:
        with suppress(UsageError):  # another one works there: then there is nothing to finish
            pruning.carry_out(session.store, songs, rule)
        return
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("Nothing was removed: there is no terminal to ask on, so add --yes.")
        if not typer.confirm("Delete them for good?" if delete else "Move them to the trash?"):
            print("Nothing was removed.")
            return
    try:
        result = pruning.carry_out(session.store, songs, rule, for_good if delete else to_trash)
    except KeyboardInterrupt:
        print("Stopped. What is to be kept is whole; the same command goes on.", file=sys.stderr)
        raise typer.Exit(130) from None
    print(result.in_words(trashed=not delete))
    for problem in result.problems:
        print(f"mp3restore: {problem}", file=sys.stderr)
    raise typer.Exit(1 if result.problems else 0)


@app.command()
def verify(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="The library whose results are read.")],
    mend: Annotated[
        bool, typer.Option("--repair", help="Have the next run make again what is damaged or missing.")
    ] = False,
    out: Annotated[str, typer.Option(help="Where the results are [default: beside what is given].")] = "",
) -> None:
    """Read every result to its end and compare it with what was written (exit code 1: something is damaged)."""
    from engine.commands.verify import show
    from engine.run.session import Session

    session = Session([Path(p) for p in paths], Path(out) if out else None)
    raise typer.Exit(show(session, mend=mend))


@app.command()
def choose(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="The library that is to be chosen for.")],
    out: Annotated[str, typer.Option(help="Where the results are [default: beside what is given].")] = "",
    apply: Annotated[str, typer.Option(help="Make the proposal favourites: 'sure' or 'all'.")] = "",
) -> None:
    """Tell what your favourites and comparisons say of the songs that you have not judged (dashboard: key C)."""
    from engine.commands.choose import show
    from engine.run.session import Session

    if apply not in ("", "sure", "all"):
        raise UsageError("--apply takes 'sure' (only songs that it is sure of) or 'all'.")
    session = Session([Path(p) for p in paths], Path(out) if out else None)
    raise typer.Exit(show(session, apply))


@app.command()
def report(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="The library whose results are compared.")],
    out: Annotated[str, typer.Option(help="Where the results are [default: beside what is given].")] = "",
    reference: Annotated[str, typer.Option(help="Folder with the lossless originals, called as the songs are.")] = "",
    jobs: Annotated[int, typer.Option(min=0, max=64, help="Songs at a time [0: by the machine].")] = 0,
) -> None:
    """Compare all variants with their songs: a page to see and hear it (offline, in any browser), CSV and JSON."""
    from engine.commands.report import show
    from engine.run.session import Session

    session = Session([Path(p) for p in paths], Path(out) if out else None, device="cpu")
    raise typer.Exit(show(session, Path(reference) if reference else None, jobs))


@app.command()
def selftest(
    paths: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Lossless music: FLAC, WAV, AIFF …")],
    bitrates: Annotated[str, typer.Option(help="What to code it as: 64, 96, 128, 192, 320, V5, V0.")] = "",
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a TOML file [default: auto].")] = "",
    variants: Annotated[str, typer.Option(help="Only these variants, such as 11_offline.")] = "",
    songs: Annotated[int, typer.Option(min=1, max=500, help="How many songs at most.")] = 12,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="How much of each, from its middle.")] = 20,
    device: Annotated[Device, typer.Option(help="Where models run.")] = Device.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Code lossless music as MP3, restore it, and tell which variant helps and which harms, at which bitrate."""
    from engine.commands import selftest as testing
    from engine.compare.selftest import DEFAULT_CODINGS
    from engine.planning import recipes

    codings = [name.strip() for name in bitrates.split(",") if name.strip()] or list(DEFAULT_CODINGS)
    names = [name.strip() for name in variants.split(",") if name.strip()]
    given = [Path(path) for path in paths]
    how = testing.How(tuple(codings), recipe or recipes.DEFAULT, tuple(names), songs, seconds, device.value)
    raise typer.Exit(testing.run(given, how, as_json=as_json))


@app.command()
def analyze(
    files: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Songs, and folders with all that is below them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of tables.")] = False,
) -> None:
    """Show what songs are and what was done to them: encoder, cutoff, level, damage."""
    from engine.commands import analyze as report

    raise typer.Exit(report.show([Path(f) for f in files], as_json=as_json))


@app.command()
def doctor(
    folder: Annotated[str, typer.Argument(help="Where results would go.")] = ".",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of a table.")] = False,
) -> None:
    """Say what this machine has, and what to do about what is missing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from engine.commands.doctor import examine

    findings = examine(Path(folder))
    if as_json:
        print(json.dumps([f.__dict__ for f in findings], indent=1))
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        marks = {
            "ok": Text("ok", "green"),
            "note": Text("note", "yellow"),
            "problem": Text("problem", "bold red"),
        }
        for finding in findings:
            advice = f"\n{finding.advice}" if finding.advice else ""
            table.add_row(marks[finding.verdict], Text(finding.topic, "bold"), Text(printable(finding.text) + advice))
        Console(highlight=False).print(table)
    raise typer.Exit(1 if any(f.verdict == "problem" for f in findings) else 0)


@app.command()
def demo(
    folder: Annotated[str, typer.Argument(help="Where to put the song.")] = "demo",
) -> None:
    """Write a short song of our own as an MP3, to try the program with."""
    from engine.commands.demo import write_demo
    from engine.errors import explain_os_error

    try:
        print(f"Wrote {printable(str(write_demo(Path(folder))))}")
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the folder {printable(folder)}")) from error


@app.command()
def setup(
    models: Annotated[str, typer.Option(help="Download these models too, such as apollo,htdemucs.")] = "",
    backend: Annotated[
        str, typer.Option(help="Another build of PyTorch than the one that fits: cpu, cu126, rocm6.4, auto ...")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the commands; change nothing.")] = False,
) -> None:
    """Set up the AI models: PyTorch in the build that fits this machine, tried, and then the models."""
    from engine.commands import setup as setting_up

    keys = models.replace(",", " ").split()
    raise typer.Exit(setting_up.run(keys, get, backend=backend, yes=yes, dry_run=dry_run))


models = typer.Typer(help="The neural networks: what they are, and getting them.", rich_markup_mode=None)
app.add_typer(models, name="models")


@models.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of a table.")] = False,
) -> None:
    """What models there are, and whether they are here."""
    from engine.models.runtime.cards import cards
    from engine.text import size

    if as_json:
        facts = ("key", "name", "task", "trained_on", "licence", "source", "size", "sample_rate")
        told = [{**{f: getattr(c, f) for f in facts}, "state": c.state(thoroughly=False)} for c in cards()]
        print(json.dumps(told, indent=1))
        return
    for card in cards():
        print(
            f"{card.key}: {card.name}, {card.task}; {size(card.size)}, {card.licence}; {card.state(thoroughly=False)}"
        )
        print(f"    trained on {card.trained_on}")


@models.command()
def get(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Which (see: mp3restore models list).")],
    given: Annotated[str, typer.Option("--from", help="Take this published file instead of downloading it.")] = "",
    half: Annotated[bool, typer.Option("--half", help="Keep AudioSR in half precision: half the space.")] = False,
) -> None:
    """Download models; a broken download goes on where it stopped."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from engine.models.runtime.cards import card, download

    chosen_cards = [card(name) for name in names]
    if given and len(chosen_cards) != 1:
        raise UsageError("--from brings the file of one model: name one.")
    for chosen in chosen_cards:
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        with Progress(*columns, TimeRemainingColumn(), transient=True) as bars:
            bar = bars.add_task(chosen.name, total=chosen.size)

            def moved(done: int, of: int, bars: Progress = bars, bar: TaskID = bar) -> None:
                bars.update(bar, completed=done, total=of)

            path = download(chosen, given=Path(given) if given else None, half=half, progress=moved)
        print(f"{chosen.name}: {printable(str(path)) if path is not None else 'comes with ' + chosen.source}")


@models.command("verify")
def verify_weights(
    names: Annotated[list[str] | None, typer.Argument(metavar="[MODEL...]", help="Which [default: all].")] = None,
) -> None:
    """Check the weights against their hashes (exit code 1: something is damaged)."""
    from engine.models.runtime.cards import card, cards

    damaged = False
    for chosen in [card(name) for name in names] if names else cards():
        state = chosen.state()
        print(f"{chosen.key}: {state}")
        damaged |= state == "damaged"
    raise typer.Exit(1 if damaged else 0)


@models.command()
def path() -> None:
    """Where weights lie; files can be put there by hand. MP3RESTORE_MODELS chooses another folder."""
    from engine.models.runtime.weights import folder

    print(folder())


@models.command()
def remove(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Which.")],
) -> None:
    """Delete downloaded weights."""
    from engine.models.runtime import weights
    from engine.models.runtime.cards import card

    for chosen in [card(name) for name in names]:
        if not chosen.files:
            print(f"{chosen.key}: comes with {chosen.source}, and stays")
        else:
            removed = [weights.remove(file) for file in chosen.files]
            print(f"{chosen.key}: {'removed' if any(removed) else 'was not here'}")


def clean_arguments(arguments: list[str]) -> list[str]:
    """The arguments without ANSI colour codes, which some launchers pass on; arguments of nothing else go."""
    cleaned = [strip_ansi(a) for a in arguments]
    if cleaned != arguments:
        print("Colour codes were found in the arguments and taken out.", file=sys.stderr)
    return [c for c, a in zip(cleaned, arguments, strict=True) if c or not a]


def main(screens: Screens | None = None) -> None:
    """Run the command line; exit codes: 0 done, 1 songs failed, 2 wrong usage, 130 stopped.

    ``screens`` open the user interface: the engine does not know it, whoever starts the program brings it.
    """
    global _screens  # noqa: PLW0603  (typer calls the commands itself and passes nothing on)
    _screens = screens
    _hold_standard_streams()
    _speak_utf8()
    sys.argv[1:] = clean_arguments(sys.argv[1:])
    try:
        app()
    except RestoreError as error:
        print(f"mp3restore: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _hold_standard_streams() -> None:
    """Where the program was started without one, nothing else may get its number: libraries would print into it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  (for as long as it runs)


def _speak_utf8() -> None:
    """Names of songs must never end a run, whatever the terminal's code page."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
