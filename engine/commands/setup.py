"""The AI models in one step: the right build of PyTorch into the program's own environment, tried, and then the models.

:func:`plan` says what there is to do on a machine, without doing anything; :func:`carry_out` does it. The terminal
(:func:`run`) and the dashboard use both.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import shlex
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from engine.errors import UsageError
from engine.machine import gpu_probe
from engine.machine.gpu_probe import Torch
from engine.machine.host import Host, look
from engine.machine.installer import CancelledError, IndexUnreachableError, InstallError, Progress, install
from engine.text import printable, size

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from engine.models.runtime.cards import ModelCard

COMMAND = "mp3restore setup"
_PROGRAM, _EXTRA = "mp3restore", "ai"
# About what PyTorch's builds are to download; what is fetched in the end is told by the tool that fetches it.
_DOWNLOADS = {"cuda": 3_000_000_000, "cpu": 200_000_000, "mps": 100_000_000}
_OTHERS = 30_000_000  # all else that the models need
_UNPACKED = 2.2  # of the download; the archive and what is unpacked from it lie side by side for a while
# Builds for CUDA 12.8 and later leave out what is older than Turing; those for 12.6 are the last that know it.
_TURING = (7, 5)
_BACKEND_BEFORE_TURING = "cu126"


@dataclass(frozen=True)
class Plan:
    """What is to be done on ``host``.

    ``requirements`` are what is installed (empty: nothing is to be done), ``device`` is what the models will run on.
    ``reason`` says in one phrase why PyTorch is fetched (empty: it is not), ``replaced`` whether one that is here makes
    way, ``backend`` which of its builds is wanted (empty: what the package index has). ``download`` is about how many
    bytes are fetched, ``tool`` what fetches and installs them.
    """

    host: Host
    requirements: tuple[str, ...]
    device: str
    reason: str = ""
    replaced: bool = False
    backend: str = ""
    download: int = 0
    tool: Literal["uv", "pip"] = "uv"

    def command(self) -> list[str]:
        """What installs it, into the environment of the Python that runs this program."""
        host = self.host
        if self.tool == "pip":
            return [host.executable, "-P", "-m", "pip", "install", *self.requirements]
        options = [f"--torch-backend={self.backend}"] if self.backend else []
        options += ["--reinstall-package", "torch"] if self.replaced else []
        return [host.uv, "pip", "install", "--python", host.executable, *options, *self.requirements]

    def fallback(self) -> Plan | None:
        """The same where PyTorch's own index is out of reach; None where the common one has no build that does.

        pip knows the user's own mirrors, wherever they are written down; it cannot replace one package alone.
        """
        host = self.host
        if self.backend not in ("auto", "cpu") or (host.system == "Windows" and self.device == "cuda"):
            return None  # what the common index has for Windows is for the processor alone
        # What it has for Linux is the build for NVIDIA, GPU or not.
        download = _DOWNLOADS["cuda"] + _OTHERS if host.system == "Linux" else self.download
        return replace(self, backend="", tool="pip" if host.pip and not self.replaced else "uv", download=download)


def plan(host: Host, backend: str = "", wanted: Iterable[str] | None = None) -> Plan:
    """What ``host`` needs so that the models run as fast as it can.

    Args:
        backend: a build of PyTorch that the user asks for (``cpu``, ``cu126``, ``rocm6.4``, ...).
        wanted: the requirements of the extra ``ai``; those of the program as it is installed when left out.

    Raises:
        UsageError: the environment is not the program's own, or there is too little room; says what to do.
    """
    from packaging.requirements import Requirement

    asked = [Requirement(text) for text in (requirements() if wanted is None else wanted)]
    of_torch = next((r for r in asked if r.name == "torch"), Requirement("torch"))
    device = _device(host, backend)
    reason = f"you asked for the build {backend}" if backend else _about_torch(host, of_torch)
    needed = [r for r in asked if (r.name == "torch" and reason) or (r.name != "torch" and not _satisfied(r))]
    made = Plan(host, tuple(map(_plain, needed)), device)
    if reason:
        made = replace(
            made, reason=reason, replaced=host.torch is not None, backend=backend or _backend(host),
            download=_DOWNLOADS[device],
        )  # fmt: skip
    if made.requirements:
        made = replace(made, download=made.download + _OTHERS)
        _check(made)
    return made


def requirements() -> list[str]:
    """What the extra ``ai`` of this program asks for on this system, from its own metadata. Raises UsageError."""
    from packaging.requirements import Requirement

    try:
        told = importlib.metadata.requires(_PROGRAM) or []
    except importlib.metadata.PackageNotFoundError:
        raise UsageError("mp3restore is not installed here: start it with launch.cmd or 'make run'.") from None
    asked = [Requirement(line) for line in told]
    return [
        str(r) for r in asked
        if r.marker is not None and r.marker.evaluate({"extra": _EXTRA}) and not r.marker.evaluate({"extra": ""})
    ]  # fmt: skip


def missing() -> list[str]:
    """The packages of the extra ``ai`` that are not here, or are too old. Raises UsageError."""
    from packaging.requirements import Requirement

    return [r.name for r in map(Requirement, requirements()) if not _satisfied(r)]


def _satisfied(requirement: Requirement) -> bool:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _plain(requirement: Requirement) -> str:
    """As a command wants it: without the condition under which it applies."""
    return f"{requirement.name}{requirement.specifier}"


def _about_torch(host: Host, wanted: Requirement) -> str:
    """Why PyTorch must be fetched, in one phrase; empty where the one that is here is right."""
    torch = host.torch
    if torch is None:
        return "it is not here yet"
    if not torch.works:
        return f"the one that is here does not work ({torch.problem})"
    if not wanted.specifier.contains(torch.version, prereleases=True):
        return f"{torch.version} is here, and {wanted.specifier} is needed"
    if host.gpus and torch.build == "cpu":
        return f"{torch.version} is a build for the processor alone, and there is a GPU"
    if host.gpus and torch.device == "cpu":
        return f"{torch.version} does not find the GPU"
    return ""


def _device(host: Host, backend: str) -> str:
    """What the models will run on: ``cuda`` (what AMD's are called as well), ``mps`` or ``cpu``."""
    if backend in ("", "auto"):
        return "cuda" if host.gpus else "mps" if host.has_gpu else "cpu"
    return "cpu" if backend == "cpu" else "cuda"


def _backend(host: Host) -> str:
    """The build that fits, as uv calls it."""
    if host.system == "Darwin":
        return ""  # what the package index has runs on the Mac's GPU
    if not host.gpus:
        return "cpu"
    oldest = min((gpu.capability for gpu in host.gpus if gpu.capability), default=_TURING)
    return "auto" if oldest >= _TURING else _BACKEND_BEFORE_TURING  # auto: by the driver


def _check(made: Plan) -> None:
    host = made.host
    if host.environment is None:
        raise UsageError(
            "mp3restore runs on a Python that other programs use too, and setup leaves that alone: "
            "start it with launch.cmd or 'make run', which make an environment of its own."
        )
    if not host.uv:
        raise UsageError("uv is missing in the program's environment: run launch.cmd or 'make install' again.")
    room = int(made.download * (1 + _UNPACKED))
    if host.free_disk and host.free_disk < room:
        raise UsageError(
            f"Setting up takes about {size(room)} on the disk of {printable(str(host.environment))}, "
            f"and {size(host.free_disk)} are free: make room first."
        )


# --- in words ------------------------------------------------------------------------------------------------


def described(made: Plan) -> list[tuple[str, str]]:
    """The plan as (topic, text), safe to print."""
    host, lines = made.host, []
    gpus = [f"{gpu.name} ({size(gpu.memory)})" if gpu.memory else gpu.name for gpu in host.gpus]
    driver = f", driver {host.driver}" if gpus and host.driver else ""
    none = "the Mac's own" if host.has_gpu else "none that models can use; they run on the processor, slowly"
    lines.append(("machine", f"{host.system}, {host.architecture}, Python {host.python}"))
    lines.append(("GPU", (", ".join(gpus) + driver) if gpus else none))
    if made.reason:
        build = {"cuda": "for the GPU", "mps": "for Macs", "cpu": "for the processor"}[made.device]
        lines.append(("PyTorch", f"the build {build} is fetched: {made.reason}"))
    elif host.torch is not None:
        lines.append(("PyTorch", f"{host.torch.version} is right, and stays"))
    if made.requirements:
        names = ", ".join(made.requirements)
        room = size(made.download * _UNPACKED)
        lines.append(("to fetch", f"{names}: about {size(made.download)}, {room} when unpacked"))
        lines.append(("goes into", str(host.environment)))
    else:
        lines.append(("to fetch", "nothing: all that the models need is here"))
    return [(topic, printable(text)) for topic, text in lines]


def as_typed(command: list[str], system: str) -> str:
    """The command as it can be pasted into the system's shell."""
    if system != "Windows":
        return shlex.join(command)
    return " ".join(f'"{part}"' if set(part) & set(" &<>|^()!'") else part for part in command)


def outcome(made: Plan, found: Torch | None) -> str:
    """What came of it, in one sentence. Raises InstallError where it is not what was wanted."""
    if found is None:
        raise InstallError("PyTorch is still not here: run 'mp3restore setup' again.")
    if made.device == "cuda" and found.device == "cpu":
        why = found.problem or f"this build is for {found.build}"
        raise InstallError(f"PyTorch {found.version} does not use the GPU ({why}): update its driver, then try again.")
    if not found.works:
        raise InstallError(f"PyTorch is here but does not compute ({found.problem}): run 'mp3restore setup' again.")
    against = "a computation there was checked by another way to the same result"
    return f"PyTorch {found.version} computes on {found.name}: {against} ({found.difference:.0e} off)."


def models_to_offer() -> list[ModelCard]:
    """The models that can be downloaded and are not here."""
    from engine.models.runtime.cards import cards

    return [card for card in cards() if card.can_be_fetched and card.state(thoroughly=False) != "verified"]


# --- doing it ------------------------------------------------------------------------------------------------


def carry_out(made: Plan, tell: Callable[[Progress], None], cancelled: threading.Event) -> Torch | None:
    """Install what ``made`` says and have PyTorch compute. Gives what it turned out to be (see :func:`outcome`).

    Raises:
        UsageError: PyTorch is in use in this very process and cannot be replaced under it.
        IndexUnreachableError: :meth:`Plan.fallback` may still do.
        CancelledError, InstallError
    """
    if made.replaced and "torch" in sys.modules:
        raise UsageError(f"PyTorch is in use: quit mp3restore, then run '{COMMAND}' in a terminal.")
    if made.requirements:
        assert made.host.environment is not None
        install(made.command(), made.host.environment, tell, cancelled)
    importlib.invalidate_caches()
    return gpu_probe.prove()


def run(models: list[str], get: Callable[[list[str]], None], *, backend: str, yes: bool, dry_run: bool) -> int:
    """All of it in a terminal; gives the exit code. ``get`` downloads the models with these keys."""
    from engine.models.runtime.cards import card

    for key in models:
        card(key)  # what does not exist is said now, not after gigabytes
    made = plan(look(), backend)
    for topic, text in described(made):
        print(f"{topic:<10} {text}")
    if dry_run:
        return _show(made, models)
    asking = sys.stdin.isatty() and sys.stdout.isatty() and not yes
    if made.requirements and not yes and not asking:
        raise UsageError("Add --yes to go on without being asked, or --dry-run to see the commands.")
    if made.requirements and asking and not _confirmed("Set it up now?"):
        print("Nothing was changed.")
        return 0
    try:
        print(outcome(made, _install(made, asking=asking)))
        if keys := models or (_choose_models() if asking else []):
            get(keys)
    except CancelledError as error:
        print(f"mp3restore: {error}", file=sys.stderr)
        return 130
    except InstallError as error:
        print(f"mp3restore: {error}", file=sys.stderr)
        return 1
    return 0


def _show(made: Plan, models: list[str]) -> int:
    """The commands, and nothing done."""
    lines = []
    if made.requirements:
        lines.append(as_typed(made.command(), made.host.system))
        if other := made.fallback():
            lines.append("or, where the place of that build is out of reach:")
            lines.append(as_typed(other.command(), made.host.system))
    lines.append(as_typed([made.host.executable, "-P", "-m", "engine.machine.gpu_probe"], made.host.system))
    lines += [f"mp3restore models get {' '.join(models)}"] if models else []
    print("\nThis would be run:")
    for line in lines:
        print(f"  {line}")
    return 0


def _install(made: Plan, *, asking: bool) -> Torch | None:
    try:
        return _shown(made)
    except IndexUnreachableError as error:
        other = made.fallback()
        if other is None:
            raise InstallError(f"{error} Check the connection, then run '{COMMAND}' again.") from None
        print(f"{error} The common package index has PyTorch too: about {size(other.download)}.")
        if asking and not _confirmed("Take that one?"):
            raise CancelledError("Nothing was changed.") from None
        return _shown(other)


def _shown(made: Plan) -> Torch | None:
    """Carry it out with a bar in a terminal, or a line for each phase elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console, cancelled, phases = Console(highlight=False), threading.Event(), list[str]()
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(PHASES["looking"], total=None)

        def tell(progress: Progress) -> None:
            total = progress.expected or None
            bars.update(bar, description=PHASES[progress.phase], completed=progress.received, total=total)
            if not console.is_terminal and progress.phase not in phases:
                phases.append(progress.phase)
                print(f"{PHASES[progress.phase]} …", flush=True)

        found = carry_out(made, tell, cancelled)
    return found


PHASES = {"looking": "finding what fits", "fetching": "fetching", "installing": "putting it in place"}


def _confirmed(question: str) -> bool:
    return _answer(f"{question} [Y/n] ").lower() in ("", "y", "yes")


def _choose_models() -> list[str]:
    """Ask which models to download; empty for none."""
    from engine.models.runtime.cards import card

    offered = models_to_offer()
    if not offered:
        return []
    print("\nModels that can be downloaded (mp3restore models list tells more):")
    for offer in offered:
        print(f"  {offer.key:<16} {size(offer.size):>7}  {offer.task}")
    while True:
        keys = _answer("Which? Names with spaces between them, Enter for none: ").replace(",", " ").split()
        try:
            return [card(key).key for key in keys]
        except UsageError as error:
            print(error)


def _answer(question: str) -> str:
    """A line from the user. Raises CancelledError where there is none to come."""
    try:
        return input(question).strip()
    except (EOFError, KeyboardInterrupt):
        print()
        raise CancelledError("Stopped.") from None
