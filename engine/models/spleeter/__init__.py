"""Spleeter: separation into 2, 4 or 5 stems at 44.1 kHz, by numpy alone, from Deezer's published checkpoints."""
