"""The learned restorer: a small network that says what an MP3 lost, shipped with the program, run by numpy."""
