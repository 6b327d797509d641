"""What is in work: songs, stages, chunks, speed, time left."""

from __future__ import annotations

from rich.text import Text

from engine.text import counted, duration, fit, printable
from tui.model import DashboardModel
from tui.widgets.cells import bar
from tui.widgets.panel import Panel

_STAGE, _LEAST_BAR = 11, 5  # cells for the name of the stage, and for a bar at least


class RunPanel(Panel):
    """Progress of the run, and of each song in work."""

    def on_mount(self) -> None:
        """Name the panel."""
        self.border_title = "Run"

    def show(self, library: DashboardModel | None, jobs: int = 0) -> None:
        """Show how ``library`` stands, and what a run of so many songs at a time will take on the disk."""
        self.show_text(self._describe(library, max(16, self.content_size.width), jobs))

    def _describe(self, library: DashboardModel | None, width: int, jobs: int) -> Text:
        if library is None:
            return Text("nothing is open", "faint")
        session = library.session
        if not session.running:
            counts = library.counts()
            text = f"{counts['done']} of {counted(len(library.songs), 'song')} done"
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            hint = "\nPress s to start." if counts["open"] else "\nPress r to try what failed again." if failed else ""
            needed = library.needs(jobs)
            room = f"\n{needed.briefly()}" if needed.kept else ""
            return Text.assemble(text, failed, (hint, "faint"), (room, "" if needed.fits else "error"))
        fraction, left = session.estimate.fraction(), session.estimate.time_left()
        state = "paused" if session.control.paused else "stopping…" if session.control.stopped else "all"
        whole = (bar(fraction, max(6, width - 24)), "primary")
        lines = [Text.assemble((fit(state, 9), "bold"), whole, f" {fraction:4.0%} {duration(left):>8}")]
        for current in list(library.current.values())[:4]:
            chunk = f"chunk {current.chunk}/{current.chunks}" if current.chunks else ""
            speed = f"{current.realtime:.1f}x" if current.realtime else ""
            lines.append(Text(fit(printable(current.song), width, keep_end=True).rstrip()))
            told = f" {current.fraction:4.0%}"
            for more in filter(None, (chunk, speed)):
                if len(told) + 1 + len(more) <= width - _STAGE - _LEAST_BAR:
                    told += f" {more}"
            own = (bar(current.fraction, max(_LEAST_BAR, width - _STAGE - len(told))), "primary")
            lines.append(Text.assemble((f"  {fit(current.stage, _STAGE - 3)} ", "faint"), own, (told, "faint")))
        return Text("\n").join(lines)
