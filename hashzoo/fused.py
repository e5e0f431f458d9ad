"""Parts of a training step, compiled: each passes once over what a dozen operations of torch pass over one by one.

Shapes and types: float32 on a CPU; model.py and losses.py have the same in torch for all else, which the tests compare.
Importing this module imports numba.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from hashzoo.kernels import compiled

# SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the words are hashes of a counter, so that a loop makes eight at once.
STEP, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

CHUNK = 1024  # pairs that stay in the first-level cache between the loops over them


def _coefficients(function: Callable[[np.ndarray], np.ndarray], degree: int, low: float, high: float) -> list:
    """Of the polynomial that meets a function at Chebyshev's points, lowest power first."""
    series = Chebyshev.interpolate(function, degree, [low, high])
    return [np.float32(value) for value in series.convert(kind=Polynomial).coef]


# exp(r) = 2^n exp(r - n log 2): the rest is at most log(2) / 2. The logarithm has log(1 + e) = e P(e) for e in (0, 1].
# Both are off by less than float32 can tell.
HALF = np.log(2) / 2
E0, E1, E2, E3, E4, E5, E6 = _coefficients(np.exp, 6, -HALF, HALF)
L0, L1, L2, L3, L4, L5, L6, L7, L8, L9 = _coefficients(lambda e: np.log1p(e) / e, 9, 0, 1)
LOG2_E, LOG_2 = np.float32(1 / np.log(2)), np.float32(np.log(2))
LOG_2_REST = np.float32(np.log(2) - float(LOG_2))
LAST = np.float32(87)  # exp(-87) is the smallest that float32 holds with all of its digits
HALF_ONE, ZERO, ONE = np.float32(0.5), np.float32(0), np.float32(1)
BIAS, SHIFT = np.int32(127), np.int32(23)  # of the exponent of a float32


@functools.partial(compiled, fastmath={"contract"})  # a product and a sum may be one operation, rounded once
def likelihood(theta, similarity, similar, dissimilar):  # type: ignore[no-untyped-def]
    """sum(w (log(1 + exp(theta)) - S theta)) over pairs; theta becomes its gradient, w (sigmoid(theta) - S).

    Args:
        theta: (A, B).
        similarity: S, (A, B) in {0, 1}.
        similar, dissimilar: the weights w, float32.
    """
    ones, powers = np.empty(CHUNK, dtype=np.float32), np.empty(CHUNK, dtype=np.int32)
    scales, sums = powers.view(np.float32), np.zeros(CHUNK, dtype=np.float32)
    for i in range(theta.shape[0]):
        for start in range(0, theta.shape[1], CHUNK):
            row, same = theta[i, start : start + CHUNK], similarity[i, start : start + CHUNK]
            for j in range(row.size):
                a = min(abs(row[j]), LAST)
                n = np.floor(a * LOG2_E + HALF_ONE)
                r = (n * LOG_2 - a) + n * LOG_2_REST
                ones[j] = E0 + r * (E1 + r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * E6)))))
                powers[j] = (BIAS - np.int32(n)) << SHIFT
            for j in range(row.size):
                t, s, e = row[j], same[j], ones[j] * scales[j]  # e = exp(-|theta|)
                p = L4 + e * (L5 + e * (L6 + e * (L7 + e * (L8 + e * L9))))
                p = e * (L0 + e * (L1 + e * (L2 + e * (L3 + e * p))))
                weight = s * (similar - dissimilar) + dissimilar
                sums[j] += weight * (max(t, ZERO) - s * t + p)
                inverse = ONE / (ONE + e)
                row[j] = weight * ((inverse if t > ZERO else e * inverse) - s)
    total = 0.0
    for j in range(CHUNK):
        total += sums[j]
    return total


@compiled
def rectify_and_drop(values, seed, dropped, scale):  # type: ignore[no-untyped-def]
    """In place: values below 0 become 0, and so does any with probability dropped / 256; the others times scale.

    A value takes eight random bits, which follow from the seed and from its place.

    Args:
        values: (n,).
        seed: uint64.
        dropped: uint8, 1 to 255.
        scale: float32.
    """
    words = np.empty((values.size + 7) // 8, dtype=np.uint64)
    for i in range(words.size):
        z = seed + np.uint64(i + 1) * STEP
        z = (z ^ (z >> np.uint64(30))) * FIRST
        z = (z ^ (z >> np.uint64(27))) * SECOND
        words[i] = z ^ (z >> np.uint64(31))
    drawn = words.view(np.uint8)
    for i in range(values.size):
        value = values[i]
        values[i] = value * scale if drawn[i] >= dropped and value > ZERO else ZERO
