"""What can be listened to, and getting it ready: decoded, at the transport's rate, in stereo, on disk as float32.

Raw samples are memory-mapped files in a folder of their own: what is in use stays in memory by itself, the rest
is on disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.audio.decode import open_decoder
from engine.audio.readers import Audio, Decoder, StreamInfo
from engine.audio.resample import resample_all, resampled_length
from engine.dsp.filters import apply_fir
from engine.dsp.level_fit import Fit
from engine.dsp.mix import Mix
from engine.errors import DecodeError, OutputError, OutsideError, explain_os_error
from engine.files import remove
from engine.player.levels import LevelMeter, Levels
from engine.text import printable, size

_PREFIX = "mp3restore-player-"
_FIRST_PART = 20.0  # seconds that may be played while the rest is still being decoded; then twice as many, and so on
_FRAME_BYTES = 8  # two channels of float32
_SPARE = 1 << 30  # bytes that stay free on the disk
_SQRT_HALF = float(np.sqrt(0.5))


@dataclass(frozen=True)
class Part:
    """One file of a candidate. Variants have one; stems have one per stem, ``enhanced`` where that was made.

    ``rate`` in Hz, 0 where it is not known yet. ``fit`` is what the remix equalises this stem by, and of which of the
    two files.
    """

    name: str
    path: Path
    enhanced: Path | None = None
    rate: int = 0
    decoder: Decoder = "libsndfile"
    start: int = 0
    fit: tuple[Path, Fit] | None = None

    def fit_of(self, path: Path) -> Fit | None:
        """What the file at ``path`` is equalised by."""
        return self.fit[1] if self.fit is not None and self.fit[0] == path else None


@dataclass(frozen=True)
class Candidate:
    """Something that can be heard on the transport.

    ``key`` is the variant's name, ``title`` what the user reads, ``folder`` the folder of its variant (empty where it
    is none), ``chain`` how it was made, ``note`` what has to
    be said honestly about it, ``sha256`` its file's hash where that is known, ``missing`` why it cannot be heard
    (yet), ``warning`` what it lost of the song, where that is much.
    """

    key: str
    title: str
    parts: tuple[Part, ...] = ()
    chain: str = ""
    note: str = ""
    sha256: str = ""
    missing: str = ""
    warning: str = ""
    is_plain: bool = False
    folder: str = ""

    @property
    def has_stems(self) -> bool:
        return len(self.parts) > 1


@dataclass(frozen=True)
class Remixed:
    """A variant that is mixed of stems that can be heard: those of the candidate ``stems``, as they are or, where it
    is made of those, ``treated``. ``mix`` is the recipe's; ``further`` says that the recipe does more to the stems on
    the way, which is not to be heard."""

    variant: str
    stems: str
    treated: bool
    mix: Mix
    further: bool = False


@dataclass(frozen=True)
class ListeningSet:
    """All that there is to hear of one song. ``cutoff`` in Hz, where it is known; ``folder`` keeps what the
    listener decides about it (see :mod:`engine.library.verdicts` and :mod:`engine.library.mixes`); ``remixes`` are the
    variants that a mix of stems is kept for, ``no_stems`` says why there is nothing to mix (empty: there is)."""

    title: str
    candidates: tuple[Candidate, ...]
    folder: Path
    cutoff: float | None = None
    remixes: tuple[Remixed, ...] = ()
    no_stems: str = ""


@dataclass
class Track:
    """A loaded file: ``ready`` of ``frames`` frames lie in ``file``, float32 ``(frames, 2)``."""

    slot: int
    file: Path
    frames: int = 0
    ready: int = 0
    mono: bool = False
    levels: Levels | None = None
    error: str = ""

    @property
    def complete(self) -> bool:
        return self.levels is not None

    def samples(self) -> Audio:
        """What is ready, mapped read-only."""
        if not self.ready:
            return np.zeros((0, 2), np.float32)
        return np.memmap(self.file, np.float32, "r", shape=(self.ready, 2))


class SampleFolder:
    """A temporary folder for raw samples; those that crashed programs left behind are removed."""

    def __init__(self) -> None:
        import psutil

        for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            number = old.name.removeprefix(_PREFIX).split("-")[0]
            if number.isdigit() and not psutil.pid_exists(int(number)):
                with suppress(OSError, OutsideError):
                    remove(old, old.parent)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._count = 0

    def new_file(self) -> Path:
        """A name that was not used before."""
        self._count += 1
        return self.path / f"{self._count}.f32"

    def close(self) -> None:
        """Remove everything."""
        with suppress(OSError, OutsideError):
            remove(self.path, self.path.parent)


def probe(part: Part) -> StreamInfo:
    """Rate, channels and length of a part's file. Raises DecodeError."""
    with open_decoder(part.path, part.decoder, part.start) as decoded:
        return decoded.info


