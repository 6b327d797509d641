"""The names of signals: what flows between stages."""

MIX = "mix"  # the one signal of what has no stems
#: Every stem that any separator makes, in the order in which they are shown.
STEMS = ("vocals", "drums", "bass", "guitar", "piano", "other", "accompaniment")
RESIDUAL = "residual"  # what no stem took
