"""``mp3restore choose``: what the listener's choices say of the rest of a library."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.errors import OutputError, explain_os_error
from engine.player.choosing import NOTHING_YET, Chooser, tally
from engine.run.session import Session
from engine.text import counted


def show(session: Session, apply: str) -> int:
    """Print the proposal; ``apply`` makes ``all`` of it, or what it is ``sure`` of, favourites. Gives the exit code.

    Raises:
        OutputError: a favourite could not be kept.
    """
    console = Console(highlight=False, soft_wrap=True)
    chooser = Chooser(session.store, [session.where(song) for song in session.songs])
    answers = counted(len(chooser.answers), "answer")
    proposals = chooser.proposals()
    if not chooser.heard:
        console.print(NOTHING_YET)
        return 1
    if not proposals:
        console.print(
            "You have judged every song yourself." if chooser.open_songs == 0 else
            f"No preference found: tossing a coin explains your {answers} as well. Compare more (dashboard: key C)."
        )  # fmt: skip
        return 1
    console.print(f"From {answers}, for the {counted(len(proposals), 'song')} that you have not judged:")
    table = Table(box=None, pad_edge=False)
    table.add_column("variant")
    table.add_column("songs", justify="right")
    table.add_column("sure of", justify="right")
    for variant, number, sure in tally(proposals):
        table.add_row(Text(variant), str(number), str(sure))
    console.print(table)
    if apply:
        wanted = [p for p in proposals if p.prediction.is_sure or apply == "all"]
        try:
            count = chooser.choose(wanted)
        except OSError as error:
            raise OutputError(explain_os_error(error, "a favourite")) from error
        console.print(f"Chosen for {counted(count, 'song')}; what you chose yourself stays.")
    else:
        console.print("Nothing was changed: --apply sure or --apply all makes these the favourites.")
    return 0
