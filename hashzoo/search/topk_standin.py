"""Numpy stand-in for the compiled kernels."""

from __future__ import annotations

import numpy as np

from hashzoo.codes import Codes


def nearest(
    queries: Codes, database: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(len(database)) if allowed is None else allowed
    found, far = [], []
    for query in queries.data:
        distances = np.bitwise_count(database[rows] ^ query).sum(axis=1, dtype=np.int32)
        order = np.argsort(distances, kind="stable")[:k]
        found.append(rows[order])
        far.append(distances[order])
    return np.array(found).reshape(len(queries), -1), np.array(far, dtype=np.int32).reshape(len(queries), -1)


def within(
    queries: Codes, database: np.ndarray, radius: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, far, starts = [np.empty(0, np.int64)], [np.empty(0, np.int32)], [0]
    numbers = np.arange(len(database)) if allowed is None else allowed
    for query in queries.data:
        distances = np.bitwise_count(database[numbers] ^ query).sum(axis=1, dtype=np.int32)
        order = np.argsort(distances, kind="stable")[: int((distances <= radius).sum())]
        rows.append(numbers[order])
        far.append(distances[order])
        starts.append(starts[-1] + len(order))
    return np.array(starts), np.concatenate(rows), np.concatenate(far)
