"""``python -m tui`` is the ``mp3restore`` script: the command line with the dashboard behind it."""

from __future__ import annotations

from pathlib import Path

from engine import cli


def main() -> None:
    """Entry point."""
    cli.main(_open)


def _open(paths: list[Path], out: Path | None, recipe: str, jobs: int) -> int:
    """Textual is loaded only when the dashboard is really wanted."""
    from tui.app import run_dashboard

    return run_dashboard(paths, out, recipe, jobs)


if __name__ == "__main__":
    main()
