"""``python -m training.make WORK``: the weights of the learned restorer, from nothing but package names.

Fetches the music, makes the pairs, learns, evaluates, and writes the weights and their card into the program. WORK is
a folder with some 10 GB of room; what is there already is not made again. Needs a Debian system with lame, fluidsynth
and openmpt123, and PyTorch (``pip install --group training``).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

_TOOLS = ("apt-get", "dpkg-deb", "lame", "fluidsynth", "openmpt123")
_TARGET = Path(__file__).resolve().parents[1] / "engine" / "models" / "restorer"
#: Pieces of a track and codings of each: drum kits never play the same twice.
_PLAN = {"midi": (3, 3), "module": (4, 3), "recording": (3, 3), "kit": (18, 3), "loop": (2, 2)}


def make_pairs(work: Path, workers: int, seed: int) -> tuple[Path, list[dict[str, str]]]:
    """(folder of the pairs, what is to be told of every track)."""
    from training.pairs import write_ended_pairs, write_pairs
    from training.sources import SOUNDFONTS, fetch, tracks

    places = fetch(work)
    found = tracks(places)
    soundfonts = [next(p for p in sorted(places[s.name].rglob("*.sf2")) if not p.is_symlink()) for s in SOUNDFONTS]
    loops = [track.path for track in found if track.kind == "loop" and not track.held_out]
    folder = work / "pairs"
    made = work / "pairs.json"
    if not made.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        with ProcessPoolExecutor(workers) as pool:
            jobs = [
                (
                    pool.submit(write_pairs, track, soundfonts, loops, folder, *_PLAN[track.kind], seed),
                    pool.submit(write_ended_pairs, track, soundfonts, loops, folder, seed),
                )
                for track in found
            ]
            counts = [sum(job.result() for job in both) for both in jobs]
        made.write_text(json.dumps(counts))
    counts = json.loads(made.read_text())
    told = [
        {
            "package": track.package,
            "licence": track.licence,
            "track": track.name,
            "sha256": _hash(track.path),
            "pairs": str(count),
            "use": "validation" if track.held_out else "training",
        }
        for track, count in zip(found, counts, strict=True)
        if count
    ]
    return folder, told


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def write_card(
    folder: Path, settings: dict[str, Any], figures: dict[str, Any], told: list[dict[str, str]], made: str
) -> None:
    """What is to be known of the weights in ``folder``, beside them."""
    card = {
        "fingerprint": _hash(folder / "weights.npz")[:16],
        "made": made,
        "licence": "MIT, as the program; learnt from the tracks below under their licences",
        "settings": settings,
        "held out": figures,
        "tracks": told,
    }
    (folder / "card.json").write_text(compact(card), "utf-8")


def compact(card: dict[str, Any]) -> str:
    """JSON with one line for each value, each row of figures and each track."""
    lines = []
    for name, value in card.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            told = f"[\n{rows}\n ]"
        elif isinstance(value, dict):
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
            told = f"{{\n{rows}\n }}"
        else:
            told = json.dumps(value, ensure_ascii=False)
        lines.append(f" {json.dumps(name)}: {told}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--workers", type=int, default=2, help="processes that make pairs")
    parser.add_argument("--steps", type=int, help="steps of learning; the default makes the weights that are shipped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, default=_TARGET, help="folder for the weights and their card")
    options = parser.parse_args()
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        parser.error(f"not found: {', '.join(missing)} (apt-get install lame fluidsynth openmpt123)")
    os.environ["OMP_NUM_THREADS"] = "1"
    folder, told = make_pairs(options.work, options.workers, options.seed)

    from training.evaluate import evaluate
    from training.train import Settings, learn, stored_pairs
    from training.weights import write_weights

    settings = Settings(seed=options.seed)
    if options.steps:
        settings = dataclasses.replace(settings, steps=options.steps)
    pairs = stored_pairs(folder)
    held_out = [pair for pair in pairs if pair.held_out]
    network = learn([pair for pair in pairs if not pair.held_out], held_out, settings, options.work / "learning.jsonl")
    write_weights(options.into / "weights.npz", network.weights())
    figures = {name: dataclasses.asdict(value) for name, value in evaluate(network, held_out, settings).items()}
    write_card(options.into, dataclasses.asdict(settings), figures, told, "one run of training.make")
    for name, row in figures.items():
        print(f"{name:<8}" + "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
