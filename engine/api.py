"""The engine from Python: a song restored as the program does it, and one stage over samples in memory.

>>> import engine
>>> restored = engine.restore("Song.mp3", recipe="offline")
>>> restored.variants["11_offline"].read().audio.shape
>>> engine.apply_stage("restore", audio, 44100, top_hz=19000).audio

All of it is made by the same code as with ``mp3restore --no-tui``: resumable, and the same samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.analysis.song import SongAnalysis
from engine.audio.readers import MAX_CHANNELS, MAX_RATE, Audio
from engine.audio.soundfiles import open_sound
from engine.errors import SongError, UsageError, explain_os_error
from engine.library.records import Marker
from engine.planning import recipes
from engine.planning.recipes import Recipe, Step, dump
from engine.planning.recipes import Variant as Planned
from engine.planning.task import State
from engine.run.events import BatchDone, Event, SongDone, TaskFailed, TaskSkipped
from engine.run.session import Session
from engine.signals import MIX
from engine.stages import STAGES

_RESULT = "1_result"


class Sound(NamedTuple):
    """Samples, float32 ``(frames, channels)``, full scale at 1, and their rate in Hz."""

    audio: Audio
    rate: int


@dataclass(frozen=True)
class Variant:
    """One finished result of a song.

    ``files`` are its FLAC files by signal: ``mix``, or the stems (``vocals``, ``drums`` …). ``gain`` in dB is what it
    is quieter than the source, so as not to clip; ``note`` says what was done, ``warnings`` what is to be known of it,
    ``ruined`` (mostly empty) what it lost of the song.
    """

    name: str
    files: dict[str, Path]
    gain: float
    note: str
    warnings: tuple[str, ...]
    ruined: str

    def read(self, signal: str = MIX) -> Sound:
        """The samples of one of its files. Raises OSError, or KeyError for a signal that it does not have."""
        with open_sound(self.files[signal]) as file:
            return Sound(file.read(dtype="float32", always_2d=True), file.samplerate)


@dataclass(frozen=True)
class Restored:
    """What there is of a song now.

    ``variants`` are the finished ones by name, ``problems`` one sentence for each that could not be made or was left
    out on purpose, ``analysis`` what was found in the song (None: it was not looked at), ``out`` the output folder.
    """

    song: Path
    out: Path
    variants: dict[str, Variant]
    problems: dict[str, str]
    analysis: SongAnalysis | None


def restore(
    path: str | Path, *, recipe: str | Path = recipes.DEFAULT, variants: Iterable[str] = (),
    out: str | Path | None = None, device: str = "auto", force: bool = False,
    progress: Callable[[Event], None] | None = None,
) -> Restored:  # fmt: skip
    """Make the variants of one song that are not there yet, and give all that the recipe names.

    ``recipe`` is the name of one or a TOML file; ``variants`` restrict it; ``out`` is the output folder (None:
    ``AI_Restored_Variants`` beside the song); ``device`` is ``auto``, ``cpu``, ``cuda`` or ``mps``; ``force`` makes
    again what is there. ``progress`` gets every event of the run, on other threads. Interrupted (Ctrl-C) or killed,
    the same call goes on where it ended.

    Raises:
        UsageError: something given does not exist or does not fit, or another process works in the output folder.
        SongError: the song as a whole could not be worked on.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give one song, or use mp3restore --no-tui for a library.")
    session = Session([path], Path(out) if out is not None else None, str(recipe), variants, device)
    return _restore(session, force, progress)


def apply_stage(stage: str, audio: npt.ArrayLike, rate: int, *, device: str = "auto", **parameters: Any) -> Sound:
    """Run one stage over samples: ``audio`` is ``(frames, channels)``, or ``(frames,)`` for mono, ``rate`` in Hz.

    ``stage`` and ``parameters`` are those of a recipe. What comes out is as loud as what went in (but of stages whose
    purpose is loudness); some stages give another rate. On the way samples are held in 24 bits, as in a run.

    Raises:
        UsageError: there is no such stage or parameter, the stage does not take one signal to one (see
            :func:`separate`), or ``audio`` is none.
        SongError: the stage could not do it.
        NotPossibleError: it cannot run on this machine.
    """
    made = _apply(stage, audio, rate, device, parameters)
    if set(made) != {MIX}:
        raise UsageError(f"The stage {stage} makes {', '.join(made)}: use engine.separate.")
    return made[MIX]


