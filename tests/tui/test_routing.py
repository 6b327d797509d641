"""What each stem goes through, changed in the dashboard."""

from __future__ import annotations

import pytest
from textual.widgets import OptionList

from engine.planning import recipes
from engine.planning.recipes import Each
from tests.tui.conftest import until
from tests.tui.test_dashboard import screen_text
from tui.app import RestoreApp
from tui.screens.dialogs import Choice
from tui.screens.recipe import RecipeScreen
from tui.screens.routing import ChainDialog, RoutingTable, Steps, stages_for_stems

TWO = """
format = 1
[variants.04_stems]
chain = ["decode", "separate"]
[variants.05_stems_enhanced]
from = "04_stems"
chain = [{ each = { drums = ["restore"], vocals = ["denoise", { stage = "restore", top_hz = 18000 }] } }]
"""


def routing(recipe):
    """Stage names by stem."""
    each = next(item for item in recipe.variants["05_stems_enhanced"].chain if isinstance(item, Each))
    return {stem: [step.stage for step in steps] for stem, steps in each.stems}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(TWO)
    return str(path)


async def open_routing(pilot, app):
    await pilot.press("e")
    await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
    await pilot.press("end", "tab")
    await until(pilot, lambda: isinstance(app.focused, RoutingTable))
    return app.focused


async def change(pilot, app, *keys):
    """Open the dialog of the stem under the cursor, press keys in it, take what came out."""
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ChainDialog))
    await pilot.press(*keys)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
    await pilot.pause(0.2)


@pytest.mark.parametrize("size", [(80, 24), (140, 42)])
def test_a_stem_is_given_another_chain_by_keys_alone_and_it_is_saved(drive, recipe, size):
    app = RestoreApp([], recipe=recipe)

    async def script(pilot):
        table = await open_routing(pilot, app)
        assert "denoise > restore" in screen_text(app)
        assert "passes as it is" in screen_text(app)
        await pilot.press("home")
        await change(pilot, app, "d")  # vocals without the denoiser
        assert isinstance(app.focused, RoutingTable)  # where one was
        assert app.focused is not table
        await pilot.press("down")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        app.screen.query_one(OptionList).highlighted = stages_for_stems().index("lowpass")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        await pilot.press("K", "enter")  # before the restorer
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.pause(0.2)
        assert "lowpass > restore" in screen_text(app)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is app.home)
        saved = recipes.load("two")
        assert routing(saved) == {"vocals": ["restore"], "drums": ["lowpass", "restore"]}
        kept = saved.variants["05_stems_enhanced"].steps()[0][1]
        assert kept.params.top_hz == 18000  # what was set for a stage stays with it

    drive(app, script, size)


def test_cancelling_changes_nothing_and_the_last_treated_stem_is_kept(drive, tmp_path):
    path = tmp_path / "one.toml"
    path.write_text(TWO.replace('drums = ["restore"], ', "").replace('"denoise", ', ""))
    app = RestoreApp([], recipe=str(path))

    async def script(pilot):
        await open_routing(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        await pilot.press("d", "d", "K", "J", "escape")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await change(pilot, app, "d")
        assert any("One stem at least" in n.message for n in app._notifications)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is app.home)
        assert routing(recipes.load("one")) == {"vocals": ["restore"]}

    drive(app, script)


def test_only_stages_that_fit_one_stem_are_offered():
    offered = stages_for_stems()
    assert {"restore", "denoise", "audiosr"} <= set(offered)
    assert not {"decode", "separate", "remix", "collect", "master"} & set(offered)


def test_an_empty_chain_says_how_to_add_a_stage(drive, recipe):
    app = RestoreApp([], recipe=recipe)

    async def script(pilot):
        await open_routing(pilot, app)
        await pilot.press("end", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        assert "press a to add a stage" in screen_text(app)
        assert isinstance(app.focused, Steps)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("1", "enter")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.pause(0.2)
        each = app.screen.query_one(RoutingTable).each
        assert [step.stage for step in each.of("accompaniment")] == [stages_for_stems()[0]]

    drive(app, script)
