"""The cosine at which DSPH stops driving things apart: 1 - 2 d / L, of codes of L bits at distance d."""

from __future__ import annotations

# Smallest distance of the best linear codes known with 2^1, 2^2 ... 2^12 words, by length.
DISTANCES = {
    16: (16, 10, 8, 8, 8, 6, 6, 5, 4, 4, 4, 2),
    24: (24, 16, 13, 12, 12, 10, 10, 8, 8, 8, 8, 8),
    32: (32, 21, 18, 16, 16, 16, 14, 13, 12, 12, 12, 10),
    48: (48, 32, 27, 24, 24, 24, 22, 22, 20, 20, 18, 18),
    64: (64, 42, 36, 33, 32, 32, 32, 29, 28, 28, 26, 26),
    96: (96, 64, 54, 50, 48, 48, 48, 46, 44, 44, 42, 41),
    128: (128, 85, 72, 68, 64, 64, 64, 64, 60, 60, 58, 57),
    256: (256, 170, 146, 136, 131, 128, 128, 128, 128, 124, 122, 122),
}


def threshold(bits: int, classes: int) -> float:
    """1 - 2 d / bits, where d is how far apart `classes` codes can be.

    For a k with 2^k >= classes, d is the smallest distance of the best linear code known of this length with 2^k
    words, as in the table that DSPH's code reads. Lengths that are not among `DISTANCES` take Griesmer's bound on d:
    up to 256 bits, it is at most one above that table for up to 64 classes, and two for up to 256.
    """
    exponent = max((classes - 1).bit_length(), 1)
    known = DISTANCES.get(bits, ())
    distance = known[exponent - 1] if exponent <= len(known) else griesmer(bits, exponent)
    return 1 - 2 * distance / bits


def griesmer(bits: int, exponent: int) -> int:
    """The largest d with d + ceil(d / 2) + ... + ceil(d / 2^(exponent - 1)) <= bits (Griesmer, 1960), or 1."""
    distance = 1
    while sum(-(-(distance + 1) // 2**i) for i in range(exponent)) <= bits:
        distance += 1
    return distance
