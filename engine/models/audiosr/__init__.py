"""AudioSR: diffusion-based super-resolution at 48 kHz, as a lean inference runtime of our own."""
