"""Bars and curves of block characters."""

from __future__ import annotations

BLOCKS = " ▁▂▃▄▅▆▇█"


def bar(fraction: float, width: int) -> str:
    """A bar of ``width`` cells in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + ("▏▎▍▌▋▊▉"[part - 1] if part else "")).ljust(width)


def sparkline(values: list[float], width: int, top: float = 100.0) -> str:
    """The last ``width`` values as blocks, ``top`` being a full one."""
    shown = values[-width:]
    return "".join(BLOCKS[min(8, max(0, round(8 * v / top)))] for v in shown).rjust(width)
