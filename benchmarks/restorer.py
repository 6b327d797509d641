"""What the offline restorer makes of pieces whose original is known: plain decode, ``plain`` and ``learned``.

``python -m benchmarks.restorer FOLDER [--codings 64.mp3,128.mp3]`` with a folder of pieces, each a folder with
``ref.flac`` and codings of it. One row per piece and coding:

* ``lsd``: log-spectral distance in bels over a 2048-point Hann window every 512 frames, powers below 16-bit rounding
  noise told as that noise; 0.79 is what two noises of the same spectrum differ by (the lower the better);
* ``si-sdr`` in dB (Le Roux, Wisdom, Erdogan and Hershey 2019): how much of the wave is kept;
* ``lines`` in dB: how much more the strongest bin of each stretch of the generated band stands out of its mean than in
  the original (no new tonal lines: within 3);
* ``late`` in ms: lag at which the loudness of the generated band follows the original's best (within 2);
* ``visqol``: MOS-LQO from 1 to 5, where the package visqol-python is installed (the higher the better).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from rich.console import Console
from rich.table import Table

from engine.analysis.song import SongAnalysis, analyze
from engine.audio.readers import Audio
from engine.audio.resample import output_rate, resample
from engine.compare.metrics import FLOOR, log_spectral_distance, si_sdr
from engine.compare.original import model_of_listeners
from engine.dsp.spectrum import FFT, HANN, HOP
from engine.signals import MIX
from engine.stages.base import Rendered, Signal
from engine.stages.restore import Restore, RestoreParams

_CODINGS = "64.mp3,96.mp3,128.mp3,192.mp3,V5.mp3,codec.flac"
_STRETCH = 64  # bins over which a line stands out


@dataclass
class Alone:
    """A stage's context for one file, without a run."""

    source: Path
    analysis: SongAnalysis
    input: Signal
    seed: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.cutoff = self.analysis.cutoff.hz
        self.inputs = {MIX: self.input}
        self.warnings: list[str] = []
        self._chunks: dict[int, Audio] = {}

    def checkpoint(self) -> None:
        """Nothing to wait for."""

    def progress(self, done: int, of: int, *, reused: bool = False) -> None:
        """Nobody to tell."""

    def fraction(self, done: float) -> None:
        """Nobody to tell."""

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)

    def together(self, wanted: int) -> int:
        """As many as are wanted."""
        return wanted

    def load_chunk(self, index: int, shape: tuple[int, int]) -> Audio | None:
        """From memory."""
        return self._chunks.get(index)

    def save_chunk(self, index: int, chunk: Audio) -> None:
        """In memory."""
        self._chunks[index] = chunk


@dataclass(frozen=True)
class Figures:
    """Of one estimate; see the head of this file."""

    lsd: float
    sdr: float
    lines: float
    late: float
    visqol: float
    seconds: float


