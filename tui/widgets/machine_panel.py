"""The machine at work: GPU, processor, memory, disk, with short histories."""

from __future__ import annotations

from collections import deque
from typing import Any

from rich.text import Text

from engine.machine.monitor import Gpu, Sample
from engine.text import fit, size
from tui.widgets.cells import bar, sparkline
from tui.widgets.panel import Panel

_HISTORY = 60
_HOT = 87


class MachinePanel(Panel):
    """Shows the latest sample."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._cpu: deque[float] = deque(maxlen=_HISTORY)
        self._gpu: deque[float] = deque(maxlen=_HISTORY)
        self._sample: Sample | None = None

    def on_mount(self) -> None:
        """Name the panel."""
        self.border_title = "Machine"

    def show(self, sample: Sample) -> None:
        """Show ``sample``."""
        self._sample = sample
        self._cpu.append(sample.cpu)
        self._gpu.append(float(sample.gpus[0].load or 0) if sample.gpus else 0.0)
        self.show_text(self.describe())

    def on_resize(self) -> None:
        """The histories take what width there is."""
        if self._sample is not None:
            self.show_text(self.describe())

    def describe(self) -> Text:
        """The latest sample in words and bars."""
        sample = self._sample
        assert sample is not None
        width = max(20, self.content_size.width)
        lines = []
        for gpu in sample.gpus[:2]:
            lines += self._gpu_lines(gpu, width)
        if not sample.gpus:
            lines.append(Text("no NVIDIA GPU", "faint"))
        spark = max(6, width - 11)
        lines.append(
            Text.assemble(("CPU ", "faint"), f"{sample.cpu:4.0f} % ", (sparkline(list(self._cpu), spark), "primary"))
        )
        used = f"{size(sample.memory_used)} / {size(sample.memory_total)}"
        lines.append(self._bar_line("RAM ", sample.memory_used / max(1, sample.memory_total), used, width))
        lines.append(Text.assemble(("Disk ", "faint"), f"{size(sample.disk_free)} free"))
        return Text("\n").join(lines)

    def _gpu_lines(self, gpu: Gpu, width: int) -> list[Text]:
        parts = []
        if gpu.temperature is not None:
            parts.append(f"{gpu.temperature} °C")
        if gpu.power is not None:
            parts.append(f"{gpu.power:.0f} W")
        heat = Text("  ".join(parts), "error" if (gpu.temperature or 0) >= _HOT else "")
        if gpu.throttled:
            heat.append(f"  slowed: {gpu.throttled}", "error")
        lines = [Text(fit(gpu.name, width).rstrip(), "bold"), heat]
        if gpu.memory_used is not None and gpu.memory_total:
            used = f"{size(gpu.memory_used)} / {size(gpu.memory_total)}"
            lines.append(self._bar_line("VRAM", gpu.memory_used / gpu.memory_total, used, width))
        if gpu.load is not None:
            spark = sparkline(list(self._gpu), max(6, width - 11))
            lines.append(Text.assemble(("GPU ", "faint"), f"{gpu.load:4.0f} % ", (spark, "primary")))
        return lines

    def _bar_line(self, name: str, fraction: float, text: str, width: int) -> Text:
        room = max(4, width - len(name) - len(text) - 3)
        return Text.assemble((f"{name} ", "faint"), (bar(fraction, room), "primary"), f" {text}")
