"""Listening: tracks on one transport, toggled at once; blind tests; favourites.

``renderer`` and ``output_process`` make up the process that holds the audio callback; they know nothing of the
rest of the engine. ``player`` is the remote control of that process.
"""
