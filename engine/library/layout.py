"""Where everything of a song lies in the output tree."""

from __future__ import annotations

import hashlib
import os

_NAME_BYTES = 220  # of 255, so that suffixes and temporary names fit


def fitting_name(stem: str) -> str:
    """``stem``, shortened where no suffix would fit behind it any more; replaced where Windows forbids it."""
    if os.name == "nt":
        stem = "".join("_" if c in '<>:"/\\|?*' or c < " " else c for c in stem).rstrip(". ") or "_"
    if len(os.fsencode(stem)) <= _NAME_BYTES:
        return stem
    mark = "~" + hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
    while len(os.fsencode(stem)) > _NAME_BYTES - len(mark):
        stem = stem[:-1]
    return stem + mark
