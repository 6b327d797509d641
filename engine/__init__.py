"""mp3restore's engine: the restoration chain, usable without a terminal.

Floors (a file imports only from its own floor or below):
``cli, headless, doctor, export`` → ``player`` → ``session`` → ``runner`` → ``plan`` → ``stages, recipes, store`` →
``models, analysis`` → ``audio, dsp`` → ``child, errors, events, files, text``.
"""

__version__ = "0.1.0"
