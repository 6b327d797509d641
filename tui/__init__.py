"""The dashboard: what is seen and pressed. No audio maths, no file formats; those are the engine's."""
