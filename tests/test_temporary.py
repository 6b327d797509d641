"""Variants that are kept only until what is made from them is there."""

from __future__ import annotations

import shutil

import pytest

from engine.errors import UsageError
from engine.library.verdicts import change_verdict
from engine.planning import recipes
from engine.planning.task import State
from engine.run.events import TaskDone, TaskStarted
from engine.run.session import Session
from tests.conftest import execute

KEPT = """format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.11_offline]
chain = ["decode", { stage = "eq", tilt_db = 0.5 }]
[variants.07_mastered]
from = ["11_offline"]
chain = [{ stage = "eq", tilt_db = -0.5 }]
"""
RECIPE = KEPT.replace("0.5 }]", "0.5 }]\ntemporary = true", 1)


@pytest.fixture
def library(tmp_path, demo_mp3):
    (tmp_path / "lib").mkdir()
    shutil.copy(demo_mp3, tmp_path / "lib" / "One.mp3")
    return tmp_path


def opened(library, recipe=RECIPE, **options) -> Session:
    (library / "recipe.toml").write_text(recipe)
    return Session([library / "lib"], recipe=str(library / "recipe.toml"), **options)


def states(session: Session) -> dict[str, State]:
    plan = session.states()[0]
    return {task.id: plan.states[task.id] for task in session.tasks if task.is_final}


def files(library) -> list[str]:
    return sorted(path.parent.name for path in library.rglob("*.flac"))


def worked_on(session: Session, **options) -> list[str]:
    return [event.task for event in execute(session, **options) if isinstance(event, TaskStarted)]


DONE = {"01_baseline": State.DONE, "11_offline": State.PRUNED, "07_mastered": State.DONE}


def test_it_goes_once_the_master_is_there_and_nothing_is_made_again(library):
    session = opened(library)
    assert [t.id for t in session.tasks if t.temporary] == ["11_offline"]
    expected = session.needs().kept
    execute(session)
    assert files(library) == ["01_baseline", "07_mastered"] and states(session) == DONE
    assert expected == pytest.approx(sum(p.stat().st_size for p in library.rglob("*.flac")), rel=0.3)
    assert worked_on(opened(library)) == [] and opened(library).needs().kept == 0
    assert worked_on(opened(library, KEPT)) == [], "only who asks for it gets it back"


def test_it_is_made_again_where_the_master_is_and_goes_again(library):
    execute(opened(library))
    next(library.rglob("*.mastered.flac")).unlink()
    assert "11_offline" in worked_on(opened(library))
    assert files(library) == ["01_baseline", "07_mastered"] and states(opened(library)) == DONE
    assert "11_offline" in worked_on(opened(library), force=True)
    assert files(library) == ["01_baseline", "07_mastered"]


def test_a_finished_library_stays_finished_and_only_loses_it(library):
    execute(opened(library, KEPT))
    assert states(opened(library)) == {**DONE, "11_offline": State.DONE}
    assert worked_on(opened(library)) == []
    assert files(library) == ["01_baseline", "07_mastered"] and states(opened(library)) == DONE


def test_it_stays_without_its_master(library):
    session = opened(library)
    session.subscribe(lambda e: session.stop() if isinstance(e, TaskDone) and e.task == "11_offline" else None)
    execute(session)
    assert "11_offline" in files(library), "stopped before it was of use"
    session = opened(library)
    session.off.add(("One.mp3", "07_mastered"))
    execute(session)
    assert files(library) == ["01_baseline", "11_offline"], "nobody wants the master"
    execute(opened(library, variants=["11"]))
    assert "11_offline" in files(library), "asked for by name, alone"
    execute(opened(library))
    assert files(library) == ["01_baseline", "07_mastered"]


def test_a_damaged_master_takes_nothing_with_it(library):
    execute(opened(library, KEPT))
    path = next(library.rglob("*.mastered.flac"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    execute(opened(library))
    assert "11_offline" in files(library)


def test_the_favourite_and_what_was_changed_by_hand_stay(library):
    execute(opened(library, KEPT))
    session = opened(library)
    listening = session.store.places.listening(session.songs[0].key)
    change_verdict(listening, favourite="11_offline")
    execute(session)
    assert "11_offline" in files(library)
    change_verdict(listening, favourite="")
    path = next(library.rglob("*.offline.flac"))
    path.write_bytes(path.read_bytes() + b"mine")
    assert any("somebody changed it" in getattr(e, "text", "") for e in execute(opened(library)))
    assert "11_offline" in files(library)


def test_what_leads_to_it_goes_too_and_a_second_best_source(library):
    more = RECIPE.replace('suffix = ""', 'suffix = ""\ntemporary = true').replace(
        '["11_offline"]', '["11_offline", "01_baseline"]'
    )
    execute(opened(library, more))
    assert files(library) == ["07_mastered"] and worked_on(opened(library, more)) == []


def test_the_option_is_kept_in_recipes_and_told_where_it_makes_no_sense():
    recipe = recipes.parse(RECIPE, "mine", "mine")
    assert recipes.parse(recipes.dump(recipe), "mine", "mine") == recipe
    assert "temporary" not in recipes.dump(recipes.parse(KEPT, "mine", "mine"))
    with pytest.raises(UsageError, match="nothing that is kept is made from it"):
        recipes.parse(KEPT.replace("-0.5 }]", "-0.5 }]\ntemporary = true"), "mine", "mine")
    with pytest.raises(UsageError, match="true or false"):
        recipes.parse(RECIPE.replace("temporary = true", "temporary = 1"), "mine", "mine")