def stereo(block: Audio) -> Audio:
    """Any number of channels to two: mono to both, surround folded down (ITU-R BS.775, LFE left out)."""
    channels = block.shape[1]
    if channels == 2:
        return block
    if channels == 1:
        return np.repeat(block, 2, axis=1)
    left, right = block[:, 0].copy(), block[:, 1].copy()
    centre = block[:, 2] * _SQRT_HALF
    left, right = left + centre, right + centre
    for pair in range(4, channels - 1, 2):
        left, right = left + block[:, pair] * _SQRT_HALF, right + block[:, pair + 1] * _SQRT_HALF
    return np.stack([left, right], axis=1).astype(np.float32)


def load(
    path: Path, track: Track, rate: int, *, decoder: Decoder = "libsndfile", start: int = 0, fit: Fit | None = None,
    progress: Callable[[Track], None] | None = None, cancelled: threading.Event | None = None,
) -> None:  # fmt: skip
    """Decode ``path`` into ``track`` at ``rate`` Hz.

    ``progress`` is called when a first part can be played, and whenever twice as much can. Where libsndfile fails,
    FFmpeg is tried. ``fit`` is what it is equalised by. ``cancelled`` ends it early, with nothing complete.

    Raises:
        DecodeError: there is nothing to hear in it.
        OutputError: the samples cannot be written (no room on the disk).
    """
    try:
        _load(path, track, rate, decoder, start, fit, progress, cancelled)
    except DecodeError:
        if decoder == "ffmpeg":
            raise
        _load(path, track, rate, "ffmpeg", 0, fit, progress, cancelled)


def _load(
    path: Path, track: Track, rate: int, decoder: Decoder, start: int, fit: Fit | None,
    progress: Callable[[Track], None] | None, cancelled: threading.Event | None,
) -> None:  # fmt: skip
    meter = LevelMeter(rate)
    frames, next_part = 0, round(_FIRST_PART * rate)
    try:
        with open_decoder(path, decoder, start) as decoded, track.file.open("wb") as file:
            promised = max(0, decoded.info.frames)
            track.mono = decoded.info.channels == 1
            track.frames = resampled_length(promised, decoded.info.rate, rate)
            _need_room(track)
            taps = fit.equaliser(decoded.info.rate) if fit is not None else None
            blocks: Iterator[Audio] = map(stereo, decoded.blocks)
            blocks = blocks if taps is None else apply_fir(blocks, taps)
            for block in resample_all(blocks, decoded.info.rate, rate):
                if cancelled is not None and cancelled.is_set():
                    return
                file.write(np.ascontiguousarray(np.nan_to_num(block), np.float32).tobytes())
                meter.process(block)
                frames += len(block)
                if progress is not None and frames >= next_part:
                    file.flush()
                    track.ready, next_part = frames, 2 * frames
                    progress(track)
    except OSError as error:
        raise OutputError(explain_os_error(error, f"the samples to play (in {track.file.parent})")) from error
    if not frames:
        raise DecodeError(decoded.error or "there is no audio in it.")
    track.frames = track.ready = frames
    track.levels = meter.result()


def _need_room(track: Track) -> None:
    """Hours of sound take gigabytes, and a disk that is full harms others. Raises OutputError."""
    folder = track.file.parent
    free, needed = shutil.disk_usage(folder).free, track.frames * _FRAME_BYTES
    if needed + _SPARE > free:
        raise OutputError(
            f"Playing it takes {size(needed)} in {printable(str(folder.parent))}, where {size(free)} are free: make "
            "room there, or set TMPDIR to a folder on a larger disk."
        )


@dataclass
class Loader:
    """Loads tracks one after the other on a thread of its own; the one that is wanted most goes first."""

    rate: int
    report: Callable[[Track], None]
    _queue: list[tuple[Part, Path, Track]] = field(default_factory=list)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def add(self, part: Part, path: Path, track: Track) -> None:
        """Load ``path`` into ``track`` when its turn comes."""
        with self._lock:
            self._queue.append((part, path, track))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="player-loader", daemon=True)
                self._thread.start()

    def first(self, slots: set[int]) -> None:
        """Load these before the others."""
        with self._lock:
            self._queue.sort(key=lambda item: item[2].slot not in slots)

    def _work(self) -> None:
        while not self._cancelled.is_set():
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                part, path, track = self._queue.pop(0)
            try:
                decoder: Decoder = part.decoder if path == part.path else "libsndfile"
                load(
                    path, track, self.rate, decoder=decoder, start=part.start if path == part.path else 0,
                    fit=part.fit_of(path), progress=self.report, cancelled=self._cancelled,
                )  # fmt: skip
            except (DecodeError, OutputError) as error:
                track.error = str(error)
            except Exception as error:  # one file that nobody expected must not keep the others from loading
                track.error = f"It cannot be played ({type(error).__name__}: {error})."
            if not self._cancelled.is_set():
                self.report(track)

    def close(self) -> None:
        """Stop, and wait until no file is written any more."""
        self._cancelled.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            with suppress(RuntimeError):
                thread.join(10)
