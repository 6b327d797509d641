"""The AI models on this machine's GPU: speed, memory, equality, lack of memory, resuming. ``python -m benchmarks.gpu``.

Random weights of full size, nothing is downloaded, under eight minutes: every section has a share of the time, what it
leaves goes to the next, and what does not fit is said to be not measured. The table is printed and written to
``docs/measured.md``, into the section of this device. ``--device cpu --tiny`` runs the same with tiny models anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import random_models
from engine.audio.readers import Audio
from engine.commands.demo import compose
from engine.machine import measurements, monitor
from engine.models import apollo, audiosr, demucs, hifigan_bwe
from engine.models.audiosr import Extender, NoiseField, Piece
from engine.models.runtime import device as devices
from engine.models.separators import SEPARATORS
from engine.text import size

REPORT = Path(__file__).resolve().parents[1] / "docs" / "measured.md"
NOT_MEASURED = "not measured: out of time"
_STEREO_MINUTE = 60.0
_PRECISIONS = ("fp32", "fp16", "bf16")


Tell = Callable[[str], None]


def _nothing(_: Any) -> None:
    pass


@cache
def _sound(frames: int) -> Audio:
    """Stereo, peaks about a half."""
    piece = compose(8.0)
    audio = np.tile(piece, (-(-frames // len(piece)), 1))[:frames].astype(np.float32)
    return audio * np.float32(0.5 / np.abs(audio).max())


@dataclass(frozen=True)
class Row:
    """A line of the table. ``peak`` in bytes above what the model itself takes; 0 where the device does not tell."""

    part: str
    setting: str
    result: str
    peak: float = 0.0


@dataclass
class Bench:
    """What all sections share. ``costs`` are the bytes that one item of a model was seen to take on the GPU."""

    device: str
    tiny: bool
    folder: Path
    section_end: float = 0.0
    costs: dict[str, float] = field(default_factory=dict)

    def fits(self, seconds: float) -> bool:
        """Whether something of about ``seconds`` is done before this section's time is over."""
        return time.monotonic() + seconds < self.section_end

    @property
    def steps(self) -> tuple[int, ...]:
        """Of AudioSR's sampler."""
        return (4, 2) if self.tiny else (50, 20)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Half precision on processors is of no interest, and slow."""
        return _PRECISIONS if self.device == "cuda" else ("fp32",)

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float, float]:
        """(result, seconds, bytes at the worst above what was allocated before)."""
        if self.device != "cuda":
            began = time.perf_counter()
            return work(), time.perf_counter() - began, 0.0
        import torch

        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        made = work()
        torch.cuda.synchronize()
        return made, time.perf_counter() - began, float(torch.cuda.max_memory_allocated() - before)

    # --- what is measured ---

    @property
    def piece(self) -> float:
        """Seconds that AudioSR is given at a time."""
        return audiosr.PIECE / audiosr.RATE

    @property
    def window(self) -> float:
        """Seconds of Apollo's windows."""
        return 2.0 if self.tiny else 8.0

    @property
    def song(self) -> float:
        """Seconds that the other two are given."""
        return 2.0 if self.tiny else 16.0

    def extend(self, device: str, pieces: int, steps: int, precision: str = "fp32", tell: Tell = _nothing) -> Audio:
        """AudioSR, ``pieces`` at once."""
        from engine.models.audiosr.network import Sampling

        audio = _sound(audiosr.PIECE)
        extender = Extender("basic", device, 12_000.0, NoiseField(1), Sampling(steps), precision, tell)
        places = [Piece(audio, n * audiosr.PIECE // audiosr.LATENT) for n in range(pieces)]
        return np.concatenate(extender.extend(places, _nothing))

    def restore(self, device: str, windows: int, precision: str = "fp32", tell: Tell = _nothing) -> Audio:
        """Apollo, ``windows`` at once."""
        audio = _sound(int(self.window * apollo.RATE))
        return np.concatenate(apollo.restore([audio] * windows, device, precision, tell))

    def bandwidth(self, device: str) -> Audio:
        """HiFi-GAN BWE."""
        return hifigan_bwe.extend(_sound(int(self.song * hifigan_bwe.RATE)), device)

    def separate(self, device: str) -> Audio:
        """Demucs, chunk by chunk, as many at once as fit."""
        separator = SEPARATORS["htdemucs"]
        size, edges = separator.geometry.size, 2 * separator.geometry.context
        audio = _sound(int(self.song * demucs.RATE))
        windows = [audio[at : at + size + edges] for at in range(0, len(audio) - edges, size)]
        work, most = separator.prepare(lambda: [audio], device, _nothing), separator.batch(device)
        return np.concatenate([one for n in range(0, len(windows), most) for one in work(windows[n : n + most])])

    def each(self) -> dict[str, Callable[[str], Audio]]:
        """Every model by its name: a short piece of work on a device."""
        return {
            "Apollo": lambda device: self.restore(device, 1), "HiFi-GAN BWE": self.bandwidth, "Demucs": self.separate,
            "AudioSR": lambda device: self.extend(device, 1, 2),
        }  # fmt: skip


def _difference(made: Audio, reference: Audio) -> str:
    share = float(np.linalg.norm(made - reference) / max(float(np.linalg.norm(reference)), 1e-12))
    return f"{share:.1e} off"


def _per_minute(seconds: float, of: float) -> str:
    return f"{seconds * _STEREO_MINUTE / of:.3g} s per minute of stereo"


# --- sections ------------------------------------------------------------------------------------------------


def loading(bench: Bench) -> Iterator[Row]:
    """From the file to the device, and all that is done once."""
    last = 0.0
    for name, work in bench.each().items():
        if not bench.fits(last):
            yield Row(name, "load and first use", NOT_MEASURED)
            continue
        devices.unload_all()
        _, first, _ = bench.timed(partial(work, bench.device))
        _, again, _ = bench.timed(partial(work, bench.device))
        last, held = first + again, ""
        if bench.device == "cuda":
            import torch

            held = f", {size(torch.cuda.memory_allocated())} held"
        yield Row(name, "load and first use", f"{max(0.0, first - again):.2f} s more than later{held}")


def audiosr_speed(bench: Bench) -> Iterator[Row]:
    """50 and 20 steps in every precision, one stereo piece at a time; how far half precision is from single."""
    per_step = 0.0
    exact: dict[int, Audio] = {}
    for precision in bench.precisions:
        for steps in bench.steps:
            setting = f"{steps} steps, {precision}"
            if not bench.fits(per_step * steps):
                yield Row("AudioSR", setting, NOT_MEASURED)
                continue
            if steps == bench.steps[0]:
                bench.extend(bench.device, 1, 2, precision)  # what is done once is not what is measured
            made, seconds, peak = bench.timed(partial(bench.extend, bench.device, 1, steps, precision))
            per_step, off = seconds / steps, ""
            if precision == "fp32":
                exact[steps], bench.costs["AudioSR"] = made, peak
            elif steps in exact:
                off = f", {_difference(made, exact[steps])} fp32"
            yield Row("AudioSR", setting, _per_minute(seconds, bench.piece) + off, peak)


def audiosr_batches(bench: Bench) -> Iterator[Row]:
    """What more pieces at once bring, and take; until memory runs out."""
    steps, precision = (2 if bench.tiny else 5), bench.precisions[-1]
    last, count, told = 0.0, 1, list[str]()
    while not told and count <= (2 if bench.tiny else 16):
        setting = f"batch of {count}, {steps} steps, {precision}"
        if not bench.fits(2.2 * last):
            yield Row("AudioSR", setting, NOT_MEASURED)
            return
        _, last, peak = bench.timed(partial(bench.extend, bench.device, count, steps, precision, told.append))
        yield Row("AudioSR", setting, "; ".join([_per_minute(last, count * bench.piece), *told[:1]]), peak)
        count *= 2


def others_speed(bench: Bench) -> Iterator[Row]:
    """Apollo in every precision, one and some at once; HiFi-GAN BWE and Demucs."""
    last, many = 0.0, 2 if bench.tiny else 8
    exact: Audio | None = None
    for precision in bench.precisions:
        for count in (1, many):
            setting = f"{count} at once, {precision}"
            if not bench.fits(last * many):
                yield Row("Apollo", setting, NOT_MEASURED)
                continue
            if count == 1:
                bench.restore(bench.device, 1, precision)
            made, last, peak = bench.timed(partial(bench.restore, bench.device, count, precision))
            last, off = last / count, ""
            if count == 1 and precision == "fp32":
                exact, bench.costs["Apollo"] = made, peak
            elif count == 1 and exact is not None:
                off = f", {_difference(made, exact)} fp32"
            yield Row("Apollo", setting, _per_minute(last, bench.window) + off, peak)
    for name, work in (("HiFi-GAN BWE", bench.bandwidth), ("Demucs", bench.separate)):
        if not bench.fits(0):
            yield Row(name, "fp32", NOT_MEASURED)
            continue
        work(bench.device)
        _, seconds, peak = bench.timed(partial(work, bench.device))
        yield Row(name, "fp32", _per_minute(seconds, bench.song), peak)


def equality(bench: Bench) -> Iterator[Row]:
    """The same on the device and on the processor."""
    guess = 1.0 if bench.tiny else 10.0  # seconds on a processor
    for name, work in bench.each().items():
        setting = f"{bench.device} against the processor"
        if not bench.fits(guess * (4 if name == "AudioSR" else 1)):
            yield Row(name, setting, NOT_MEASURED)
            continue
        yield Row(name, setting, _difference(work(bench.device), work("cpu")))


# Rung of the ladder: what is told of it. On a processor there is none below shorter pieces.
RUNGS = {"fewer at once": "at once", "shorter pieces": "shorter", "the processor": "by the processor"}
_LEFT = {"fewer at once": 1.6, "shorter pieces": 0.75, "the processor": 0.02}  # of what one item takes


def out_of_memory(bench: Bench) -> Iterator[Row]:
    """On every rung of the ladder on purpose: is it taken, and is what comes out what it should be?"""
    many = 2 if bench.tiny else 4
    works: dict[str, Callable[[int, Tell], Audio]] = {
        "Apollo": lambda count, tell: bench.restore(bench.device, count, "fp32", tell),
        "AudioSR": lambda count, tell: bench.extend(bench.device, count, 2, "fp32", tell),
    }
    for name, work in works.items():
        counts = {1, many} if bench.fits(0) else set[int]()
        whole = {count: bench.timed(partial(work, count, _nothing)) for count in counts}
        for rung, sign in list(RUNGS.items())[: 2 if bench.device == "cpu" else None]:
            setting, count = f"too little memory: {rung}", many if rung == "fewer at once" else 1
            slow = 12.0 if rung == "the processor" and bench.device != "cpu" else 2.0
            if not whole or not bench.fits(whole[count][1] * slow):
                yield Row(name, setting, NOT_MEASURED)
                continue
            told: list[str] = []
            try:
                with _little_memory(bench, name, rung):
                    made = work(count, told.append)
            except Exception as error:  # that is a result too
                yield Row(name, setting, f"FAILED: {type(error).__name__}: {error}".splitlines()[0])
                continue
            taken = (
                "taken" if any(sign in text for text in told) else f"NOT taken ({'; '.join(told) or 'nothing told'})"
            )
            yield Row(name, setting, f"{taken}, {_difference(made, whole[count][0])} undisturbed")


@contextmanager
def _little_memory(bench: Bench, model: str, rung: str) -> Iterator[None]:
    """So little memory that ``rung`` of the ladder is needed: a neighbour fills the GPU.

    A processor's memory is not to be filled; there, attempts above the rung are answered as if it had run out.
    """
    if bench.device == "cuda":
        devices.release("cuda")
        left = max(64e6, bench.costs.get(model, 1e9) * _LEFT[rung])
        with _neighbour(int(left)):
            yield
        return
    attempt = devices._attempt

    def refused(work: Any, items: list[Any], how: devices.Attempt) -> Any:
        too_much = len(items) > 1 if rung == "fewer at once" else not how.short
        return None if too_much else attempt(work, items, how)

    with patch.object(devices, "_attempt", refused):
        yield


@contextmanager
def _neighbour(left: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.gpu_children", "neighbour", str(left)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdin is not None
        child.stdout.readline()  # it is full
        try:
            yield
        finally:
            child.stdin.close()
            child.wait(30)


_RECIPE = """
format = 1
[variants.01_baseline]
chain = ["decode"]
[variants.02_audiosr_direct]
chain = ["decode", { stage = "audiosr", steps = 4 }]
[variants.12_apollo]
chain = ["decode", "apollo"]
"""


def resuming(bench: Bench) -> Iterator[Row]:
    """A run that is killed after a chunk and started again gives the bytes of one that was not."""
    if not bench.fits(0):
        yield Row("a run", "killed and resumed", NOT_MEASURED)
        return
    import soundfile

    song, recipe = bench.folder / "Song.mp3", bench.folder / "all.toml"
    soundfile.write(
        song,
        _sound((9 if bench.tiny else 17) * 44100),
        44100,
        format="MP3",
        bitrate_mode="CONSTANT",
        compression_level=0.9,
    )
    recipe.write_text(_RECIPE, "utf-8")
    began = time.monotonic()
    whole = _run(bench, song, recipe, "whole")
    if not bench.fits(2.5 * (time.monotonic() - began)):
        yield Row("a run", "killed and resumed", NOT_MEASURED)
        return
    killed = _run(bench, song, recipe, "killed", kill=True)
    resumed = _run(bench, song, recipe, "killed")
    if not whole or killed == whole:
        yield Row("a run", "killed and resumed", "FAILED: the run made nothing, or was not killed in the middle")
        return
    same = "the same bytes" if resumed == whole else "OTHER bytes"
    yield Row("a run", f"killed and resumed, {len(whole)} results", same)


def _run(bench: Bench, song: Path, recipe: Path, name: str, *, kill: bool = False) -> dict[str, str]:
    """Hashes of the results, by name."""
    out = bench.folder / name
    command = [sys.executable, "-m", "engine", "--no-tui", "--json", "--device", bench.device, "--recipe", str(recipe)]
    command += ["--variants", "01,12" if bench.tiny else "01,02,12", "--out", str(out), str(song)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            event = json.loads(line)
            if kill and event["event"] == "Progress" and event["chunk"] and event["stage"] in ("audiosr", "apollo"):
                child.kill()
                break
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.rglob("*.flac"))}


def references(bench: Bench) -> Iterator[Row]:
    """What others have published, on the same device, where it is installed."""
    steps, length = bench.steps[-1], 2.56 if bench.tiny else 10.24
    audiosr_setting = f"the package, {steps} steps"
    if importlib.util.find_spec("audiosr") is None:
        yield Row("AudioSR", audiosr_setting, "not installed")
    else:
        told = _child(bench, "audiosr", bench.device, str(steps), str(length), "tiny" if bench.tiny else "full")
        if isinstance(told, str):
            yield Row("AudioSR", audiosr_setting, told)
        else:
            long = _per_minute(told["work"], length)
            yield Row("AudioSR", f"{audiosr_setting}, its long-audio function", long, told["peak"])
            chunk = _per_minute(told["wall"], length)
            yield Row("AudioSR", f"{audiosr_setting}, one process per chunk", chunk, told["peak"])
    yield _demucs_command(bench)
    for name, package in (("Apollo", "look2hear"), ("HiFi-GAN BWE", "hifi_gan_bwe")):
        if importlib.util.find_spec(package) is None:
            yield Row(name, "the published code", "not installed")


def _child(bench: Bench, *arguments: str) -> dict[str, float] | str:
    """What it told, with its ``wall`` seconds; or why it told nothing."""
    if not bench.fits(5.0):
        return NOT_MEASURED
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu_children", *arguments], capture_output=True, text=True,
            timeout=bench.section_end - began, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return NOT_MEASURED
    if done.returncode:
        return f"did not run: {(done.stderr.strip().splitlines() or ['?'])[-1][:120]}"
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": time.monotonic() - began}


def _demucs_command(bench: Bench) -> Row:
    import soundfile

    seconds, setting = 8.0 if bench.tiny else 60.0, "the demucs command, start and files included"
    if not bench.fits(5.0):
        return Row("Demucs", setting, NOT_MEASURED)
    song = bench.folder / "song.wav"
    soundfile.write(song, _sound(int(seconds * demucs.RATE)), demucs.RATE)
    models = Path(os.environ["MP3RESTORE_MODELS"])
    command = [sys.executable, "-m", "demucs", "-n", "random", "--repo", str(models), "-d", bench.device]
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "-o", str(bench.folder / "separated"), str(song)], capture_output=True, text=True,
            timeout=bench.section_end - began, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Row("Demucs", setting, NOT_MEASURED)
    if done.returncode:
        return Row("Demucs", setting, f"did not run: {(done.stderr.strip().splitlines() or ['?'])[-1][:120]}")
    return Row("Demucs", setting, _per_minute(time.monotonic() - began, seconds))


# (share of the time, section); what one leaves goes to those after it
Section = Callable[[Bench], Iterator[Row]]
SECTIONS: list[tuple[float, Section]] = [
    (0.08, loading), (0.26, audiosr_speed), (0.14, audiosr_batches), (0.08, others_speed), (0.12, equality),
    (0.14, out_of_memory), (0.10, resuming), (0.08, references),
]  # fmt: skip


def measure(
    device: str,
    *,
    tiny: bool,
    seconds: float,
    show: Callable[[Row], None] = _nothing,
    sections: list[tuple[float, Section]] | None = None,
) -> list[Row]:
    """All ``sections`` within about ``seconds``; what fails is a row that says so."""
    rows: list[Row] = []
    began = time.monotonic()
    # Tiny: shorter pieces too, as a processor takes its time.
    piece = 16 * audiosr.LATENT if tiny else audiosr.PIECE
    with (
        tempfile.TemporaryDirectory() as name,
        patch.dict(os.environ),
        patch.object(measurements, "path", lambda: Path(name) / "measurements.json"),
        patch.object(audiosr, "PIECE", piece),
    ):
        os.environ |= {"MP3RESTORE_MODELS": str(Path(name) / "models"), "XDG_CACHE_HOME": str(Path(name) / "cache")}
        os.environ["PYTHONPATH"] = os.pathsep.join([str(REPORT.parents[1]), os.environ.get("PYTHONPATH", "")])
        random_models.write(Path(name) / "models", tiny=tiny)
        bench = Bench(device, tiny, Path(name))
        shares = 0.0
        for share, section in sections or SECTIONS:
            shares += share
            bench.section_end = began + seconds * shares
            try:
                for row in section(bench):
                    rows.append(row)
                    show(row)
            except Exception as error:  # the sections after it are worth having all the same
                rows.append(Row(section.__name__, "", f"FAILED: {type(error).__name__}: {error}".splitlines()[0]))
                show(rows[-1])
        devices.unload_all()
    return rows


# --- the report ----------------------------------------------------------------------------------------------


def device_name(device: str) -> str:
    """As the section in the report is called."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return f"{platform.machine()} processor, {os.cpu_count()} cores"


def as_markdown(rows: list[Row], facts: str) -> str:
    """The table, and a line of what it was measured with."""
    lines = [facts, "", "| part | setting | result | memory while at work |", "|---|---|---|---|"]
    for row in rows:
        cells = row.part, row.setting, row.result, size(row.peak) if row.peak else ""
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def written(text: str, name: str, body: str) -> str:
    """``text`` with the section ``name`` made, or made anew."""
    before, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    kept = [part for part in sections if part.partition("\n")[0].strip() != name]
    return "\n\n".join([before.strip(), *(f"## {part.strip()}" for part in (*kept, f"{name}\n\n{body}"))]) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "mps", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="tiny models: to see that it runs, not to measure")
    parser.add_argument("--seconds", type=float, default=450.0)
    parser.add_argument("--report", type=Path, default=REPORT, help="the file whose section is replaced")
    options = parser.parse_args()
    device = devices.choose(options.device)
    import torch
    from rich.console import Console
    from rich.table import Table

    console, began = Console(highlight=False), time.monotonic()
    rows = measure(
        device, tiny=options.tiny, seconds=options.seconds,
        show=lambda row: console.print(f"{row.part}, {row.setting}: {row.result}", markup=False),
    )  # fmt: skip
    name = device_name(device) + (" (tiny models)" if options.tiny else "")
    driver = monitor.Machine(Path()).driver() if device == "cuda" else ""
    facts = f"PyTorch {torch.__version__}{f', driver {driver}' if driver else ''}, {platform.system()}, "
    facts += f"measured in {time.monotonic() - began:.0f} s on {time.strftime('%Y-%m-%d')}."
    table = Table("part", "setting", "result", "memory", title=name)
    for row in rows:
        table.add_row(row.part, row.setting, row.result, size(row.peak) if row.peak else "")
    console.print(table)
    text = options.report.read_text("utf-8") if options.report.exists() else "# Measured\n"
    options.report.write_text(written(text, name, as_markdown(rows, facts)), "utf-8")
    if any("FAILED" in row.result or "NOT taken" in row.result or "OTHER" in row.result for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
