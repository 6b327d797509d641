"""Every row of the table in docs/architecture.md, tried: what is told there is all that needs to be done.

Each test adds something to a copy of the program, in the files that the page names, and uses it in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


class Program:
    """A copy of the program that is added to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in ("engine", "tui", "themes"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        home = folder / "home"
        home.mkdir()
        names = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
        self.environment = {**os.environ, **dict.fromkeys(names, str(home)), "PYTHONPATH": str(folder)}
        self.environment["MP3RESTORE_MODELS"] = str(folder / "models")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, "utf-8")

    def add(self, path: str, *lines: tuple[str, str]) -> None:
        """Put a line before the first one that begins with what is given, in a file that the page names."""
        file = self.folder / path
        text = file.read_text("utf-8")
        for before, line in lines:
            assert len(re.findall(f"^{re.escape(before)}", text, re.M)) >= 1, f"{path} has no line {before!r}"
            text = re.sub(f"^{re.escape(before)}", lambda found, line=line: line + found[0], text, count=1, flags=re.M)
        file.write_text(text, "utf-8")

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self._python("-m", "engine", *arguments)

    def python(self, code: str) -> str:
        done = self._python("-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _python(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path / "program")


@pytest.fixture
def song(tmp_path):
    """Two seconds."""
    audio = 0.2 * np.random.default_rng(0).standard_normal((88200, 2))
    path = tmp_path / "music" / "song.wav"
    path.parent.mkdir()
    soundfile.write(path, audio, 44100)
    return path


def _told_of(what: str, *places: str) -> None:
    """The page has a row for it that names these files."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {what} |")]
    for place in places:
        assert f"`{place}`" in row, f"the page does not say that {what} is added in {place}"


def test_a_stage(program, song):
    _told_of("a stage", "engine/stages/", "__init__.py")
    program.write(
        "engine/stages/louder.py",
        "from dataclasses import dataclass\n"
        "from engine.stages.base import Context, Params, Rendered, Stage, parameter, read_blocks\n"
        "@dataclass(frozen=True)\n"
        "class LouderParams(Params):\n"
        "    by_db: float = parameter(-6.0, 'how much louder', unit='dB', low=-20.0, high=20.0)\n"
        "class Louder(Stage):\n"
        "    name = 'louder'\n"
        "    title = 'Louder'\n"
        "    Parameters = LouderParams\n"
        "    def run(self, context: Context, params: LouderParams) -> Rendered:\n"
        "        signal, factor = context.input, 10 ** (params.by_db / 20)\n"
        "        made = lambda: (block * factor for block in read_blocks(signal))\n"
        "        return Rendered(signal.rate, signal.channels, signal.frames, made, note='louder')\n",
    )
    program.add(
        "engine/stages/__init__.py",
        ("from engine.stages.lowpass", "from engine.stages.louder import Louder\n"), ("        Lowpass()", "        Louder(),\n"),
    )  # fmt: skip
    recipe = song.parent / "r.toml"
    text = 'format = 1\n[variants.20_louder]\nchain = ["decode", { stage = "louder", by_db = %s }]\n'
    recipe.write_text(text % "-12")
    done = program.run("--no-tui", "--recipe", recipe, "--out", song.parent / "out", song)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (song.parent / "out" / "20_louder").iterdir()
    before, after = (soundfile.read(path)[0] for path in (song, made))
    assert np.allclose(after, before * 10 ** (-12 / 20), atol=1e-6)
    recipe.write_text(text % "60")
    refused = program.run("--no-tui", "--recipe", recipe, "--out", song.parent / "out", song)
    assert refused.returncode == 2 and "by_db must be between -20.0 and 20.0 dB" in refused.stderr


MODEL = """
from pathlib import Path
import numpy as np
from engine.audio.chunks import ChunkGeometry
from engine.errors import NotPossibleError
from engine.models.runtime import weights
from engine.models.runtime.weights import Weights
WEIGHTS = Weights("half", "half.npy", url="https://example.org/half.npy", size=132)
GEOMETRY = ChunkGeometry(44100, 4410, 0)
def unavailable_reason():
    return "" if weights.find(WEIGHTS) else "The model half is not here: run 'mp3restore models get half'."
def fingerprint():
    return weights.fingerprint(WEIGHTS)
def check(path: Path) -> None:
    try:
        if np.load(path, allow_pickle=False).shape != (1,):
            raise ValueError
    except ValueError:
        raise NotPossibleError(f"{path.name} is not the model half.") from None
def prepare(song, device, tell):
    share = np.load(weights.find(WEIGHTS)).astype(np.float32)
    return lambda windows: [np.concatenate([w * share, w * (1 - share)], axis=1) for w in windows]
"""
CARD = """        ModelCard(
            key="half", name="Half", task="separation into two halves", trained_on="nothing", licence="CC0",
            source=half.WEIGHTS.source, size=half.WEIGHTS.size, sample_rate=44100, stages=("separate",),
            advice="Run 'mp3restore models get half'.", files=(half.WEIGHTS,), check=half.check, needs_torch=False,
        ),
"""
SEPARATOR = """        Separator(
            key="half", title="Half", stems=("vocals", "other"), rate=44100, geometry=half.GEOMETRY, cost=0.01,
            neural=False, slow_without_gpu=False, unavailable_reason=half.unavailable_reason,
            fingerprint=half.fingerprint, prepare=half.prepare,
        ),
"""


def test_a_model_and_a_separator(program, song):
    _told_of("a model", "engine/models/", "runtime/cards.py")
    _told_of("a separator", "engine/models/separators.py")
    program.write("engine/models/half/__init__.py", MODEL)
    imported = "from engine.models import half\n"
    program.add("engine/models/runtime/cards.py", ("from engine.models import", imported), ("        *(", CARD))
    program.add(
        "engine/models/separators.py",
        ("from engine.models import", imported),
        ('        _demucs("htdemucs_ft"', SEPARATOR),
    )
    recipe, out = song.parent / "r.toml", song.parent / "out"
    recipe.write_text(
        'format = 1\n[variants.04_stems]\nchain = ["decode", { stage = "separate", model = "half" }]\nsuffix = ""\n'
    )
    run = ("--no-tui", "--recipe", recipe, "--variants", "04", "--out", out, song)
    missing = program.run(*run)
    assert missing.returncode == 2 and "models get half" in missing.stderr
    (song.parent / "wrong.npy").write_bytes(b"something else")
    wrong = program.run("models", "get", "half", "--from", song.parent / "wrong.npy")
    assert wrong.returncode != 0 and "wrong.npy" in wrong.stderr
    np.save(song.parent / "half.npy", np.array([0.25]))
    assert program.run("models", "get", "half", "--from", song.parent / "half.npy").returncode == 0
    assert "Half" in program.run("models", "list").stdout
    done = program.run(*run)
    assert done.returncode == 0, done.stdout + done.stderr
    stems = {path.name: soundfile.read(path)[0] for path in (out / "04_stems" / "song").iterdir()}
    assert set(stems) == {"vocals.flac", "other.flac", "residual.flac"}
    assert np.allclose(stems["other.flac"], 0.75 * soundfile.read(song)[0], atol=1e-5)


def test_a_recipe(program, song):
    _told_of("a recipe", "engine/planning/recipes/")
    program.write(
        "engine/planning/recipes/plain.toml",
        'format = 1\ntitle = "Plain"\n[variants.01_baseline]\nchain = ["decode"]\n',
    )
    done = program.run("--no-tui", "--recipe", "plain", "--out", song.parent / "out", song)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in (song.parent / "out").iterdir() if path.name[0] != "_"] == ["01_baseline"]


def test_a_key(program):
    _told_of("a key", "BINDINGS")
    program.add(
        "tui/screens/library.py",
        ("        Binding(\"g\", ", '        Binding("y", "greet", "Say hello", show=False),\n'),
        ("    HORIZONTAL_BREAKPOINTS", "    def action_greet(self) -> None:\n        self.app.exit('hello')\n\n"),
    )  # fmt: skip
    told = program.python(
        "import asyncio\nfrom tui.app import RestoreApp\nfrom tui.commands import help_groups\n"
        "app = RestoreApp([])\n"
        "async def main():\n"
        "    async with app.run_test() as pilot:\n"
        "        groups = dict(help_groups(app.screen, app.BINDINGS))\n"
        "        print('y', 'Say hello') if ('y', 'Say hello') in groups['Library'] else None\n"
        "        print([c.title for c in app.get_system_commands(app.screen) if c.title == 'Say hello'])\n"
        "        await pilot.press('y')\n"
        "asyncio.run(main())\nprint(app.return_value)\n"
    )
    assert told == "y Say hello\n['Say hello']\nhello\n"


def test_a_theme(program):
    _told_of("a theme", "themes/")
    ember = (program.folder / "themes" / "ember.toml").read_text("utf-8")
    program.write("themes/dusk.toml", re.sub(r"^primary = .*$", 'primary = "#123456"', ember, flags=re.M))
    told = program.python(
        "import asyncio\nfrom tui.app import RestoreApp\n"
        "app = RestoreApp([])\n"
        "async def main():\n"
        "    async with app.run_test() as pilot:\n"
        "        app.theme = 'dusk'\n"
        "        await pilot.pause()\n"
        "        print(app.current_theme.primary)\n"
        "asyncio.run(main())\n"
    )
    assert told == "#123456\n"


def test_an_analysis_figure(program, song):
    _told_of("an analysis figure", "engine/analysis/song.py", "engine/analysis/findings.py")
    recipe, out = song.parent / "r.toml", song.parent / "out"
    recipe.write_text('format = 1\n[variants.01_baseline]\nchain = ["decode"]\n')
    run = ("--no-tui", "--recipe", recipe, "--out", out, song)
    assert program.run(*run).returncode == 0
    record = next((out / "_done").rglob("song.json"))
    assert "crest" not in json.loads(record.read_text())["analysis"]
    program.add(
        "engine/analysis/song.py",
        ("    overs: int\n", "    crest: float\n"),
        ("        overs=measured", "        crest=round(peak - measured.loudness.integrated(), 2),\n"),
        ("ANALYSIS_VERSION =", "ANALYSIS_VERSION = 99\n_BEFORE_"),
    )  # fmt: skip
    program.add(
        "engine/analysis/findings.py",
        (
            "    found.append(_dynamics(analysis))",
            '    found.append(Finding("crest", f"{analysis.crest:.1f} dB", "fine", "Peaks over the mean."))\n',
        ),
    )
    told = program.run("analyze", "--json", song)
    assert json.loads(told.stdout)[0]["crest"] > 0
    assert re.search(r"crest\s+fine\s+Peaks over the mean\.\s+[\d.]+ dB", program.run("analyze", song).stdout)
    assert "up to date" in program.run(*run).stdout  # what was made stays, and is looked at again
    assert json.loads(record.read_text())["analysis"]["crest"] > 0
