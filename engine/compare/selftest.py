"""The self-test: lossless music is coded as MP3, restored, and compared with what it was.

It tells on the listener's own music and machine which variant helps and which harms, and at which bitrate.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from engine.analysis.tried import Line, is_farther
from engine.audio.decode import open_decoder
from engine.audio.readers import Audio
from engine.audio.resample import resample
from engine.audio.soundfiles import open_sound
from engine.audio.streams import cut
from engine.compare.metrics import log_spectral_distance, matched, si_sdr
from engine.errors import DecodeError, UnreadableError, UsageError
from engine.files import writing
from engine.library.records import Song
from engine.library.scan import find_songs
from engine.planning import recipes
from engine.planning.task import Task
from engine.run.session import Session
from engine.signals import MIX
from engine.text import printable

LOSSLESS = (".flac", ".wav", ".aif", ".aiff", ".aifc", ".w64", ".rf64", ".caf", ".au", ".wv")
CODINGS = ("64", "96", "128", "192", "V5", "V0", "320")
DEFAULT_CODINGS = ("64", "128", "192", "320")
_ORIGINALS, _SONGS = "originals", "songs"
_MP3_RATES = (32000, 44100, 48000)  # Hz, of those that music has
_BLOCK = 1152 * 64


@dataclass(frozen=True)
class Score:
    """One variant of one song against the original. Distances in bels, SI-SDR in dB; ``plain`` is the decoded MP3."""

    coding: str
    variant: str
    song: str
    plain: float
    made: float
    plain_sdr: float
    made_sdr: float


# --- the material --------------------------------------------------------------------------------------------


def originals(paths: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` lossless songs below ``paths``, evenly spread over all there are.

    Raises:
        UsageError: there are none, or a path is not there.
    """
    found = [item.path for item in find_songs(paths, Path(paths[0]) / "nowhere")]
    lossless = [path for path in found if path.suffix.lower() in LOSSLESS]
    if not lossless:
        where = ", ".join(printable(str(path)) for path in paths)
        raise UsageError(f"There is no lossless music (FLAC, WAV, AIFF …) in {where}: give a folder that has some.")
    places = np.linspace(0, len(lossless) - 1, min(count, len(lossless)))
    return [lossless[round(place)] for place in places]


def prepare(paths: Sequence[Path], work: Path, codings: Sequence[str], seconds: float) -> list[str]:
    """The middle ``seconds`` of each song as ``originals/NAME.flac``, and as ``songs/CODING/NAME.mp3``, below ``work``.

    What is there already is not made again. Gives one sentence for each song that cannot be used.

    Raises:
        OSError: something cannot be written.
    """
    problems = []
    for number, path in enumerate(paths, 1):
        name = _name(number, path)
        original = work / _ORIGINALS / f"{name}.flac"
        try:
            if not original.is_file():
                excerpt, rate = _excerpt(path, seconds)
                original.parent.mkdir(parents=True, exist_ok=True)
                with writing(original) as temporary:
                    soundfile.write(temporary, excerpt, rate, format="FLAC", subtype="PCM_24")
            for coding in codings:
                coded = work / _SONGS / coding / f"{name}.mp3"
                if not coded.is_file():
                    audio, rate = _read(original)
                    coded.parent.mkdir(parents=True, exist_ok=True)
                    with writing(coded) as temporary:
                        encode_mp3(temporary, audio, rate, coding)
        except (DecodeError, UnreadableError) as error:
            problems.append(f"{printable(str(path))} was left out: {error}")
    return problems


def _name(number: int, path: Path) -> str:
    """A number, and of the song's own name what is harmless everywhere."""
    harmless = "".join(c if c.isascii() and (c.isalnum() or c in " -_") else "_" for c in path.stem)[:40].strip()
    return f"{number:03} {harmless}".strip()


