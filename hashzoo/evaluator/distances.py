"""How far relevant and irrelevant items lie from the queries: what the rankings are made from, for figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashzoo.evaluator.counting import Collection, histograms
from hashzoo.evaluator.inputs import code_pair, label_pair
from hashzoo.evaluator.scoring import queries_at_once


def distance_counts(query: Any, database: Any, query_labels: Any, database_labels: Any) -> np.ndarray:
    """How many pairs of a query and a database item lie at each Hamming distance.

    Args:
        query, database, query_labels, database_labels: as in `evaluate`.

    Returns:
        (2, bits + 1) int64: irrelevant pairs, which share no label, and relevant ones, by distance.
    """
    query_sets, database_sets = label_pair(query_labels, database_labels)
    query_codes, database_codes = code_pair(query, database, len(query_sets), len(database_sets))
    queries = Collection(query_codes.data, query_sets)
    items = Collection(database_codes.data, database_sets)
    bits, counts = query_codes.bits, np.zeros((query_codes.bits + 1, 2), dtype=np.int64)
    group = queries_at_once(bits, levels=2)
    for start in range(0, len(queries), group):
        counts += histograms(queries[start : start + group], items, bits, levels=2).sum(axis=0)
    return counts.T
