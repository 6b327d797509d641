"""What a song is and what was done to it: MP3 header facts, cutoff, level."""
