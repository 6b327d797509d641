"""The music that the restorer learns from: free packages of a Debian system, and what must not be learnt from."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

Kind = Literal["midi", "module", "recording", "kit", "loop"]


@dataclass(frozen=True)
class Package:
    """A package by name. Its recordings are ``lossless``, or are used only below their own low-pass."""

    name: str
    licence: str
    lossless: bool = True


PACKAGES = (
    Package("openttd-openmsx", "GPL-2"),
    Package("planetblupi-music-midi", "GPL-3+"),
    Package("freedoom", "BSD-3-clause"),
    Package("pingus-data", "GPL-3+"),
    Package("tecnoballz-data", "GPL-3+"),
    Package("criticalmass-data", "GPL-2"),
    Package("tomatoes-data", "GPL-2 and free music licences"),
    Package("bb", "GPL-2+"),
    Package("hydrogen-drumkits", "GPL-2+ and CC"),
    Package("sonic-pi-samples", "CC0"),
    Package("lmms-common", "GPL-2+ and CC", lossless=False),
    Package("starfighter-data", "CC-BY, CC-BY-SA and CC0", lossless=False),
    Package("lincity-ng-data", "GPL-2+ and CC-BY-SA", lossless=False),
    Package("hyperrogue-music", "CC-BY", lossless=False),
    Package("nexuiz-music", "GPL-2+", lossless=False),
    Package("warzone2100-music", "GPL-2+ and CC", lossless=False),
    Package("fretsonfire-songs-muldjord", "GPL-2+", lossless=False),
    Package("fretsonfire-songs-sectoid", "CC-BY-SA", lossless=False),
    Package("pushover-data", "free for any use", lossless=False),
    Package("frozen-bubble-data", "GPL-2", lossless=False),
)
SOUNDFONTS = (
    Package("fluid-soundfont-gm", "MIT"),
    Package("musescore-general-soundfont-lossless", "MIT"),
    Package("timgm6mb-soundfont", "GPL-2"),
)
#: Pieces by which restorers are judged come from these: never learnt from (package, name without ending).
EXCLUDED = (
    ("fretsonfire-songs-muldjord", ("notes",)),  # what the player is to press: no music
    ("fretsonfire-songs-sectoid", ("notes",)),
    ("openttd-openmsx", ("tttheme2*", "city_blues*")),
    (
        "sonic-pi-samples",
        (
            "loop_amen*",
            "loop_tabla",
            "loop_garzul",
            "loop_compus",
            "guit_*",
            "perc_bell*",
            "bass_voxy*",
            "bass_woodsy_c",
            "drum_splash_hard",
            "drum_cymbal_open",
        ),
    ),
)
#: Nothing of these names is learnt from, wherever it is found: the examples of librosa and of Apollo.
EXCLUDED_ANYWHERE = ("*vibe*ace*", "*fishin*", "*karissa*hobbs*", "*librosa*", "*apollo*", "*demucs*")
_ENDINGS: dict[str, Kind] = {
    ".mid": "midi",
    ".mod": "module",
    ".xm": "module",
    ".it": "module",
    ".s3m": "module",
    ".ogg": "recording",
    ".opus": "recording",
    ".flac": "recording",
    ".wav": "recording",
    ".aiff": "recording",
}
_LOSSY = (".ogg", ".opus")


@dataclass(frozen=True)
class Track:
    """Something that music can be made of. ``path`` is a file, of a kit the folder with its sounds."""

    package: str
    licence: str
    name: str
    kind: Kind
    path: Path
    lossless: bool

    @property
    def held_out(self) -> bool:
        """Whether it is kept for validation, decided by its name alone: about one in ten."""
        return int(hashlib.sha256(f"{self.package}/{self.name}".encode()).hexdigest(), 16) % 10 == 0


def may_be_learnt_from(package: str, name: str) -> bool:
    """False for what is excluded. ``name`` without its ending."""
    lower = name.lower()
    if any(fnmatch(lower, pattern) for pattern in EXCLUDED_ANYWHERE):
        return False
    return not any(package == where and any(fnmatch(lower, p) for p in patterns) for where, patterns in EXCLUDED)


def fetch(folder: Path) -> dict[str, Path]:
    """Download and unpack all packages below ``folder``, once: where each of them lies.

    Needs ``apt-get`` and ``dpkg-deb``; nothing is installed.
    """
    debs, trees = folder / "debs", folder / "tree"
    debs.mkdir(parents=True, exist_ok=True)
    places = {}
    for package in (*PACKAGES, *SOUNDFONTS):
        place = places[package.name] = trees / package.name
        if place.is_dir():
            continue
        subprocess.run(["apt-get", "--quiet", "download", package.name], cwd=debs, check=True)
        (deb,) = debs.glob(f"{package.name}_*.deb")
        subprocess.run(["dpkg-deb", "-x", deb, place], check=True)
    return places


def tracks(places: dict[str, Path]) -> list[Track]:
    """All that may be learnt from, in a fixed order."""
    from training.archives import unpack_midi_lumps, unpack_recordings

    found: list[Track] = []
    for package in PACKAGES:
        place = places[package.name]
        unpack_midi_lumps(place)
        unpack_recordings(place)
        kits: set[Path] = set()
        for path in sorted(p for p in place.rglob("*") if p.suffix.lower() in _ENDINGS and p.is_file()):
            kind = _ENDINGS[path.suffix.lower()]
            if path.is_symlink() or not may_be_learnt_from(package.name, path.stem):
                continue
            name = path.relative_to(place).with_suffix("").as_posix()
            if package.name == "hydrogen-drumkits":
                kits.add(path.parent)
                continue
            if package.name == "sonic-pi-samples":
                if not path.stem.startswith(("loop_", "ambi_")):
                    continue
                kind = "loop"
            elif kind == "recording" and path.stat().st_size < 300_000:
                continue
            lossless = package.lossless or path.suffix.lower() not in _LOSSY
            found.append(Track(package.name, package.licence, name, kind, path, lossless))
        for kit in sorted(kits):
            name = kit.relative_to(place).as_posix()
            found.append(Track(package.name, package.licence, name, "kit", kit, True))
    return found
