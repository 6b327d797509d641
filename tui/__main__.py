"""``python -m tui`` is the ``mp3restore`` script: the command line with the screens behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands import cli

if TYPE_CHECKING:
    from engine.player.tracks import ListeningSet


def main() -> None:
    """Entry point."""
    cli.main(cli.Screens(_dashboard, _listening))


def _dashboard(paths: list[Path], out: Path | None, recipe: str, jobs: int, device: str) -> int:
    """Textual is loaded only when the dashboard is really wanted."""
    from tui.launch import run_dashboard

    return run_dashboard(paths, out, recipe, jobs, device)


def _listening(sets: list[ListeningSet], blind: tuple[str, ...] | None, trials: int | None) -> int:
    """The same for the listen screen."""
    from tui.launch import run_listening

    return run_listening(sets, blind, trials)


if __name__ == "__main__":
    main()
