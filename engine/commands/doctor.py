"""What this machine has, and what to do about what is missing."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine import __version__
from engine.commands import setup
from engine.machine import gpu_probe, monitor
from engine.models import deepfilternet
from engine.models.runtime import device as devices
from engine.models.runtime.cards import cards
from engine.models.separators import best
from engine.text import size

Verdict = Literal["ok", "note", "problem"]
_LITTLE_DISK = 5_000_000_000


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``advice`` is empty where there is nothing to do."""

    topic: str
    verdict: Verdict
    text: str
    advice: str = ""


def examine(folder: Path) -> list[Finding]:
    """Look at everything; ``folder`` is where results would go. Never raises."""
    checks: list[Callable[[], Finding]] = [
        _program, _machine, _libsndfile, _ffmpeg, _deepfilternet, _gpu, _torch, _models, _stems, _audio,
        lambda: _disk(folder),
    ]  # fmt: skip
    return [_safely(check) for check in checks]


def _safely(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # a broken installation can fail in any way, and that is what is asked for
        name = getattr(check, "__name__", "disk").strip("_<>")
        return Finding(name, "problem", f"{type(error).__name__}: {error}", "Reinstall mp3restore.")


def _program() -> Finding:
    text = f"{__version__} on Python {platform.python_version()}"
    return Finding("mp3restore", "ok", text)


def _machine() -> Finding:
    free, total = monitor.memory()
    return Finding("machine", "ok", f"{monitor.system()}, {size(free)} of {size(total)} memory free")


def _libsndfile() -> Finding:
    import soundfile

    version = soundfile.__libsndfile_version__
    if "MP3" not in soundfile.available_formats():
        return Finding("libsndfile", "problem", f"{version}, without MP3", "Run 'pip install -U soundfile'.")
    return Finding("libsndfile", "ok", f"{version}, reads and writes MP3")


def _ffmpeg() -> Finding:
    import av

    version = ".".join(map(str, av.library_versions["libavcodec"]))
    return Finding("FFmpeg", "ok", f"libavcodec {version}, for damaged files (through PyAV {av.__version__})")


def _deepfilternet() -> Finding:
    why = deepfilternet.unavailable_reason()
    if why:
        return Finding("DeepFilterNet", "note", "not installed", why)
    return Finding("DeepFilterNet", "ok", deepfilternet.fingerprint().split(":")[0])


def _gpu() -> Finding:
    machine = monitor.Machine(Path())
    found = machine.gpus()
    if not found:
        return Finding("GPU", "ok", "no NVIDIA GPU; models run on the processor, the large ones slowly")
    names = [f"{g.name} ({size(g.memory_total)})" if g.memory_total else g.name for g in found]
    return Finding("GPU", "ok", f"{', '.join(names)}, driver {machine.driver()}")


def _torch() -> Finding:
    found, has_gpu = gpu_probe.prove(), bool(monitor.Machine(Path()).gpus())
    advice = f"Run '{setup.COMMAND}' (or M, then i): it brings the build that fits{' your GPU' if has_gpu else ''}."
    if found is None:
        return Finding("PyTorch", "note", "not installed; the offline recipe works without", advice)
    if not found.works:
        return Finding("PyTorch", "problem", f"{found.version} does not work: {found.problem}".lstrip(), advice)
    if has_gpu and found.build == "cpu":
        return Finding("PyTorch", "problem", f"{found.version} is a build for the processor alone", advice)
    if has_gpu and found.device == "cpu":
        return Finding("PyTorch", "problem", f"{found.version} does not find the GPU", advice)
    if missing := setup.missing():
        return Finding("PyTorch", "note", f"{found.version}, but models need {', '.join(missing)} too", advice)
    return Finding("PyTorch", "ok", f"{found.version}, models run on {found.name}")


def _models() -> Finding:
    missing = [card.name for card in cards() if card.can_be_fetched and card.state(thoroughly=False) == "missing"]
    if missing:
        return Finding("models", "note", f"not here: {'; '.join(missing)}", "See 'mp3restore models list'.")
    return Finding("models", "ok", "all here")


def _stems() -> Finding:
    found = best(devices.likely() != "cpu")
    if found is None:
        advice = "Run 'mp3restore models get spleeter-2stems' (73 MB, no PyTorch, quick on any processor)."
        return Finding("stems", "note", "nothing is here that takes songs apart", advice)
    return Finding("stems", "ok", f"songs are taken apart by {found.title}, the best that is here and fits")


def _audio() -> Finding:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        system = platform.system()
        advice = "Run 'apt install libportaudio2' (or your system's package of PortAudio)." if system == "Linux" else ""
        return Finding("sound", "note", f"PortAudio is missing ({error})", advice)
    try:
        device = sounddevice.query_devices(kind="output")
    except (sounddevice.PortAudioError, ValueError):
        return Finding("sound", "note", "no output device", "Results can be made all the same, and heard elsewhere.")
    return Finding("sound", "ok", str(device["name"]))


def _disk(folder: Path) -> Finding:
    free = monitor.free_disk(folder)
    text = f"{size(free)} free for results"
    if free < _LITTLE_DISK:
        return Finding(
            "disk",
            "note",
            text,
            "An hour of music takes about 0.6 GB in every variant: choose another disk with --out.",
        )
    return Finding("disk", "ok", text)
