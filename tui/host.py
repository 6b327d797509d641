"""What the library screen may ask of the app that it is shown by: no screen imports the app."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from engine.run.session import Session
from tui.model import DashboardModel
from tui.settings import Settings


class Host(Protocol):
    """``library`` and ``session`` are None until something is opened; ``jobs`` songs are worked on at a time.

    ``opening`` says that something else will take their place in a moment.
    """

    library: DashboardModel | None
    session: Session | None
    jobs: int
    opening: bool
    settings: Settings

    def open_paths(self, paths: list[Path]) -> None:
        """Open folders and songs."""

    def reopen(self) -> None:
        """Open again what is open."""

    def allow_slow(self, variant: str) -> None:
        """Have a variant made that was left out for the time it takes."""