def _excerpt(path: Path, seconds: float) -> tuple[Audio, int]:
    """From the middle of a song, in one or two channels, at a rate that MP3 knows."""
    with open_decoder(path) as decoded:
        rate = decoded.info.rate
        wanted = round(seconds * rate)
        frames = decoded.info.frames or 0
        blocks = cut(decoded.blocks, max(0, (frames - wanted) // 2), wanted)
    audio = np.concatenate(blocks)[:, :2] if blocks else np.zeros((0, 1), np.float32)
    if len(audio) < rate:
        raise DecodeError("it is shorter than a second.")
    if not np.isfinite(audio).all():
        raise DecodeError("it holds values that are no numbers.")
    known = rate if rate in _MP3_RATES else 44100 if rate % 11025 == 0 else 48000
    return np.clip(resample(audio, rate, known), -1.0, 1.0), known


def encode_mp3(path: Path, audio: Audio, rate: int, coding: str) -> None:
    """Encode float32 ``(frames, 1 or 2)`` by LAME: ``coding`` is kbit/s (``128``) or a quality (``V0`` to ``V9``).

    Raises:
        OSError: it cannot be written.
    """
    import av

    layout = "stereo" if audio.shape[1] == 2 else "mono"
    # FFmpeg's quality is LAME's times 118 (FF_QP2LAMBDA).
    options = {"flags": "+qscale", "global_quality": str(int(coding[1:]) * 118)} if coding.startswith("V") else {}
    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout, format="fltp", options=options)
        if not options:
            stream.bit_rate = int(coding) * 1000
        for at in range(0, len(audio), _BLOCK):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio[at : at + _BLOCK].T), "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def session(work: Path, recipe: str, variants: Sequence[str], device: str) -> Session:
    """The run that restores all that was coded, also what ``auto`` would leave alone. Raises UsageError."""
    recipe = recipes.load(recipe).name if recipe == recipes.AUTO else recipe
    return Session([work / _SONGS], work / "results", recipe, variants, device)


# --- the comparison -----------------------------------------------------------------------------------------


def scores(run: Session, work: Path, checkpoint: Callable[[], None] = lambda: None) -> Iterator[Score]:
    """Every finished variant of every song against its original."""
    tasks = [task for task in run.tasks if task.is_final and task.outputs == (MIX,)]
    for song in run.songs:
        original, rate = _read(work / _ORIGINALS / f"{song.path.stem}.flac")
        plain = _decoded(song.path, rate)
        before = (_distance(original, plain, rate), _sdr(original, plain))
        for task in tasks:
            checkpoint()
            made = _made(run, song, task, rate)
            if made is not None:
                made = matched(original, _as_wide(made, original)) if task.stage.sets_loudness else made
                yield Score(
                    song.path.parent.name, task.id, song.path.stem, before[0], _distance(original, made, rate),
                    before[1], _sdr(original, made),
                )  # fmt: skip


def _made(run: Session, song: Song, task: Task, rate: int) -> Audio | None:
    path = run.store.output_path(song, task)
    if run.store.marker(song, task) is None or not path.is_file():
        return None
    audio, own = _read(path)
    return resample(audio, own, rate)


def _decoded(path: Path, rate: int) -> Audio:
    with open_decoder(path) as decoded:
        return resample(np.concatenate(list(decoded.blocks)), decoded.info.rate, rate)


def _read(path: Path) -> tuple[Audio, int]:
    with open_sound(path) as sound:
        return sound.read(dtype="float32", always_2d=True), sound.samplerate


def _as_wide(made: Audio, original: Audio) -> Audio:
    """As long as the original, with silence where it ends earlier."""
    made = made[: len(original)]
    return np.pad(made, ((0, len(original) - len(made)), (0, 0)))


def _distance(original: Audio, made: Audio, rate: int) -> float:
    return log_spectral_distance(original, _as_wide(made, original), rate)


def _sdr(original: Audio, made: Audio) -> float:
    return si_sdr(original, _as_wide(made, original))


def summary(found: Sequence[Score]) -> list[Line]:
    """A line for each coding and variant, in the order of the codings."""
    groups: defaultdict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in found:
        if not math.isnan(score.plain) and not math.isnan(score.made):
            groups[score.coding, score.variant].append(score)

    def line(coding: str, variant: str, own: list[Score]) -> Line:
        farther = sum(is_farther(score.plain, score.made) for score in own)
        plain, made = (float(np.mean([getattr(s, name) for s in own])) for name in ("plain", "made"))
        sdr = float(np.mean([score.made_sdr - score.plain_sdr for score in own]))
        return Line(coding, variant, len(own), plain, made, farther, sdr)

    lines = [line(*key, own) for key, own in groups.items()]
    return sorted(lines, key=lambda item: (CODINGS.index(item.coding), item.variant))


def to_json(lines: Sequence[Line]) -> str:
    """For ``--json``."""
    return json.dumps([{**dataclasses.asdict(line), "verdict": line.verdict} for line in lines], indent=1)