def separate(audio: npt.ArrayLike, rate: int, *, device: str = "auto", **parameters: Any) -> dict[str, Sound]:
    """Take a mix apart: its stems by name. Parameters, units and errors as for :func:`apply_stage`."""
    return _apply("separate", audio, rate, device, parameters)


def _apply(stage: str, audio: npt.ArrayLike, rate: int, device: str, parameters: dict[str, Any]) -> dict[str, Sound]:
    samples = _samples(audio, rate)
    planned = _recipe(stage, parameters)
    with tempfile.TemporaryDirectory(prefix="mp3restore-") as name:
        folder = Path(name)
        source, recipe = folder / "sound.wav", folder / "recipe.toml"
        recipe.write_text(dump(planned), "utf-8")
        try:
            with open_sound(source, "w", rate, samples.shape[1], "FLOAT") as file:
                file.write(samples)
        except OSError as error:
            raise UsageError(explain_os_error(error, "a temporary file")) from error
        session = Session([source], folder / "out", str(recipe), [_RESULT], device)
        try:
            restored = _restore(session, force=False, progress=None)
        finally:
            session.store.index.remove()  # of a folder that nobody will open again
        if (made := restored.variants.get(_RESULT)) is None:
            raise SongError(restored.problems.get(_RESULT, "The stage made nothing, and did not say why."))
        louder = np.float32(10 ** (-made.gain / 20))
        return {signal: Sound(sound.audio * louder, sound.rate)
                for signal in made.files if (sound := made.read(signal))}  # fmt: skip


def _samples(audio: npt.ArrayLike, rate: int) -> Audio:
    samples = np.asarray(audio, dtype=np.float32)
    if samples.ndim == 1:
        samples = samples[:, np.newaxis]
    if samples.ndim != 2 or not 1 <= samples.shape[1] <= MAX_CHANNELS or not len(samples):
        raise UsageError(f"Samples must be (frames, channels) with 1 to {MAX_CHANNELS} channels, not {samples.shape}.")
    if not np.isfinite(samples).all():
        raise UsageError("The samples must be finite numbers.")
    if not isinstance(rate, int) or not 1 <= rate <= MAX_RATE:
        raise UsageError(f"The rate must be a whole number of Hz up to {MAX_RATE}, not {rate!r}.")
    return samples


def _recipe(stage: str, parameters: dict[str, Any]) -> Recipe:
    if stage not in STAGES or STAGES[stage].implied or stage == "decode":
        names = ", ".join(name for name, one in STAGES.items() if not one.implied and name != "decode")
        raise UsageError(f"There is no stage {stage!r} to apply; there are: {names}.")
    try:
        params = STAGES[stage].Parameters(**parameters)
    except TypeError:
        raise UsageError(f"The stage {stage} has no such parameter: {', '.join(parameters)}.") from None
    if STAGES[stage].inputs(params) != (MIX,):
        raise UsageError(f"The stage {stage} works on several signals: it is for recipes.")
    chain = (Step("decode", STAGES["decode"].Parameters()), Step(stage, params))
    return Recipe("stage", stage, "", {_RESULT: Planned(_RESULT, chain, (), "", enabled=True)})


def _restore(session: Session, force: bool, progress: Callable[[Event], None] | None) -> Restored:
    problems: dict[str, str] = {}
    whole: list[str] = []

    def receive(event: Event) -> None:
        if isinstance(event, TaskFailed | TaskSkipped):
            problems[event.variant] = event.reason
        if isinstance(event, SongDone) and event.outcome == "failed" and not problems:
            whole.extend(event.failed)
        if isinstance(event, BatchDone) and event.error:
            whole.append(event.error)

    session.subscribe(receive)
    if progress is not None:
        session.subscribe(progress)
    thread = session.start(jobs=1, force=force)
    try:
        thread.join()
    except BaseException:
        session.stop()
        thread.join()
        raise
    plan = session.song_plan(session.songs[0])
    if whole:
        raise SongError(" ".join(whole))
    at = plan.at or plan.song
    finished = [t for t in session.tasks if t.is_final and plan.states[t.id] is State.DONE]
    markers = [(task.id, marker) for task in finished if (marker := session.store.marker(at, task)) is not None]
    made = {name: _variant(name, marker, session.store.out) for name, marker in markers}
    return Restored(plan.song.path, session.store.out, made, problems, plan.analysis)


def _variant(name: str, marker: Marker, out: Path) -> Variant:
    files = {output.port: out / output.path for output in marker.outputs}
    return Variant(name, files, marker.gain, marker.note, tuple(marker.warnings), marker.ruined)
