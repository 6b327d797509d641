"""Music inside the archives of games: MIDI lumps of WAD files, recordings in PK3 (zip) files."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path


def unpack_midi_lumps(folder: Path) -> None:
    """Write every MIDI file inside a WAD below ``folder`` beside it, named by its lump."""
    for wad in sorted(folder.rglob("*.wad")):
        data = wad.read_bytes()
        count, directory = struct.unpack_from("<II", data, 4)
        for index in range(count):
            start, size, name = struct.unpack_from("<II8s", data, directory + 16 * index)
            if data[start : start + 4] == b"MThd":
                label = name.split(b"\0")[0].decode("ascii", "replace").lower()
                wad.with_name(f"{wad.stem}-{label}.mid").write_bytes(data[start : start + size])


def unpack_recordings(folder: Path) -> None:
    """Write every Ogg file inside a PK3 below ``folder`` beside it."""
    for archive in sorted(folder.rglob("*.pk3")):
        with zipfile.ZipFile(archive) as stored:
            for name in sorted(n for n in stored.namelist() if n.lower().endswith(".ogg")):
                archive.with_name(Path(name).name).write_bytes(stored.read(name))
