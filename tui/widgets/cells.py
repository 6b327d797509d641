"""Text cut or padded to terminal cells (a character of 日本 takes two, a combining mark none)."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

BLOCKS = " ▁▂▃▄▅▆▇█"


def fit(text: str, width: int, *, right: bool = False, keep_end: bool = False) -> str:
    """``text`` in exactly ``width`` cells, with … where something was cut off: at the end, or in the middle."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        if not keep_end:
            return set_cell_size(text, width - 1) + "…"
        head = set_cell_size(text, (width - 1) // 3).rstrip()  # the end tells more: a title after its folders
        tail = text
        while cell_len(tail) > width - 1 - cell_len(head):
            tail = tail[1:]
        return fit(f"{head}…{tail}", width)
    padding = " " * (width - length)
    return padding + text if right else text + padding


def bar(fraction: float, width: int) -> str:
    """A bar of ``width`` cells in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + ("▏▎▍▌▋▊▉"[part - 1] if part else "")).ljust(width)


def sparkline(values: list[float], width: int, top: float = 100.0) -> str:
    """The last ``width`` values as blocks, ``top`` being a full one."""
    shown = values[-width:]
    return "".join(BLOCKS[min(8, max(0, round(8 * v / top)))] for v in shown).rjust(width)
