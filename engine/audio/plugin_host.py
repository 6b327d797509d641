"""Audio plug-ins, hosted in a process of their own: a crash or a hang costs one song."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio
from engine.errors import SongError
from engine.machine.frames import PIECE
from engine.machine.warm_child import ChildGone, Pool
from engine.text import printable

_PATIENCE = 90.0  # seconds without a sign of life, after which a plug-in is given up: some take long to start
_LONGEST = 400  # characters of what a plug-in or its host says

_children = Pool("engine.audio.plugin_process")

Settings = Mapping[str, float | bool | str]  # parameters by name


def is_there() -> bool:
    """Whether the package that hosts plug-ins is installed; it is not loaded for that."""
    return importlib.util.find_spec("pedalboard") is not None


def through_plugin(
    path: Path, channels: int, plugin: Path, *, name: str = "", state: Path | None = None,
    settings: Settings | None = None, mono: bool = False, patience: float = _PATIENCE,
) -> Iterator[Audio]:  # fmt: skip
    """An audio file of ``channels`` through a plug-in: blocks of float32 ``(frames, channels)``, in step with the file
    and as long.

    Args:
        name: which of the plug-ins in the file, where there are several.
        state: what was saved of it: a preset (``.vstpreset``) or its raw state.
        settings: parameters that differ from the state, by the names that pedalboard gives them.
        mono: all channels are equal, and shall be so afterwards.
        patience: seconds that it may be silent.

    Raises:
        SongError: while iterating; the plug-in refused, crashed or hung. One sentence for the user.
    """
    request = {
        "path": os.path.abspath(path), "plugin": os.path.abspath(plugin), "name": name,
        "state": os.path.abspath(state) if state is not None else "", "settings": dict(settings or {}), "mono": mono,
    }  # fmt: skip
    shown = f"The plug-in {printable(plugin.name)}"
    try:
        with _children.borrow() as child, closing(child.ask(request, patience)) as answer:
            for frame in answer:
                if frame.kind == PIECE:
                    yield np.frombuffer(frame.payload, np.float32).reshape(-1, channels)
                elif error := str(json.loads(frame.payload)["error"]):
                    raise SongError(f"{shown} {_one_line(error)}.")
    except ChildGone as gone:
        if gone.code is None:
            raise SongError(
                f"{shown} did not answer for {patience:.0f} seconds, so it was given up: see whether it asks for "
                "something (a licence, say) in the program you know it from."
            ) from gone
        raise SongError(f"{shown} crashed on this song (code {gone.code}): go without it, or update it.") from gone


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split())).rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"
