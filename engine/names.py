"""What Windows does not take as the name of a file, so that what is made here can be kept there too."""

from __future__ import annotations

FORBIDDEN = frozenset('<>:"/\\|?*')
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"] + [f"{d}{n}" for d in ("COM", "LPT") for n in "0123456789¹²³"]
)


def is_device(name: str) -> bool:
    """Whether Windows takes a file of that name for a device, whatever its suffix."""
    return name.partition(".")[0].rstrip(" ").upper() in _DEVICES
