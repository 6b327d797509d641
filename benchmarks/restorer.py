"""What the offline restorer makes of pieces whose original is known: plain decode, ``plain`` and ``learned``.

``python -m benchmarks.restorer --cost 5`` measures speed and memory with a song of five minutes;
``python -m benchmarks.restorer FOLDER [--codings 64.mp3,128.mp3]`` with a folder of pieces, each a folder with
``ref.flac`` and codings of it. One row per piece and coding:

* ``lsd``: log-spectral distance in bels over a 2048-point Hann window every 512 frames, powers below 16-bit rounding
  noise told as that noise; 0.79 is what two noises of the same spectrum differ by (the lower the better);
* ``si-sdr`` in dB (Le Roux, Wisdom, Erdogan and Hershey 2019): how much of the wave is kept;
* ``lines`` in dB: how much more the strongest bin of each stretch of the generated band stands out of its mean than in
  the original (no new tonal lines: within 3);
* ``late`` in ms: by how much attacks in the generated band come early or late, median (within 2);
* ``grain`` in dB: how much more the bins below the cutoff move in 46 ms than in the original, in the quietest third;
* ``visqol``: MOS-LQO from 1 to 5, where the package visqol-python is installed (the higher the better).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
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
from engine.commands.demo import compose
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
    grain: float
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


def lateness(reference: Audio, estimate: Audio, rate: int, cutoff: float) -> float:
    """ms by which the attacks of the band above the cutoff come early or late, median; 0 where there are none."""
    from scipy.signal import butter, sosfiltfilt

    from benchmarks.transients import half_risen, pick

    band = butter(6, min(cutoff + 300, 0.47 * rate), "high", fs=rate, output="sos")
    high, made = (sosfiltfilt(band, audio, axis=0).astype(np.float32) for audio in (reference, estimate))
    onsets = pick(high, rate)
    if not len(onsets):
        return 0.0
    return float(np.median(np.abs(half_risen(made, rate, onsets) - half_risen(high, rate, onsets)))) / rate * 1000


def moving(audio: Audio, rate: int, cutoff: float, quiet: npt.NDArray[np.bool_]) -> float:
    """dB by which the bins below the cutoff change from one spectrum to the next that shares nothing with it."""
    levels = 10 * np.log10(np.maximum(powers(audio)[..., 20 : int((cutoff - 600) * FFT / rate)], FLOOR))
    apart = FFT // HOP
    return float(np.abs(levels[:, apart:] - levels[:, :-apart])[quiet[:, apart:]].mean())


def quietest(audio: Audio, rate: int, cutoff: float) -> npt.NDArray[np.bool_]:
    """The quietest third of the moments, ``(channels, time)``."""
    loudness = np.log(np.maximum(powers(audio)[..., 20 : int((cutoff - 600) * FFT / rate)], FLOOR)).mean(axis=-1)
    return np.asarray(loudness <= np.quantile(loudness, 1 / 3))


def decoded(source: Path, folder: Path) -> tuple[Alone, Audio]:
    """A file as a stage gets it (written into ``folder``), and its samples at that rate."""
    samples, own = soundfile.read(source, dtype="float32", always_2d=True)
    rate = output_rate(own)
    heard = resample(samples, own, rate)
    place = folder / f"{source.stem}.wav"
    soundfile.write(place, heard, rate, subtype="FLOAT")
    return Alone(source, analyze(source), Signal(place, rate, heard.shape[1], len(heard), 0.0)), heard


#: How the recipes that come with the program ask for it.
AS_SHIPPED = {"plain": RestoreParams(), "learned": RestoreParams(engine="learned", pre_echo=0.5)}


def restored(song: Alone, engine: str) -> tuple[Audio, int]:
    """What an engine makes of a file, as it is shipped, and its sample rate in Hz."""
    made = Restore().run(Alone(song.source, song.analysis, song.input), AS_SHIPPED[engine])
    assert isinstance(made, Rendered)
    return np.concatenate(list(made.blocks())), made.rate


def cost(minutes: float, stage: str, folder: Path) -> tuple[float, float]:
    """(processor seconds for a second of song, MB at most) of a run that makes one song by ``stage``, or decodes it."""
    song, recipe = folder / "song.mp3", folder / "r.toml"
    if not song.is_file():
        piece = compose(20.0)
        with soundfile.SoundFile(song, "w", 44100, 2, format="MP3", compression_level=0.7) as file:
            for _ in range(round(3 * minutes)):
                file.write(piece)
    chain = '"decode"' + (f", {stage}" if stage else "")
    recipe.write_text(f"format = 1\n[variants.10_x]\nchain = [{chain}]\n")
    out = folder / f"out {abs(hash(chain))}"
    command = [sys.executable, "-m", "engine", "--no-tui", str(song), "--recipe", str(recipe), "--out", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or not any(out.rglob("*.flac")):
        raise RuntimeError("The run failed: start it by hand to see why.")
    return (used.ru_utime + used.ru_stime) / (60 * minutes), used.ru_maxrss / 1024


def print_costs(console: Console, minutes: float) -> None:
    """What each engine costs, beyond decoding and writing."""
    with tempfile.TemporaryDirectory() as folder:
        decoding, least = cost(minutes, "", Path(folder))
        console.print(f"{minutes:g} min, nothing restored: {decoding:.4f} s for a second, {least:.0f} MB at most")
        for engine, params in AS_SHIPPED.items():
            told = ", ".join(f"{name} = {json.dumps(value)}" for name, value in params.decisive().items())
            seconds, most = cost(minutes, f'{{ stage = "restore", {told} }}', Path(folder))
            speed = 1 / max(1e-9, seconds - decoding)
            console.print(f"{engine}: {speed:.0f} times real time on one core beyond that, {most:.0f} MB at most")


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
    quiet = quietest(first, rate, cutoff)
    return Figures(
        log_spectral_distance(first, second, rate),
        si_sdr(first, second),
        standing_out(second, rate, cutoff) - standing_out(first, rate, cutoff) if engine != "decode" else 0.0,
        lateness(first, second, rate, cutoff) if engine != "decode" else 0.0,
        moving(second, rate, cutoff, quiet) - moving(first, rate, cutoff, quiet),
        measure(first, second, rate) if measure is not None else float("nan"),
        seconds,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--codings", default=_CODINGS)
    parser.add_argument("--quiet", action="store_true", help="means only")
    parser.add_argument("--cost", type=float, help="instead: speed and memory, of a song of so many minutes")
    options = parser.parse_args()
    console = Console(width=160)
    if options.cost:
        print_costs(console, options.cost)
        return
    for coding in options.codings.split(","):
        table = Table(title=coding)
        engines = ("decode", "plain", "learned")
        for name in ("piece", *(f"{kind} {e}" for kind in ("lsd", "si-sdr", "visqol") for e in engines)):
            table.add_column(name, justify="left" if name == "piece" else "right")
        for name in ("grain decode", "grain", "lines", "late", "× real time"):
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
                made[0].grain,
                made[2].grain,
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
