"""Asymmetric distances: real values of a query against codes or real values of the database."""

from __future__ import annotations

import numpy as np

from hashzoo.codes import Codes

VALUES = 1 << 22  # looked up or multiplied at a time


def distances_to_codes(queries: np.ndarray, candidates: np.ndarray, bits: int) -> np.ndarray:
    """bits / 2 (1 - cos(q, b)) of every query q to its candidates b in {-1, 1}^bits.

    Of a query in {-1, 1}^bits this is the Hamming distance. The order is that of the inner product, the asymmetric
    distance of binary codes (Gordo, Perronnin, Gong and Lazebnik, Asymmetric Distances for Binary Embeddings, 2014).
    Equal codes get equal distances.

    Args:
        queries: (Q, bits) real.
        candidates: (Q, n, ceil(bits / 8)) uint8, packed as in `Codes`.

    Returns:
        (Q, n) float64 in 0..bits; bits / 2 for a query of zeros.
    """
    count, width = candidates.shape[1:]
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") * 2.0 - 1
    found = np.zeros(candidates.shape[:2])
    step = max(1, VALUES // (width * max(256, count)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        padded = np.zeros((len(queries[part]), width * 8))
        padded[:, :bits] = _unit(queries[part])
        # What each value of each byte adds to the inner product; sums over bytes come in one order for all.
        added = padded.reshape(-1, width, 8) @ signs.T
        rows = np.arange(len(padded))[:, None]
        for byte in range(width):
            found[part] += added[:, byte][rows, candidates[part, :, byte]]
    return bits / 2 * (1 - found / np.sqrt(bits))


def distances_to_outputs(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """bits / 2 (1 - cos(q, o)) of every query q to the real values o of its candidates.

    Args:
        queries: (Q, bits) real.
        candidates: (Q, n, bits) real.

    Returns:
        (Q, n) float64 in 0..bits; bits / 2 where one of the two is all zeros.
    """
    bits = queries.shape[1]
    found = np.empty(candidates.shape[:2])
    step = max(1, VALUES // max(1, candidates.shape[1] * bits))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        found[part] = (_unit(candidates[part]) * _unit(queries[part])[:, None]).sum(axis=2)
    return bits / 2 * (1 - found)


def signs_of(codes: Codes) -> np.ndarray:
    """(n, bits) float64 of -1 and 1: the real values of a query of which there are only codes."""
    return codes.unpack() * 2.0 - 1


def _unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64; zeros stay."""
    values = values.astype(np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)
