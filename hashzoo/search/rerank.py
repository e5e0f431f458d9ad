"""Asymmetric distances: real values of a query against codes or real values of the database."""

from __future__ import annotations

import numpy as np

from hashzoo.codes import Codes

VALUES = 1 << 22  # of candidates that callers should give at a time: some 100 MB are in memory meanwhile


def distances_to_codes(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
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
    bits, width = queries.shape[1], candidates.shape[2]
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") * 2.0 - 1
    padded = np.zeros((len(queries), width * 8))
    padded[:, :bits] = _unit(queries)
    found = np.zeros(candidates.shape[:2])
    for byte in range(width):
        # What each value of this byte adds to the inner product. Bytes are added in one order for all.
        added = padded[:, 8 * byte : 8 * byte + 8] @ signs.T
        found += np.take_along_axis(added, candidates[:, :, byte].astype(np.intp), 1)
    return bits / 2 * (1 - found / np.sqrt(bits))


def distances_to_outputs(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """bits / 2 (1 - cos(q, o)) of every query q to the real values o of its candidates.

    Args:
        queries: (Q, bits) real.
        candidates: (Q, n, bits) real.

    Returns:
        (Q, n) float64 in 0..bits; bits / 2 where one of the two is all zeros.
    """
    found = (_unit(candidates) * _unit(queries)[:, None]).sum(axis=2)
    return queries.shape[1] / 2 * (1 - found)


def signs_of(codes: Codes) -> np.ndarray:
    """(n, bits) float64 of -1 and 1: the real values of a query of which there are only codes."""
    return codes.unpack() * 2.0 - 1


def _unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64; zeros stay."""
    values = values.astype(np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)
