"""What the dashboard remembers: theme, recent folders, the last recipe. A broken file is as good as none."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from platformdirs import user_config_path, user_log_path

from engine.files import read_json, write_json

_MOST_RECENT = 9


def config_folder() -> Path:
    """Where settings, the user's own themes and recipes lie."""
    return user_config_path("mp3restore", appauthor=False)


def log_folder() -> Path:
    """Where the program's own log and crash reports lie."""
    return user_log_path("mp3restore", appauthor=False)


@dataclass
class Settings:
    """``keep_going_on_hangup``: a lost terminal does not end the run.

    ``output_device`` is empty for the system's choice; ``volume`` of the player in dB. ``setup_offered``: setting
    the AI models up was offered, which is done once.
    """

    theme: str = "ember"
    recipe: str = "auto"
    recent: list[str] = field(default_factory=list)
    keep_going_on_hangup: bool = True
    output_device: str = ""
    volume: float = 0.0
    setup_offered: bool = False

    def opened(self, path: str) -> None:
        """Put ``path`` on top of the recent ones."""
        self.recent = [path, *(p for p in self.recent if p != path)][:_MOST_RECENT]

    def save(self) -> None:
        """Write the settings; a disk that does not take them is no reason to stop."""
        with suppress(OSError):
            write_json(config_folder() / "settings.json", asdict(self))


def load_settings() -> Settings:
    """The remembered settings; defaults for whatever is missing or of the wrong kind."""
    settings = Settings()
    data = read_json(config_folder() / "settings.json") or {}
    for item in fields(Settings):
        if type(data.get(item.name)) is type(getattr(settings, item.name)):
            setattr(settings, item.name, data[item.name])
    settings.recent = [p for p in settings.recent if isinstance(p, str)]
    return settings
