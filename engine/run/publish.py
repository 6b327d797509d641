"""Writing what a task made: the files with their tags, whether they lost much of the song, and the marker."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engine import __version__
from engine.analysis.loss import LossMeter, what_was_lost
from engine.audio.encode import Encoded, need_room, write_flac
from engine.audio.tags import Tags, write_tags
from engine.dsp.mix import described
from engine.files import make_folder
from engine.library.records import FORMAT, Marker, Song, SongRecord
from engine.library.results import tags_hash
from engine.library.store import Store
from engine.machine.priority import work_in_background
from engine.planning.task import Task
from engine.run.task_context import TaskContext, seed_of
from engine.signals import MIX
from engine.stages.base import Rendered

_MOST_AT_ONCE = 4  # signals; each holds two chunks in memory


@dataclass(frozen=True)
class Made:
    """What a task made of the song that ``record`` tells of, by the names of its signals, before it is written."""

    task: Task
    record: SongRecord
    context: TaskContext
    rendered: dict[str, Rendered]


@dataclass(frozen=True)
class Written:
    """A result on disk and what was measured while it was written."""

    encoded: dict[str, Encoded]  # by the names of the signals
    ruined: str
    bands: list[float]


class Publisher:
    """Writes the results of one song's tasks.

    ``bands_of_song`` gives the levels of the song's plain decode, which that task made (empty: not known),
    ``tags_of_song`` its tags and what is wrong with them.
    """

    def __init__(
        self, store: Store, song: Song, bands_of_song: Callable[[Task], list[float]],
        tags_of_song: Callable[[], tuple[Tags, str]],
    ) -> None:  # fmt: skip
        self._store, self._song, self._bands_of_song, self._tags_of_song = store, song, bands_of_song, tags_of_song
        self._tags: Tags | None = None

    def write(self, made: Made) -> Written:
        """Write all signals of a task. Several get one gain, so that they still add up.

        Raises:
            OutputError: it could not be written, and nothing of it is there.
            OSError: its folder could not be made.
        """
        rendered = made.rendered
        folder = self._store.output_path(self._song, made.task, next(iter(rendered))).parent
        make_folder(folder)
        need_room(folder, sum(one.frames * one.channels * 2 for one in rendered.values()))
        if self._tags is None:
            self._tags, problem = self._tags_of_song()
            if problem:
                made.context.warn(problem)
        if len(rendered) == 1:
            return self._write_guarded(made, next(iter(rendered)))
        encoded = self._encode_all(made, tuple(rendered))
        lowest = min(done.gain for done in encoded.values())
        again = tuple(port for port in rendered if encoded[port].gain != lowest)
        return Written({**encoded, **self._encode_all(made, again, gain=lowest)}, "", [])

    def _encode_all(self, made: Made, ports: tuple[str, ...], gain: float = 0.0) -> dict[str, Encoded]:
        """Encode several signals, as many at once as there are cores: the encoder keeps one of them busy."""
        if not ports:
            return {}
        hands = min(len(ports), os.cpu_count() or 1, _MOST_AT_ONCE)
        with ThreadPoolExecutor(hands, "writing", work_in_background) as pool:
            done = pool.map(lambda port: self._encode(made, port, gain=gain), ports)
            return dict(zip(ports, done, strict=True))

    def marker(self, made: Made, written: Written, fingerprint: str, seconds: float) -> Marker:
        """The proof that the task is done; ``seconds`` is how long it took."""
        task, context = made.task, made.context
        first = next(iter(written.encoded.values()))
        gain = next(iter(made.rendered.values())).gain + first.gain
        if first.gain:
            context.warn(f"The result was turned down by {-first.gain:.1f} dB so that it does not clip.")
        return Marker(
            format=FORMAT,
            program=__version__,
            task=task.id,
            recipe=task.spec(),
            fingerprint=fingerprint,
            inputs=self._store.contents(self._song, task.published_before()),
            outputs=[self._store.output(port, encoded) for port, encoded in written.encoded.items()],
            rate=first.rate,
            channels=first.channels,
            frames=first.frames,
            gain=context.gain_before + gain,
            note=_note(made.rendered),
            device=context.device,
            seconds=round(seconds, 3),
            warnings=[*task.left_out, *context.warnings],
            ruined=written.ruined,
            bands=written.bands,
            tags=tags_hash(self._tags) if self._tags is not None and task.ends_variant else "",
            fits=next(iter(made.rendered.values())).fits,
        )

    def _write_guarded(self, made: Made, port: str) -> Written:
        """Write the one signal of a task, and look whether it lost what the song has."""
        task, rendered = made.task, made.rendered[port]
        gain = made.context.gain_before + rendered.gain
        meter = LossMeter(rendered.rate, rendered.channels) if not task.inputs or task.ends_variant else None
        encoded = self._encode(made, port, meter)
        if meter is None:
            return Written({port: encoded}, "", [])
        ruined = self._ruin(made, meter, gain) if task.ends_variant else ""
        if ruined:
            made.context.warn(ruined)
        return Written({port: encoded}, ruined, at_source_level(meter.bands(), gain))

    def _encode(self, made: Made, port: str, meter: LossMeter | None = None, gain: float = 0.0) -> Encoded:
        task, record, rendered = made.task, made.record, made.rendered[port]
        before = made.context.gain_before + rendered.gain
        tags = self._tags
        assert tags is not None
        provenance = _provenance(made, port, before + gain)
        untouched = task.stage.name == "decode" and before == 0.0

        def tag(file: Path) -> None:
            warning = self._ruin(made, meter, before) if meter is not None else ""
            more = {"MP3RESTORE_WARNING": warning} if warning else {}
            write_tags(file, tags, {**provenance, **more}, keep_replaygain=untouched)

        return write_flac(
            self._store.output_path(self._song, task, port),
            lambda: meter.watch(rendered.blocks()) if meter is not None else rendered.blocks(),
            rate=rendered.rate, channels=rendered.channels, frames=rendered.frames,
            seed=seed_of(record.identity, task.id if port == MIX else f"{task.id}/{port}"),
            tag=tag if task.ends_variant else None, gain=gain, exact=rendered.exact,
        )  # fmt: skip

    def _ruin(self, made: Made, meter: LossMeter, gain: float) -> str:
        """Empty, or one sentence about what the measured result lost of the song."""
        task, analysis = made.task, made.context.analysis
        if not task.inputs or any(described(step.stage.mix(step.params)) for step in task.lineage()):
            return ""  # what is missing of a mix is missing because somebody wanted it so
        return what_was_lost(
            self._bands_of_song(task.lineage()[0]), at_source_level(meter.bands(), gain),
            loudness=(analysis.loudness, meter.loudness() - gain),
            whole_to=task.cutoff(analysis.cutoff.hz), any_loudness=task.sets_loudness,
        )  # fmt: skip


def at_source_level(bands: list[float], gain: float) -> list[float]:
    """Levels in dB without the ``gain`` that was needed so that nothing clips."""
    return [round(level - gain, 2) for level in bands]


def _note(rendered: dict[str, Rendered]) -> str:
    """What is said of the result as a whole."""
    first = next(iter(rendered.values())).note
    if len(rendered) == 1:
        return first
    return f"{', '.join(rendered)}: {first.partition(', ')[2]}"


def _provenance(made: Made, port: str, gain: float) -> dict[str, str]:
    """Comments that say how a file was made. No dates: the same work must give the same bytes."""
    task = made.task
    own = next((before.task for name, before in task.inputs if name == port and task.stage.implied), task)
    return {
        "MP3RESTORE_VERSION": __version__,
        "MP3RESTORE_VARIANT": task.variant,
        **({"MP3RESTORE_STEM": port} if port != MIX else {}),
        "MP3RESTORE_CHAIN": own.described(parameters=True),
        "MP3RESTORE_NOTE": made.rendered[port].note or task.title,
        "MP3RESTORE_GAIN": f"{gain:.2f} dB",
        "MP3RESTORE_SOURCE_SHA256": made.record.identity,
    }
