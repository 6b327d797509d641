"""A sound card for the player's tests."""

from __future__ import annotations

import pytest

from tests.player.soundcard import SoundCard, why_no_sound_card


@pytest.fixture
def sound_card(tmp_path, monkeypatch):
    """A sound card that the player finds as the default one."""
    if why := why_no_sound_card():
        pytest.skip(why)
    folder = tmp_path / "card"
    folder.mkdir()
    card = SoundCard(folder, 48000)
    for name, value in card.environment.items():
        monkeypatch.setenv(name, value)
    yield card
    card.unplug()
