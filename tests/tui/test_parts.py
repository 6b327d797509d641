"""Themes, settings, the machine panel and the small helpers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

from engine.machine.monitor import Machine
from engine.text import fit
from tui.app import RestoreApp
from tui.settings import Settings, config_folder, load_settings
from tui.theming import load_themes, parse_theme
from tui.widgets.cells import bar, sparkline
from tui.widgets.machine_panel import MachinePanel


def test_text_fits_its_cells():
    for text in ("plain", "日本語の歌", "e\u0301e\u0301e\u0301", "🎵🎵🎵🎵", ""):
        for width in (1, 2, 3, 7, 20):
            assert cell_len(fit(text, width)) == cell_len(fit(text, width, keep_end=True)) == width
    assert fit("Artist/Album/Song.mp3", 16, keep_end=True) == "Artis…m/Song.mp3"
    assert [bar(f, 4) for f in (0, 0.5, 1, 7)] == ["    ", "██  ", "████", "████"]
    assert sparkline([0, 50, 100], 4) == "  ▄█"


def test_shipped_themes_are_good_and_bad_ones_are_told_and_skipped(home):
    folder = config_folder() / "themes"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('primary = "#123456"\n[variables]\nborder = "#fff"\n')
    (folder / "ember.toml").write_text('primary = "#654321"\n')
    (folder / "bad.toml").write_text('primary = "no colour"\n')
    (folder / "worse.toml").write_text("primary = = 1")
    (folder / "odd.toml").write_text('primary = "red"\nshine = 3\n')
    themes, problems = load_themes()
    names = [t.name for t in themes]
    assert {"ember", "paper", "contrast", "sixteen", "mine"} <= set(names)
    assert themes[-1].name == "mine" and [t.primary for t in themes if t.name == "ember"][-1] == "#654321"
    assert len(problems) == 3 and any("no colour" in p for p in problems) and any("'shine'" in p for p in problems)
    app = RestoreApp([])
    assert "mine" in app.available_themes


@pytest.mark.parametrize(
    "line",
    [
        "primary = " + "[" * 5000 + "]" * 5000,
        "luminosity_spread = " + "9" * 5000,
        "luminosity_spread = 0x" + "f" * 9000,
        "variables." + ".".join(["a"] * 5000) + " = 1",
        "secondary = " + "[" * 400 + "]" * 400,
        "text_alpha = " + "{ a = " * 3000 + "1" + "}" * 3000,
    ],
)
def test_depth_and_size_of_a_theme_are_told_in_a_sentence(home, line):
    folder = config_folder() / "themes"
    folder.mkdir(parents=True)
    (folder / "deep.toml").write_text(f'primary = "red"\n{line}\n' if "primary" not in line else line)
    (folder / "huge.toml").write_bytes(b"#" * (2 << 20))
    if os.name == "posix":
        os.mkfifo(folder / "pipe.toml")
    _, problems = load_themes()
    assert len(problems) == 2 + (os.name == "posix")
    assert all(p.endswith(".") and len(p) < 600 for p in problems)


def test_a_theme_needs_a_primary_colour():
    with pytest.raises(ValueError, match="primary"):
        parse_theme('foreground = "#fff"', "x")


def test_the_theme_is_remembered(drive):
    app = RestoreApp([])

    async def script(pilot):
        await pilot.pause(0.1)
        app.theme = "paper"
        await pilot.pause(0.1)

    drive(app, script)
    assert load_settings().theme == "paper" and RestoreApp([]).theme == "paper"


@pytest.mark.parametrize("content", ["", "[]", '{"theme": 3, "recent": [1, "a"]}', "\xff"])
def test_broken_settings_are_as_good_as_none(home, content):
    config_folder().mkdir(parents=True, exist_ok=True)
    (config_folder() / "settings.json").write_bytes(content.encode("latin-1"))
    assert load_settings().theme == Settings().theme


def test_recent_folders_are_kept_newest_first():
    settings = Settings()
    for path in ("a", "b", "a", *"cdefghijk"):
        settings.opened(path)
    settings.save()
    assert load_settings().recent == list("kjihgfedc")
    assert json.loads((config_folder() / "settings.json").read_text())["recent"][0] == "k"


class FakeNvml(SimpleNamespace):
    """A stand-in for NVML with one card; ``lost`` and ``lacking`` make it fail as drivers do."""

    class NVMLError(Exception): ...

    class NVMLError_NotSupported(NVMLError): ...  # noqa: N801

    class NVMLError_FunctionNotFound(NVMLError): ...  # noqa: N801

    NVML_TEMPERATURE_GPU = 0
    lost = False
    lacking = ()
    inits = 0

    def __getattr__(self, name):
        values = {
            "nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "card", "nvmlDeviceGetName": b"RTX 3080 Laptop",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=6_000_000_000, total=16_000_000_000),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=93), "nvmlDeviceGetPowerUsage": 115_000,
            "nvmlDeviceGetTemperatureV": 71, "nvmlDeviceGetTemperature": 70,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x40, "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
            "nvmlSystemGetDriverVersion": "600.1", "nvmlInit": None,
        }  # fmt: skip
        if name not in values:
            raise AttributeError(name)

        def call(*_):
            if name == "nvmlInit":
                FakeNvml.inits += 1
            if FakeNvml.lost:
                raise FakeNvml.NVMLError("GPU is lost")
            if name in FakeNvml.lacking:
                raise FakeNvml.NVMLError_NotSupported(name)
            return values[name]

        return call


@pytest.fixture
def nvml(monkeypatch):
    FakeNvml.lost, FakeNvml.lacking, FakeNvml.inits = False, (), 0
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    return FakeNvml


def test_the_gpu_is_read(nvml, tmp_path):
    sample = Machine(tmp_path).sample()
    (gpu,) = sample.gpus
    assert (gpu.name, gpu.memory_used, gpu.temperature, gpu.load, gpu.power) == ("RTX 3080 Laptop", 6e9, 71, 93, 115.0)
    assert gpu.throttled == "too hot" and sample.memory_total > 0 and sample.disk_free > 0


def test_missing_metrics_fall_back_or_are_left_out(nvml, tmp_path):
    nvml.lacking = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetPowerUsage")
    (gpu,) = Machine(tmp_path).gpus()
    assert (gpu.temperature, gpu.throttled, gpu.power, gpu.load) == (70, "power cap", None, 93)


def test_a_gpu_that_is_lost_comes_back(nvml, tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    assert machine.gpus()
    nvml.lost = True
    assert machine.gpus() == [] == machine.gpus()
    assert nvml.inits == 1  # not asked again at once
    nvml.lost = False
    monkeypatch.setattr("engine.machine.monitor._RETRY_SECONDS", 0.0)
    machine._next_try = 0.0
    assert machine.gpus()


def test_the_machine_panel_shows_it(nvml, drive, tmp_path):
    app = RestoreApp([])
    shown = []

    async def script(pilot):
        await pilot.pause(0.1)
        panel = app.home.query_one(MachinePanel)
        panel.show(Machine(tmp_path).sample())
        shown.append(panel.describe().plain)
        nvml.lost = True
        panel.show(Machine(tmp_path).sample())
        shown.append(panel.describe().plain)

    drive(app, script)
    assert all(w in shown[0] for w in ("RTX 3080", "71 °C", "115 W", "too hot", "6.0 GB / 16.0 GB", "93 %"))
    assert "no NVIDIA GPU" in shown[1]


def test_the_dashboard_loads_nothing_heavy():
    code = "import sys; import tui.app; print([m for m in ('torch', 'audiosr', 'demucs', 'librosa', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_crash_is_written_to_a_file(drive):
    app = RestoreApp([])

    async def script(pilot):
        await pilot.pause(0.1)
        app.call_later(lambda: 1 // 0)
        await pilot.pause(0.3)

    with pytest.raises(ZeroDivisionError):
        drive(app, script)
    assert "ZeroDivisionError" in app.crash_report.read_text()


def test_models_are_downloaded_from_their_screen(drive, tmp_path, monkeypatch):
    """From a server on this machine; first nobody answers, which is told in one sentence."""
    import dataclasses
    import http.server
    import threading

    from engine.models.runtime import cards as module
    from tests.tui.conftest import screen_text, until
    from tui.app import RestoreApp
    from tui.screens.pages import ModelsPage

    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "models"))
    served = tmp_path / "served"
    served.mkdir()
    (served / "m.pt").write_bytes(b"x" * 100_000)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *a: http.server.SimpleHTTPRequestHandler(*a, directory=str(served))
    )
    cards = [module.card("deepfilternet3"), module.card("hifigan-bwe")]

    def at(port):
        weights = dataclasses.replace(cards[1].files[0], url=f"http://127.0.0.1:{port}/m.pt")
        changed = [cards[0], dataclasses.replace(cards[1], files=(weights,), check=lambda path: None)]
        monkeypatch.setattr("tui.screens.pages.cards", lambda: changed)

    app = RestoreApp([])

    async def script(pilot):
        at(9)
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, ModelsPage))
        await pilot.pause(0.5)
        assert "not installed" in screen_text(app) and "Download a model" in screen_text(app)
        await pilot.press("g")
        await until(pilot, lambda: "Which model" in screen_text(app))
        await pilot.press("1")
        await until(pilot, lambda: any("Check the network" in n.message for n in app._notifications))
        at(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        await until(pilot, lambda: not app.screen._getting)
        await pilot.press("g")
        await until(pilot, lambda: "Which model" in screen_text(app))
        await pilot.press("1")
        await until(pilot, lambda: any("is here" in n.message for n in app._notifications))
        await until(pilot, lambda: "not installed" not in screen_text(app))

    drive(app, script)
    server.shutdown()
    assert (tmp_path / "models" / cards[1].files[0].filename).stat().st_size == 100_000
