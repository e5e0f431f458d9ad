"""Is the difference real? Intervals and tests over queries, and spread over seeds.

All of them take per-query values (`Result.per_query["map"]`) and are exactly repeatable from their seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashzoo.errors import HashzooError

VALUES_AT_ONCE = 1 << 20  # resampled values held at a time
EXACT_QUERIES = 12  # up to 2^12 sign patterns are enumerated, not drawn


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1; 0 for one value) over `count` seeds."""

    mean: float
    deviation: float
    count: int


def bootstrap_interval(
    values: Any, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0, counted: Any = None
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over queries (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: (Q,) per-query values.
        confidence: the share of resampled means that the interval holds, between 0 and 1.
        counted: (Q,) weights, `Result.per_query["counted"]`, where the protocol skips queries.
    """
    weights = None if counted is None else _values(counted)[None]
    ((low, high),) = bootstrap_intervals(
        _values(values)[None], confidence=confidence, resamples=resamples, seed=seed, counted=weights
    )
    return float(low), float(high)


def bootstrap_intervals(
    values: Any, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0, counted: Any = None
) -> np.ndarray:
    """(R, 2) float64: the `bootstrap_interval` of each row, all from the same resamples of queries.

    Args:
        values: (R, Q) per-query values of R runs over the same queries.
        counted: (R, Q) weights, or None.
    """
    rows = _values(values, dimensions=2)
    weights = None if counted is None else _values(counted, dimensions=2)
    if weights is not None and (weights.shape != rows.shape or not weights.any(axis=1).all() or weights.min() < 0):
        raise HashzooError("counted must hold one weight from 0 a query, not all of them 0")
    if not 0 < confidence < 1:
        raise HashzooError(f"confidence must lie between 0 and 1, not {confidence}; 0.95 is usual")
    _check_draws(resamples)
    rng = np.random.default_rng(seed)
    queries = rows.shape[1]
    means = np.empty((resamples, len(rows)))
    step = max(1, VALUES_AT_ONCE // queries)
    for start in range(0, resamples, step):
        part = means[start : start + step]
        drawn = rng.integers(0, queries, size=(len(part), queries))
        drawn += queries * np.arange(len(part))[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=drawn.size).astype(np.float64).reshape(len(part), 1, queries)
        # One dot product a mean: a matrix product's last digits would depend on the shapes.
        total = queries if weights is None else np.vecdot(times, weights)
        # A resample of skipped queries only has no mean; 0 is what `evaluate` calls it.
        part[:] = np.divide(np.vecdot(times, rows), total, out=np.zeros_like(part), where=np.greater(total, 0))
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0).T


def randomisation_test(a: Any, b: Any, *, permutations: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the paired randomisation test on the difference of two means over the same queries.

    Under the null hypothesis the two systems' values of a query are exchangeable: the sign of each difference is
    flipped at random, and p is the share of patterns whose mean difference is at least the observed one (Smucker,
    Allan and Carterette, CIKM 2007). All patterns are enumerated for up to 12 queries; otherwise
    p = (1 + extreme) / (1 + drawn).

    Args:
        a, b: (Q,) per-query values of one metric, in the same order of queries.
    """
    return float(_randomisation_tests(_difference(a, b)[None], permutations, seed)[0])


def _difference(a: Any, b: Any) -> np.ndarray:
    first, second = _values(a), _values(b)
    if first.shape != second.shape:
        raise HashzooError(
            f"the runs have {len(first)} and {len(second)} queries; compare runs on the same queries in the same order"
        )
    return first - second


def _randomisation_tests(differences: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """(R,) p-values of R rows of (R, Q) differences, all from the same patterns of signs."""
    _check_draws(permutations)
    queries = differences.shape[1]
    observed = differences.sum(axis=1)
    # Sums in another order differ in their last digits: such near-ties count as at least as extreme.
    threshold = np.abs(observed) - 1e-12 * np.abs(differences).sum(axis=1)

    def extreme(flips: np.ndarray) -> np.ndarray:
        """(R,) how many of the (P, Q) 0/1 patterns give a sum at least as far from 0 as the observed one."""
        sums = observed - 2.0 * (flips.astype(np.float64) @ differences.T)
        return np.count_nonzero(np.abs(sums) >= threshold, axis=0)

    if queries <= EXACT_QUERIES:
        return extreme((np.arange(2**queries)[:, None] >> np.arange(queries)) & 1) / 2**queries
    rng = np.random.default_rng(seed)
    count = np.zeros(len(differences), dtype=np.int64)
    step = max(1, VALUES_AT_ONCE // queries)
    for start in range(0, permutations, step):
        count += extreme(rng.integers(0, 2, size=(min(step, permutations - start), queries), dtype=np.int8))
    return (1 + count) / (1 + permutations)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction for making several comparisons at once (Scandinavian Journal of Statistics, 1979)."""
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def against_best(
    values: Mapping[str, Any], *, permutations: int = 10_000, seed: int = 0
) -> tuple[str, dict[str, float]]:
    """The run with the highest mean, and for each other run the Holm-corrected p-value of the test against it.

    Args:
        values: run name -> (Q,) per-query values, all over the same queries. Of equal means the first name wins.
    """
    if not values:
        raise HashzooError("there is no run to compare; give at least one")
    best = max(values, key=lambda name: float(_values(values[name]).mean()))
    others = [name for name in values if name != best]
    if not others:
        return best, {}
    differences = np.array([_difference(values[best], values[name]) for name in others])
    p_values = _randomisation_tests(differences, permutations, seed)
    return best, holm(dict(zip(others, p_values.tolist(), strict=True)))


def over_seeds(values: Iterable[float]) -> Spread:
    """Mean and standard deviation of one score over runs that differ in their seed only."""
    array = _values(list(values))
    deviation = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    return Spread(math.fsum(array) / len(array), deviation, len(array))


def _values(values: Any, dimensions: int = 1) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions or not array.size:
        raise HashzooError(
            f"values must be a {dimensions}-D array with at least one entry, not {array.shape}; give one a query"
        )
    if not np.isfinite(array).all():
        raise HashzooError("values must be finite; leave out the queries whose value is not defined")
    return array


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise HashzooError(f"the number of random draws must be at least 1, not {draws}; 10000 is usual")
