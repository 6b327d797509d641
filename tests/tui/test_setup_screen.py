"""Setting the AI models up from the dashboard: offered once, progress, cancelled, tried again."""

from __future__ import annotations

import sys
import textwrap
import threading
from pathlib import Path

import pytest
from textual.widgets import OptionList

from engine.commands import setup
from engine.machine import gpu_probe, host
from engine.machine.gpu_probe import Torch
from engine.machine.host import Host, NvidiaGpu
from tests.tui.conftest import screen_text, until
from tui.app import RestoreApp
from tui.screens.dialogs import Choice
from tui.screens.pages import ModelsPage
from tui.screens.setup import SetupScreen
from tui.settings import load_settings

RTX = NvidiaGpu("NVIDIA GeForce RTX 3080", 10_737_418_240, (8, 6))
WORKS = Torch("2.9.0+cu126", "cuda", "cuda", RTX.name, 3e-7)


@pytest.fixture
def installer(tmp_path, monkeypatch):
    """A Windows machine with a GPU, whose uv is a script of the test: ``installer(code)``; what was run is counted."""
    monkeypatch.setattr(host, "look", lambda: Host(
        "Windows", "AMD64", "3.12.4", sys.executable, tmp_path, (RTX,), "560.94", uv="uv", free_disk=10**12,
    ))  # fmt: skip
    monkeypatch.setattr(setup, "requirements", lambda: ["torch>=2.6", "nobody-has-this"])
    monkeypatch.setattr(gpu_probe, "prove", lambda: WORKS)
    for tool in ("uv", "pip"):
        (tmp_path / f"{tool}.count").write_text("")

    def use(code):
        script = tmp_path / "uv.py"
        head = "import pathlib, sys, time\ntool = sys.argv[1]\ncount = pathlib.Path(f'{tool}.count')\ncount.write_text(count.read_text() + 'x')\ntimes = len(count.read_text())\ndef say(text): print(text, flush=True)\n"
        script.write_text(head + textwrap.dedent(code))
        monkeypatch.setattr(setup.Plan, "command", lambda self: [sys.executable, str(script), self.tool])

    return use


async def to_setup(pilot):
    await pilot.press("M")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelsPage))
    await pilot.press("i")
    await until(pilot, lambda: isinstance(pilot.app.screen, SetupScreen))
    await until(pilot, lambda: "about 3.0 GB" in screen_text(pilot.app))


def test_from_the_models_screen_to_a_gpu_that_computes(drive, installer):
    installer("""
        say('Downloading torch (2.5GiB)')
        while not pathlib.Path('go').exists(): time.sleep(0.05)
        say('Prepared 1 package'); say('Installed 1 package')
    """)
    app = RestoreApp([])

    async def script(pilot):
        await to_setup(pilot)
        text = screen_text(app)
        assert (
            "RTX 3080" in text
            and "driver 560.94" in text
            and "it is not here yet" in text
            and "Enter sets it up" in text
        )
        await pilot.press("enter")
        await until(pilot, lambda: "fetching: " in screen_text(app) and "of 2.7 GB" in screen_text(app))
        await pilot.press("enter")  # once is enough
        (Path(host.look().environment) / "go").write_text("")
        await until(pilot, lambda: f"computes on {RTX.name}" in screen_text(app))
        assert "Apollo, 6" in screen_text(app) and (host.look().environment / "uv.count").read_text() == "x"
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.screen, ModelsPage))
        assert len(app.screen_stack) == 2

    drive(app, script)


def test_cancelled_and_tried_again(drive, installer):
    installer("""
        say('Downloading torch (2.5GiB)')
        if times < 2: time.sleep(600)
        if times < 3: say('error: something new'); sys.exit(1)
        say('Installed 1 package')
    """)
    app = RestoreApp([])

    async def script(pilot):
        await to_setup(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "fetching" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "nothing was changed" in screen_text(app))
        assert isinstance(app.screen, SetupScreen)
        await pilot.press("r")
        await until(pilot, lambda: "something new" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: f"computes on {RTX.name}" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ModelsPage))

    drive(app, script)


def test_a_gpu_that_still_does_not_compute_is_told(drive, installer, monkeypatch):
    installer("say('Installed 1 package')")
    monkeypatch.setattr(gpu_probe, "prove", lambda: Torch("2.9.0+cu130", "cuda", "cpu", "the processor", 1e-7))
    app = RestoreApp([])

    async def script(pilot):
        await to_setup(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "update its driver" in screen_text(app))

    drive(app, script)


def test_where_the_builds_are_out_of_reach_it_asks(drive, installer, monkeypatch):
    installer("""
        if tool == 'uv': say('error: Failed to fetch: https://x/whl/cpu/torch/'); sys.exit(2)
        say('Installing collected packages: torch')
    """)
    monkeypatch.setattr(host, "look", lambda: Host(
        "Linux", "x86_64", "3.12.4", sys.executable, Path(setup.Plan.command(setup.Plan(None, (), "cpu"))[1]).parent, (), uv="uv",
    ))  # fmt: skip
    monkeypatch.setattr(gpu_probe, "prove", lambda: Torch("2.9.0", "cuda", "cpu", "the processor", 1e-7))
    app = RestoreApp([])

    async def script(pilot):
        await pilot.press("M", "i")
        await until(pilot, lambda: "about 230 MB" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        assert "about 3.0 GB" in screen_text(app)
        await pilot.press("1")
        await until(pilot, lambda: "computes on the processor" in screen_text(app))

    drive(app, script)


def test_an_environment_of_others_is_left_alone(drive, monkeypatch):
    monkeypatch.setattr(host, "look", lambda: Host("Linux", "x86_64", "3.12.4", "/usr/bin/python3", None, uv="uv"))
    monkeypatch.setattr(setup, "requirements", lambda: ["torch>=2.6"])
    app = RestoreApp([])

    async def script(pilot):
        await pilot.press("M", "i")
        await until(pilot, lambda: "Python that other programs use too" in screen_text(app))
        await pilot.press("enter")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ModelsPage))

    drive(app, script)


def test_it_is_offered_once_where_a_gpu_is_idle(drive, monkeypatch):
    asked = threading.Event()
    monkeypatch.setattr(host, "gpu_is_idle", lambda: asked.set() or True)
    monkeypatch.setattr(
        host, "look", lambda: Host("Linux", "x86_64", "3.12.4", "/usr/bin/python3", None, (RTX,), uv="uv")
    )
    app = RestoreApp([])

    async def script(pilot):
        await until(pilot, lambda: isinstance(app.screen, Choice))
        assert "NVIDIA GPU" in screen_text(app) and app.screen.query_one(OptionList).option_count == 2
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))

    drive(app, script)
    assert load_settings().setup_offered and asked.is_set()
    again = RestoreApp([])

    async def quiet(pilot):
        await pilot.pause(0.5)
        assert not isinstance(again.screen, Choice)

    drive(again, quiet)
