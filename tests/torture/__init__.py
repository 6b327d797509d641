"""Faults that are put into a run, and what the program makes of them: ``make torture`` tries more than ten thousand.

The short version of it is in ``test_torture.py``; what it has found, each in its smallest form, in ``test_mended.py``.
"""
