"""mp3restore's engine: the restoration chain, usable without a terminal.

Floors (a file imports only from its own floor or below; ``tests/test_house.py`` watches over it):
``commands`` → ``player`` → ``run`` → ``library`` → ``planning`` → ``stages`` → ``models`` → ``analysis`` → ``dsp`` →
``audio`` → ``machine`` → ``files`` → ``errors`` → ``names, plain_data, signals, text``.
"""

import os

# Songs are worked on side by side, and each then wants all cores for its matrix products: they wait for one another
# longer than they compute (a third of a short song's time). One thread also gives the same samples on every machine.
# NumPy reads this when it is loaded; whoever sets it otherwise is obeyed.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
