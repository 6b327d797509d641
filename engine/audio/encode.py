"""FLAC of 24 or 16 bits, dithered, written under a temporary name, verified sample by sample, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.audio.readers import BLOCK, Audio
from engine.audio.soundfiles import in_words, open_sound
from engine.errors import OutputError, explain_os_error
from engine.files import file_hash, writing
from engine.text import printable

_BITS = 24
_LEVEL = 7 / 8  # libFLAC's 7 (soundfile maps 0..1 to its 0..8): 8 takes up to twice the time to save 0.2 %
_PROBE = 1 << 20  # bytes; more than libsndfile writes at once
_NEAR_FULL_SCALE = 0.9999


@dataclass(frozen=True)
class Encoded:
    """A finished FLAC file. ``gain`` is what had to be applied (in dB, <= 0) so that nothing clips."""

    path: Path
    rate: int
    channels: int
    frames: int
    size: int
    sha256: str
    gain: float


class _Overload(Exception):
    """The signal is too loud for full scale; ``args[0]`` is its peak."""


def write_flac(
    path: Path,
    blocks: Callable[[], Iterable[Audio]],
    *,
    rate: int,
    channels: int,
    frames: int,
    seed: int,
    tag: Callable[[Path], None] | None = None,
    gain: float = 0.0,
    exact: bool = False,
    bits: int = _BITS,
) -> Encoded:
    """Write the stream that ``blocks()`` gives to ``path`` with 24 or 16 ``bits``, or nothing at all.

    TPDF dither of 2 LSB peak to peak (Lipshitz, Wannamaker, Vanderkooy 1992), the same for all channels of a
    song whose channels are equal, from ``seed``: the same signal gives the same bytes. A signal beyond full
    scale is measured to its end and written again with the one gain that makes it fit. ``blocks`` may thus be
    called more than once. ``gain`` in dB is applied in any case. What is ``exact`` (whole numbers of so many bits, at
    no gain) is written without dither. ``tag`` is called with the temporary file before it is verified.

    Raises:
        OutputError: it could not be written or did not come back as written; one sentence for the user.
    """
    try:
        with writing(path) as temporary:
            return _write(path, temporary, blocks, rate, channels, frames, seed, tag, gain, exact, bits)
    except OSError as error:
        raise OutputError(_explain(error, path.parent)) from error


def _explain(error: OSError, folder: Path) -> str:
    if not folder.is_dir():
        return (
            f"The results' folder {printable(str(folder))} vanished while the result was written: see whether its "
            "drive is there, and run again."
        )
    return explain_os_error(error, "the result")


def _write(
    path: Path, temporary: Path, blocks: Callable[[], Iterable[Audio]], rate: int, channels: int, frames: int,
    seed: int, tag: Callable[[Path], None] | None, gain: float, exact: bool, bits: int,
) -> Encoded:  # fmt: skip
    factor = 10 ** (gain / 20)
    while True:
        try:
            dither = None if exact and factor == 1.0 else seed
            written = _encode(temporary, blocks(), rate, channels, frames, dither, factor, bits)
            break
        except _Overload as overload:
            factor *= _NEAR_FULL_SCALE / overload.args[0]
    if tag is not None:
        tag(temporary)
    _verify(temporary, written, rate, channels, frames)
    size, digest = temporary.stat().st_size, file_hash(temporary)
    return Encoded(path, rate, channels, frames, size, digest, float(20 * np.log10(factor)))


def _encode(
    path: Path,
    blocks: Iterable[Audio],
    rate: int,
    channels: int,
    frames: int,
    seed: int | None,
    gain: float,
    bits: int,
) -> str:
    """Encode and give the SHA-256 of the samples as written; no seed: no dither. Raises _Overload with the peak."""
    import soundfile

    need_room(path.parent, 0)
    dither = np.random.Generator(np.random.Philox(key=seed)) if seed is not None else None
    digest = hashlib.sha256()
    count, peak = 0, 0.0
    try:
        with open_sound(path, "w", rate, channels, f"PCM_{bits}", format="FLAC", compression_level=_LEVEL) as file:
            for block in _of_one_size(blocks):
                samples = block * np.float32(gain)
                peak = max(peak, float(np.abs(samples).max()))
                if peak >= 1.0:
                    continue  # measure on to the end
                integers = quantise(samples, dither, bits)
                digest.update(integers.tobytes())
                file.write(integers)
                count += len(samples)
    except (soundfile.SoundFileError, AssertionError) as error:
        ask_disk(path)
        raise OutputError(
            f"The result could not be encoded ({in_words(error)}): check the disk it is written to."
        ) from error
    if peak >= 1.0:
        raise _Overload(peak)
    if count != frames:
        raise OutputError(f"The result has {count} frames instead of {frames}: please report this as a bug.")
    return digest.hexdigest()


def _of_one_size(blocks: Iterable[Audio]) -> Iterator[Audio]:
    """The stream in blocks of BLOCK frames, so that the dither does not depend on how it was cut."""
    held: list[Audio] = []
    count = 0
    for block in blocks:
        if not np.isfinite(block).all():
            raise OutputError("The result holds samples that are not numbers: please report this as a bug.")
        held.append(block)
        count += len(block)
        if count >= BLOCK:
            joined = np.concatenate(held)
            whole = count // BLOCK * BLOCK
            yield from np.split(joined[:whole], whole // BLOCK)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def quantise(
    samples: Audio, dither: np.random.Generator | None = None, bits: int = _BITS
) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """float32 to left-justified integers of so many bits; what is beyond full scale is clipped."""
    full = float(1 << (bits - 1))
    scaled = samples.astype(np.float64) * full
    if dither is not None:
        scaled += _noise(samples, dither)
    return np.clip(np.round(scaled), -full, full - 1).astype(np.int32) << (32 - bits)


def _noise(samples: Audio, dither: np.random.Generator) -> Audio:
    """TPDF noise of 2 LSB for ``samples``, one for all channels where these are equal."""
    noise = dither.random(len(samples), np.float32)[:, None] - dither.random(len(samples), np.float32)[:, None]
    if not (samples == samples[:, :1]).all():
        others = (len(samples), samples.shape[1] - 1)
        rest = dither.random(others, np.float32) - dither.random(others, np.float32)
        noise = np.concatenate([noise, rest], axis=1)
    return noise


def _verify(path: Path, written: str, rate: int, channels: int, frames: int) -> None:
    """Decode what was written and compare every sample."""
    import soundfile

    digest = hashlib.sha256()
    try:
        with open_sound(path) as file:
            same = (file.samplerate, file.channels, file.frames) == (rate, channels, frames)
            while len(block := file.read(BLOCK, dtype="int32", always_2d=True)):
                digest.update(block.tobytes())
    except soundfile.SoundFileError:
        same = False
    if not same or digest.hexdigest() != written or (frames and not _is_closed(path)):
        ask_disk(path)
        raise OutputError("The result did not read back as it was written: check the disk and run again.")


def _is_closed(path: Path) -> bool:
    """Whether the encoder wrote what it only knows at its end, the sizes of frames and the MD5: where the disk refuses
    just that, libsndfile says nothing."""
    with path.open("rb") as file:
        head = file.read(42)
    return any(head[12:15]) and any(head[15:18]) and any(head[26:42])


def ask_disk(path: Path) -> None:
    """Where libsndfile only knows that something is wrong, the disk says what. Raises OSError, or nothing."""
    with path.open("ab") as file:
        file.write(bytes(_PROBE))
        file.flush()
        os.fsync(file.fileno())


def need_room(folder: Path, size: int) -> None:
    """Raise OutputError where ``folder``'s disk has no room for ``size`` bytes and some reserve."""
    free = shutil.disk_usage(folder).free
    if free < size + (0 if size else 1 << 20):
        raise OutputError("The disk is full, so the result could not be written: free some space and run again.")
