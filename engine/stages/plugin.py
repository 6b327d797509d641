"""Plug-in: a VST3 (on a Mac also an Audio Unit) of the user's own as a stage, such as a mastering suite as the last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.audio import plugin_host
from engine.audio.readers import Audio
from engine.errors import NotPossibleError, SongError, UsageError
from engine.files import absolute, file_hash
from engine.stages.base import Context, Params, Rendered, Stage, parameter, watched
from engine.stages.named_files import content_of
from engine.text import printable

_MOST_CHANNELS = 2
_FOLDERS = (".vst3", ".component")  # plug-ins that are folders


@dataclass(frozen=True)
class PluginParams(Params):
    path: str = parameter("", "the plug-in: the path of its .vst3 (or, on a Mac, .component)")
    name: str = parameter("", "which of the plug-ins in it, where there are several")
    state: str = parameter(
        "", "path of a preset (.vstpreset) or of the raw state that a host saved; empty: as it starts"
    )
    settings: str = parameter("", "parameters that differ from that, such as 'threshold_db = -6; release_ms = 50'")

    def __post_init__(self) -> None:
        super().__post_init__()
        settings_in(self.settings)


def settings_in(text: str) -> dict[str, float | bool | str]:
    """``a = 1; b = true; c = Warm`` as values by name. Raises UsageError."""
    found: dict[str, float | bool | str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (equals and name and value):
            raise UsageError(f"settings must be like 'threshold_db = -6; release_ms = 50', not {part!r}.")
        found[name] = _value(value)
    return found


def _value(text: str) -> float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


class Plugin(Stage):
    """Runs in a process of its own. Its lateness, as far as it tells it, is taken out."""

    name = "plugin"
    title = "Plug-in"
    cost = 0.1
    sets_loudness = True
    Parameters = PluginParams

    def title_of(self, params: PluginParams) -> str:
        return f"{self.title} {printable(params.name or Path(params.path).stem)}".rstrip()

    def unavailable_reason(self, params: PluginParams) -> str:
        if not plugin_host.is_there():
            return (
                "Plug-ins need their host, which is not installed: run 'pip install pedalboard' (a package under the "
                "GPLv3) in the program's environment."
            )
        return super().unavailable_reason(params)

    def fingerprint(self, params: PluginParams) -> dict[str, str]:
        """The plug-in and its state by their bytes, wherever they lie. Raises NotPossibleError: one is not there."""
        found = {"plugin": _hash_of(params.path, "plug-in", "its .vst3")}
        if params.state:
            found["state"] = _hash_of(params.state, "plug-in's state", "a preset, or none")
        return found

    def run(self, context: Context, params: PluginParams) -> Rendered:
        signal = context.input
        if signal.channels > _MOST_CHANNELS:
            raise SongError(f"Plug-ins work on stereo, and this song has {signal.channels} channels: go without it.")
        state = absolute(params.state) if params.state else None
        settings = settings_in(params.settings)

        def blocks() -> Iterator[Audio]:
            made = plugin_host.through_plugin(
                signal.path, signal.channels, absolute(params.path), name=params.name, state=state, settings=settings,
                mono=context.analysis.exact_mono,
            )  # fmt: skip
            return watched(context, made, signal.frames)

        return Rendered(
            signal.rate, signal.channels, signal.frames, blocks,
            note=f"through the plug-in {printable(params.name or Path(params.path).stem)}",
        )  # fmt: skip


def _hash_of(path: str, what: str, instead: str) -> str:
    """SHA-256 of a file, or of all files of a folder (plug-ins are). Raises NotPossibleError."""
    if not path:
        raise NotPossibleError(f"No {what} is given: give the path of {instead} in the recipe.")
    missing = f"The {what} {printable(path)} is not there: give the path of {instead}."
    return content_of(path, _hash_at, missing)


def _hash_at(path: Path) -> str:
    """What is in it; where only something deep within a folder changes, that is seen by the next session."""
    if path.is_file():
        return file_hash(path)
    if path.suffix.lower() not in _FOLDERS:
        raise NotADirectoryError(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    told = [f"{file.relative_to(path).as_posix()} {file_hash(file)}" for file in files]
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()
