"""What the library screen may ask of the app that it is shown by: no screen imports the app."""

from __future__ import annotations

from typing import Protocol

from engine.run.session import Session
from tui.model import DashboardModel


class Host(Protocol):
    """``library`` and ``session`` are None until something is opened; ``jobs`` songs are worked on at a time."""

    library: DashboardModel | None
    session: Session | None
    jobs: int

    def open_path(self, text: str) -> None:
        """Open a folder or a song."""

    def reopen(self) -> None:
        """Open again what is open."""

    def be_patient(self, variant: str) -> None:
        """Have a variant made that was left out for the time it takes."""
