"""Writing the weights and the card beside them, the same bytes for the same values."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

_THEN = (1980, 1, 1, 0, 0, 0)  # the date that every entry carries, so that the file's hash tells the weights'


def write_weights(path: Path, weights: dict[str, npt.NDArray[np.float16]]) -> None:
    """An ``npz`` file that numpy reads without pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(weights):
            data = io.BytesIO()
            np.save(data, weights[name], allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy", _THEN), data.getvalue())
