"""``python -m engine`` is the same as the ``mp3restore`` script."""

from engine.commands.cli import main

if __name__ == "__main__":
    main()
