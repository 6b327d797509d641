"""``python -m benchmarks.damage FOLDER``: how true the damage report is, on music whose damage is known.

FOLDER holds, for each piece, a folder with ``ref.flac`` and encodings of it by LAME (``64.mp3``, ``128.mp3``,
``V5.mp3`` …), and ``lame_lowpass.json``: what LAME itself printed of its low-pass (``{"piece/128": {"lo": Hz, "hi":
Hz}}``). What else is needed (320 kbit/s, V0, and encodings of encodings) is made with the command-line LAME in a
temporary folder. Where a song that should be left alone is not, it is told how far the recipe ``offline`` takes it from
its reference: hardly touched is not harmed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from engine.analysis.cutoff import LongTermSpectrum, find_cutoff
from engine.analysis.findings import generation
from engine.analysis.song import SongAnalysis, analyze
from engine.analysis.tried import is_farther
from engine.analysis.verdict import verdict_of
from engine.compare.metrics import log_spectral_distance
from engine.run.session import Session

_SHIFT = 1105  # samples that players without gapless playback leave in front
_EMPTY_TOPS = ("real_fishin", "real_vibeace")  # recordings that end at 16 to 18 kHz themselves


def encode(audio: np.ndarray, rate: int, made: Path, *options: str) -> Path:
    """An MP3 at ``made``."""
    source = made.with_suffix(".wav")
    soundfile.write(source, audio, rate, subtype="PCM_16")
    subprocess.run(["lame", "--quiet", *options, source, made], check=True)
    source.unlink()
    return made


@dataclass(frozen=True)
class Case:
    """A file, and what should be said of it (None: anything)."""

    piece: str
    name: str
    path: Path
    kind: str | None
    leave: bool | None


def cases(folder: Path, work: Path) -> list[Case]:
    """Everything that is judged."""
    found = []
    for reference in sorted(folder.glob("*/ref.flac")):
        piece = reference.parent.name
        empty = piece in _EMPTY_TOPS
        found.append(Case(piece, "reference", reference, "no mp3", True))
        for path in sorted(reference.parent.glob("*.mp3")):
            poor = path.stem in ("64", "96", "128")
            good = empty and path.stem in ("128", "192", "V5")
            found.append(Case(piece, path.stem, path, "once", True if good else False if poor and not empty else None))
        audio, rate = soundfile.read(reference, dtype="float32")
        for name, options in (("320", ("-b", "320")), ("V0", ("-V", "0")), ("256", ("-b", "256"))):
            found.append(Case(piece, name, encode(audio, rate, work / f"{piece}.{name}.mp3", *options), "once", True))
        once, rate = soundfile.read(reference.parent / "128.mp3", dtype="float32")
        fakes = {"320 of 128": once, "320 of 128, shifted": once[_SHIFT:]}
        for name, audio in fakes.items():
            path = encode(audio, rate, work / f"{piece}.{name}.mp3", "-b", "320")
            found.append(Case(piece, name, path, "again", None))
        path = encode(once[_SHIFT:], rate, work / f"{piece}.V0 of 128.mp3", "-V", "0")
        found.append(Case(piece, "V0 of 128, shifted", path, "again", None))
        path = work / f"{piece}.flac of 128.flac"
        soundfile.write(path, once, rate, subtype="PCM_16")
        found.append(Case(piece, "FLAC of 128", path, "was mp3", None))
    return found


def cutoffs(folder: Path) -> None:
    """How far the cutoffs are from what LAME said."""
    truth = json.loads((folder / "lame_lowpass.json").read_text("utf-8"))
    errors: dict[str, list[float]] = {"with the tag": [], "without it": []}
    for name, said in truth.items():
        path = folder / f"{name}.mp3"
        if not path.is_file():
            continue
        middle = (said["lo"] + said["hi"]) / 2
        errors["with the tag"].append(abs((analyze(path).cutoff.hz or 0.0) - middle))
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        spectrum = LongTermSpectrum(rate)
        spectrum.process(audio)
        errors["without it"].append(abs((find_cutoff(spectrum, 0)[0].hz or 0.0) - middle))
    for how, found in errors.items():
        print(
            f"cutoff {how:12}: {len(found)} files, median error {np.median(found):.0f} Hz, "
            f"largest {max(found):.0f} Hz, {np.mean(np.array(found) <= 500):.0%} within 500 Hz"
        )


def touched(case: Case, work: Path) -> tuple[float, float]:
    """Distances in bels from the reference: of the plain decode, and of what the recipe ``offline`` makes of it."""
    out = work / "made" / case.piece / case.name
    session = Session([case.path], out, "offline", ["01", "11"])
    session.start().join()
    reference, rate = soundfile.read(case.path.parent / "ref.flac", dtype="float32")
    made = [soundfile.read(path, dtype="float32")[0] for path in sorted(out.rglob("*.flac"))]  # 01 before 11
    plain, restored = (log_spectral_distance(reference, audio[: len(reference)], rate) for audio in made)
    return plain, restored


def line(case: Case, found: SongAnalysis, seconds: float) -> str:
    """What is said of one file, marked where it is not what should be said."""
    was, verdict, grid = generation(found), verdict_of(found), found.figures.grid
    wrong = case.kind not in (None, was.kind), case.leave not in (None, verdict.leave)
    marks = " ".join(word for word, is_wrong in zip(("KIND", "VERDICT"), wrong, strict=True) if is_wrong)
    end = f"{found.cutoff.hz:.0f}" if found.cutoff.hz else "-"
    return (
        f"{case.piece:14} {case.name:20} {end:>6} Hz  holes {found.figures.holes.share:5.1%}  rounding "
        f"{grid.first.depth:4.1f} dB ({grid.first.height:3.0f})  {was.kind:7} {was.before or '':>3}  "
        f"{'leave' if verdict.leave else verdict.recipe:8} {seconds:4.2f} s  {marks}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    cutoffs(folder)
    kinds: dict[str, list[bool]] = {}
    verdicts: list[bool] = []
    unharmed: list[bool] = []
    with tempfile.TemporaryDirectory() as work:
        for case in cases(folder, Path(work)):
            started = time.perf_counter()
            found = analyze(case.path)
            print(line(case, found, time.perf_counter() - started))
            if case.kind is not None:
                kinds.setdefault(case.name if case.kind in ("again", "was mp3", "no mp3") else "once", []).append(
                    generation(found).kind == case.kind
                )
            if case.leave is not None:
                verdicts.append(verdict_of(found).leave == case.leave)
            if case.leave and not verdicts[-1]:
                plain, made = touched(case, Path(work))
                unharmed.append(not is_farther(plain, made))
                print(f"{'':14} {'restored all the same':20} distance {plain:.2f} before, {made:.2f} after")
    for name, right in kinds.items():
        print(f"{name:20} recognised in {sum(right)} of {len(right)}")
    print(
        f"verdict as it should be in {sum(verdicts)} of {len(verdicts)}; of those that should be left alone and are "
        f"not, {sum(unharmed)} of {len(unharmed)} hardly touched: no farther from the reference"
    )


if __name__ == "__main__":
    main()
