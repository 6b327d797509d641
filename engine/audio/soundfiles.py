"""Opening audio files with libsndfile, whatever bytes their names are made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def open_sound(path: Path, *arguments: Any, **options: Any) -> Any:
    """``soundfile.SoundFile`` of ``path``.

    soundfile encodes names as strict UTF-8, but on POSIX a name may hold any bytes: it is given as bytes there.
    Raises what soundfile raises.
    """
    import soundfile

    name = os.fsencode(path) if os.name == "posix" else os.fspath(path)
    return soundfile.SoundFile(name, *arguments, **options)
