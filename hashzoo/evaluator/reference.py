"""What to hold an mAP against: the floor of codes that know nothing, the ceiling of codes that know the labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashzoo.codes import MAX_BITS, PACK_ROWS, Codes, pack
from hashzoo.errors import HashzooError
from hashzoo.evaluator.counting import Collection, histograms
from hashzoo.evaluator.inputs import LabelSets, label_pair
from hashzoo.evaluator.protocols import Protocol, resolve
from hashzoo.evaluator.ranking import Cut
from hashzoo.evaluator.scoring import check_relevant, evaluate, mean_precision, random_precision


def floor(
    query_labels: Any, database_labels: Any, *, protocol: str | Protocol = "expected", k: int | None = None
) -> float:
    """The expected mAP of a random ranking of the database: what codes that know nothing score.

    Exact for each query from its number R of relevant items among N: without a cut
    p + (1 - p) H_N / N with p = (R - 1)/(N - 1) and H_N the N-th harmonic number, which is a little above R/N;
    with a cut the protocol's own expectation over all N! orders.

    Args:
        query_labels, database_labels: (Q, C) and (N, C) bool or 0/1 integers.
        protocol, k: as in `evaluate`; the protocol's rule for ties does not matter.
    """
    protocol, k = resolve(protocol, k)
    query, database = label_pair(query_labels, database_labels)
    none = np.empty((len(query), 0), dtype=np.uint8), np.empty((len(database), 0), dtype=np.uint8)
    counts = histograms(Collection(none[0], query), Collection(none[1], database), bits=0, levels=2)
    relevant = counts[:, 0, 1]
    check_relevant(relevant, protocol)
    return mean_precision(*random_precision(relevant, len(database), Cut.of(protocol, k)), protocol)


def label_codes(labels: Any, bits: int, seed: int = 0) -> Codes:
    """Codes that know the labels: the signs of `bits` random projections of each row's label vector.

    The (C, bits) projection is standard normal from `numpy.random.default_rng(seed)`, rounded to multiples of 2^-20
    so that its sums are exact on every machine. Rows with equal labels get equal codes, whatever the modality.

    Args:
        labels: (N, C) bool or 0/1 integers.
    """
    query, _ = label_pair(labels, labels)
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 1 <= bits <= MAX_BITS:
        raise HashzooError(f"a code has 1 to {MAX_BITS} bits, not {bits!r}; give another number of bits")
    return _project(query, int(bits), seed)


def _project(labels: LabelSets, bits: int, seed: int) -> Codes:
    plane = np.rint(np.random.default_rng(seed).standard_normal((labels.classes, bits)) * 2**20)
    data = np.empty((len(labels), -(-bits // 8)), dtype=np.uint8)
    for start in range(0, len(labels), PACK_ROWS):
        rows = labels.data[start : start + PACK_ROWS]
        ones = np.unpackbits(rows, axis=1, count=labels.classes, bitorder="little")
        data[start : start + PACK_ROWS] = pack(ones.astype(np.float64) @ plane).data
    return Codes(data, bits)


def ceiling(
    query_labels: Any,
    database_labels: Any,
    bits: int,
    seed: int = 0,
    *,
    protocol: str | Protocol = "expected",
    k: int | None = None,
) -> float:
    """The label-oracle ceiling: the mAP of `label_codes` on both sides, of the given length.

    Perfect knowledge of the labels, squeezed into `bits` bits without any learning. It is not an upper bound: codes
    fitted to the relevance relation can pass it. It says how much of the distance to 1 the code length alone explains.
    """
    query, database = label_codes(query_labels, bits, seed), label_codes(database_labels, bits, seed)
    return evaluate(query, database, query_labels, database_labels, protocol=protocol, k=k, metrics=["map"]).map
