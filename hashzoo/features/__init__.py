"""Frozen encoders run once: their outputs in the cache, and in archives for other machines."""
