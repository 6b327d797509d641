"""mp3restore's engine: the restoration chain, usable without a terminal.

Floors (a file imports only from its own floor or below; ``tests/test_house.py`` watches over it):
``commands`` → ``player`` → ``run`` → ``library`` → ``planning`` → ``stages`` → ``models`` → ``analysis, dsp`` →
``audio`` → ``machine`` → ``files`` → ``errors`` → ``names, signals, text``.
"""

__version__ = "0.1.0"
