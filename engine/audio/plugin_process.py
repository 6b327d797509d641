"""The process that hosts audio plug-ins: ``python -m engine.audio.plugin_process`` (see :mod:`engine.machine`).

Plug-ins are other people's machine code: one that crashes, hangs or prints ends or holds this process and costs one
song. pedalboard, which hosts them, is under the GPL; it is only ever imported here.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio.readers import BLOCK, Audio
from engine.audio.soundfiles import open_sound
from engine.machine.answering import Conversation, Stopped, private_pipes

_AT_ONCE = 1024  # frames that a plug-in is given at a time, whatever the size of our blocks
_LATEST = 10.0  # seconds of silence after which a plug-in must have given back what it took
_MOST_TOLD = 30  # names of parameters
_PRESETS = (".vstpreset", ".fxp", ".aupreset")


class _Refused(Exception):
    """The plug-in cannot do what is asked; the message goes on "The plug-in …"."""


def _process(talk: Conversation, request: dict[str, Any]) -> None:
    """The file at ``path`` through the plug-in: blocks of float32, interleaved, as many frames as it has."""
    with open_sound(Path(request["path"])) as file:
        frames, rate, channels = file.frames, file.samplerate, file.channels
        plugin = _loaded(request)
        alone = channels == 1 or request["mono"]  # plug-ins for masters want two channels
        sent = 0
        for block in _through(plugin, _read(file, alone), rate, frames):
            own = np.repeat(block.mean(axis=1, keepdims=True), channels, axis=1) if alone else block
            own = own[: frames - sent]
            sent += len(own)
            talk.piece(np.ascontiguousarray(own, np.float32).tobytes())


def _loaded(request: dict[str, Any]) -> Any:
    """The plug-in as it is to be: its state first, then the parameters that are named."""
    import pedalboard

    path, state = request["plugin"], request["state"]
    try:
        plugin = pedalboard.load_plugin(path, plugin_name=request["name"] or None)
    except (ImportError, ValueError) as error:
        raise _Refused(f"could not be loaded: {error}") from error
    if not plugin.is_effect:
        raise _Refused("is an instrument, not an effect: choose another one")
    if state:
        try:
            if Path(state).suffix.lower() in _PRESETS:
                plugin.load_preset(state)
            else:
                plugin.raw_state = Path(state).read_bytes()
        except (RuntimeError, ValueError, OSError) as error:
            raise _Refused(f"does not take its state from {state}: {error}") from error
    for name, value in request["settings"].items():
        _set(plugin, name, value)
    plugin.reset()
    return plugin


def _set(plugin: Any, name: str, value: float | bool | str) -> None:
    if name not in plugin.parameters:
        told = [f"{known} {one.range}" for known, one in list(plugin.parameters.items())[:_MOST_TOLD]]
        raise _Refused(f"has no parameter '{name}'; it has {', '.join(told) or 'none'}")
    try:
        setattr(plugin, name, value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise _Refused(f"does not take {name} = {value}: {error}") from error


def _read(file: Any, alone: bool) -> Iterator[Audio]:
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        yield np.repeat(block[:, :1], 2, axis=1) if alone else block


def _through(plugin: Any, blocks: Iterator[Audio], rate: int, frames: int) -> Iterator[Audio]:
    """What the plug-in makes of the blocks, ``frames`` at least.

    pedalboard leaves out at the start what the plug-in says that it is late; at the end, silence brings out the rest.
    """
    got = 0
    for block in blocks:
        made = _made(plugin, block, rate)
        got += len(made)
        yield made
    silence = np.zeros((_AT_ONCE, 2), np.float32)
    for _ in range(int(_LATEST * rate / _AT_ONCE) + 1):
        if got >= frames:
            return
        made = _made(plugin, silence, rate)
        got += len(made)
        yield made
    raise _Refused("does not give back all of the song")


def _made(plugin: Any, block: Audio, rate: int) -> Audio:
    try:
        made = plugin.process(np.ascontiguousarray(block.T), rate, buffer_size=_AT_ONCE, reset=False)
    except (ValueError, RuntimeError) as error:
        raise _Refused(f"does not work on this song: {error}") from error
    made = np.asarray(made, np.float32).reshape(block.shape[1], -1).T
    if not np.isfinite(made).all():
        raise _Refused("gives samples that are not numbers")
    return made


def main() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    talk = Conversation(*private_pipes())
    for request in talk.requests():
        try:
            _process(talk, request)
            talk.end(error="")
        except Stopped:
            talk.end(error="")
        except _Refused as refused:
            talk.end(error=str(refused))
        except Exception as error:  # whatever else a plug-in and its host may raise
            talk.end(error=f"failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
