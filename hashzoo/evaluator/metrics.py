"""The metrics by name: what a request such as ["map", "precision@100"] asks the counting for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.evaluator.protocols import check_k

PLAIN = ("map", "map_bounds", "floor", "mrr", "r_precision", "pr_curve_radius", "pr_curve_rank", "top_n_precision")
AT_RANK = ("map", "precision", "recall", "ndcg")
AT_RADIUS = ("precision", "recall", "f1")
DEFAULT_RANKS = (1, 10, 100, 1000)
DEFAULT_RADIUS = 2
CURVE_POINTS = 64
TOP_N = (1, *range(100, 1001, 100))


@dataclass(frozen=True)
class Request:
    """Metrics sorted by what they need. Every tuple ascends and names a value once."""

    plain: frozenset[str]
    map_cuts: tuple[int, ...]
    precision_ranks: tuple[int, ...]
    recall_ranks: tuple[int, ...]
    ndcg_ranks: tuple[int, ...]
    precision_radii: tuple[int, ...]
    recall_radii: tuple[int, ...]
    f1_radii: tuple[int, ...]

    def ranks(self, database: int) -> np.ndarray:
        """(K,) int64: every rank at which hits are counted."""
        ranks = set(self.precision_ranks) | set(self.recall_ranks)
        if "top_n_precision" in self.plain:
            ranks |= set(TOP_N)
        if "pr_curve_rank" in self.plain:
            ranks |= set(curve_ranks(database))
        return np.array(sorted(ranks), dtype=np.int64)


def curve_ranks(database: int) -> list[int]:
    """At most 64 ranks from 1 to the database size, evenly spaced in the logarithm."""
    return sorted({round(rank) for rank in np.geomspace(1, database, CURVE_POINTS).tolist()})


def default_metrics(bits: int, database: int) -> list[str]:
    """Every metric, at the default ranks that the database reaches and radius 2 if the codes are that long."""
    names = list(PLAIN)
    for metric in ("precision", "recall", "ndcg"):
        names += [f"{metric}@{rank}" for rank in DEFAULT_RANKS if rank <= database]
    if bits >= DEFAULT_RADIUS:
        names += [f"{metric}_radius_{DEFAULT_RADIUS}" for metric in AT_RADIUS]
    return names


def parse(names: Iterable[str], bits: int) -> Request:
    """Read metric names; an unknown one is an error that suggests the nearest."""
    if isinstance(names, str):
        names = [names]
    plain: set[str] = set()
    at: dict[str, set[int]] = {f"{metric}@": set() for metric in AT_RANK}
    at |= {f"{metric}_radius_": set() for metric in AT_RADIUS}
    for name in names:
        if name in PLAIN:
            plain.add(name)
            continue
        for prefix, values in at.items():
            number = name.removeprefix(prefix)
            if number != name:
                values.add(_radius(number, bits) if prefix.endswith("_radius_") else check_k(number))
                break
        else:
            known = (*PLAIN, *(f"{prefix}{100 if '@' in prefix else 2}" for prefix in at))
            raise HashzooError(f"there is no metric '{name}'{did_you_mean(str(name), known)}")
    return Request(frozenset(plain), *(tuple(sorted(values)) for values in at.values()))


def _radius(text: str, bits: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > bits:
        raise HashzooError(f"a Hamming radius for {bits}-bit codes is a whole number from 0 to {bits}, not '{text}'")
    return int(text)