def powers(audio: Audio) -> npt.NDArray[np.float64]:
    """``(channels, time, bins)`` of ``(frames, channels)``, without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(np.ascontiguousarray(audio.T, np.float32), FFT, axis=1)[:, ::HOP]
    return np.abs(np.fft.rfft(windows * HANN, axis=-1)) ** 2


def standing_out(audio: Audio, rate: int, cutoff: float) -> float:
    """dB by which the strongest bin stands out of its stretch above the cutoff, median over time and stretches."""
    above = powers(audio)[..., int(cutoff * FFT / rate) + 8 : int(21000 * FFT / rate)]
    count = above.shape[-1] // _STRETCH
    if not count:
        return 0.0
    stretches = above[..., : count * _STRETCH].reshape(*above.shape[:-1], count, _STRETCH)
    mean = stretches.mean(axis=-1)
    heard = mean > 4 * FLOOR
    return float(np.median(10 * np.log10(stretches.max(axis=-1)[heard] / mean[heard]))) if heard.any() else 0.0


def lag(reference: Audio, estimate: Audio, rate: int, cutoff: float) -> float:
    """ms by which the loudness of the band above the cutoff comes late."""
    from scipy.signal import butter, correlate, sosfiltfilt

    band = butter(6, min(cutoff + 300, 0.47 * rate), "high", fs=rate, output="sos")
    step = rate // 2000
    loudness = []
    for audio in (reference, estimate):
        high = np.abs(sosfiltfilt(band, audio.mean(axis=1)))
        smooth = high[: len(high) // step * step].reshape(-1, step).mean(axis=1)
        loudness.append(np.diff(np.sqrt(smooth)))
    if min(float(np.abs(values).max(initial=0)) for values in loudness) < 1e-6:
        return 0.0
    reach = 40
    values = correlate(loudness[1], loudness[0], "full")
    middle = len(loudness[0]) - 1
    return float((int(np.argmax(values[middle - reach : middle + reach + 1])) - reach) * step / rate * 1000)


def decoded(source: Path, folder: Path) -> tuple[Alone, Audio]:
    """A file as a stage gets it (written into ``folder``), and its samples at that rate."""
    samples, own = soundfile.read(source, dtype="float32", always_2d=True)
    rate = output_rate(own)
    heard = resample(samples, own, rate)
    place = folder / f"{source.stem}.wav"
    soundfile.write(place, heard, rate, subtype="FLOAT")
    return Alone(source, analyze(source), Signal(place, rate, heard.shape[1], len(heard), 0.0)), heard


def restored(song: Alone, engine: str) -> tuple[Audio, int]:
    """What an engine makes of a file, and its sample rate in Hz."""
    made = Restore().run(Alone(song.source, song.analysis, song.input), RestoreParams(engine=engine))
    assert isinstance(made, Rendered)
    return np.concatenate(list(made.blocks())), made.rate


def figures(reference: Audio, rate: int, song: Alone, heard: Audio, engine: str) -> Figures:
    """Of one engine on one coding, of which ``heard`` are the samples as they are decoded."""
    started = time.process_time()
    audio, own = (heard, song.input.rate) if engine == "decode" else restored(song, engine)
    seconds = time.process_time() - started
    estimate = resample(audio, own, rate)
    count = min(len(reference), len(estimate))
    first, second = reference[:count], estimate[:count]
    cutoff = song.cutoff or rate / 2
    measure = model_of_listeners()
    return Figures(
        log_spectral_distance(first, second, rate),
        si_sdr(first, second),
        standing_out(second, rate, cutoff) - standing_out(first, rate, cutoff) if engine != "decode" else 0.0,
        lag(first, second, rate, cutoff) if engine != "decode" else 0.0,
        measure(first, second, rate) if measure is not None else float("nan"),
        seconds,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--codings", default=_CODINGS)
    parser.add_argument("--quiet", action="store_true", help="means only")
    options = parser.parse_args()
    console = Console(width=160)
    for coding in options.codings.split(","):
        table = Table(title=coding)
        engines = ("decode", "plain", "learned")
        for name in ("piece", *(f"{kind} {e}" for kind in ("lsd", "si-sdr", "visqol") for e in engines)):
            table.add_column(name, justify="left" if name == "piece" else "right")
        for name in ("lines", "late", "× real time"):
            table.add_column(name, justify="right")
        rows = []
        for path in sorted(options.folder.glob(f"*/{coding}")):
            reference, rate = soundfile.read(path.parent / "ref.flac", dtype="float32", always_2d=True)
            with tempfile.TemporaryDirectory() as folder:
                song, heard = decoded(path, Path(folder))
                made = [figures(reference, rate, song, heard, engine) for engine in engines]
            speed = len(reference) / rate / max(1e-9, made[2].seconds)
            row = [
                *(m.lsd for m in made),
                *(m.sdr for m in made),
                *(m.visqol for m in made),
                made[2].lines,
                made[2].late,
                speed,
            ]
            rows.append(row)
            if not options.quiet:
                table.add_row(path.parent.name, *(f"{value:.2f}" for value in row))
        if rows:
            table.add_row("mean", *(f"{value:.2f}" for value in np.array(rows).mean(axis=0)), style="bold")
            console.print(table)


if __name__ == "__main__":
    main()
