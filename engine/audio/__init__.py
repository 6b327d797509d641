"""Getting samples in and out: decode, encode, tags, resample, chunks, loudness."""
