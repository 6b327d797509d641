"""Thousands of inputs made to hang, crash, fill the memory of, run code in or write on the screen of whoever reads them.

``python -m tests.hostile`` (``make hostile``) runs all of them and writes ``docs/hostile.md``; ``test_hostile.py`` a few
of each kind. A case is a kind and a number, which is its seed: ``python -m tests.hostile KIND NUMBER`` repeats it.
"""
