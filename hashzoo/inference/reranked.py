"""What re-ranking by asymmetric distances brings to the scores of a run, and what it costs.

A search knows more of a query than its code: the real values that its bits are the signs of. They are made again here,
by the stored towers from the features in the cache; the database is its stored codes alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.benches.reopening import reopen
from hashzoo.benches.track import DIRECTIONS, Track
from hashzoo.benches.workbench import Workbench
from hashzoo.codes import Codes, load_codes, pack
from hashzoo.errors import HashzooError
from hashzoo.evaluator import evaluate
from hashzoo.inference.model import load_model
from hashzoo.search import nearest
from hashzoo.search.rerank import VALUES, distances_to_codes

ROWS = 8192  # of queries that are encoded at a time
OTHER_BITS = 0.001  # share of bits that may differ from the stored codes: another processor rounds otherwise


def score_reranked(track: Track, run: Path, candidates: int) -> dict[str, Any]:
    """mAP of both directions when the nearest rows of each query are put in the order of their asymmetric distance.

    The ranking is the whole database by Hamming distance, of which the first rows, so many as there are candidates,
    change places. Ties are settled by row, before and after, as a search does it.

    Args:
        track: in whose folder the run lies.
        run: folder of a finished run.
        candidates: rows that are re-ranked for each query.

    Returns:
        Plain JSON: the number of "candidates", and for each direction "map" (re-ranked), "map_hamming" (the same
        ranking without), and wall "seconds" a query of the search for the candidates ("search") and of putting them in
        order ("rerank").

    Raises:
        HashzooError: the run has no model, its data set is not here, or the towers do not give the stored codes.
    """
    codes = load_codes(run / "codes.npz")
    model = load_model(run)
    dataset = reopen(run.resolve().parent.parent, track)
    bench = Workbench(dataset, track, model.device, None)
    found: dict[str, Any] = {"candidates": min(candidates, len(track.database_labels))}
    for direction, (query, database) in DIRECTIONS.items():
        inputs = bench.encoded(model.recipe, query).inputs
        rows = dataset.splits.query
        blocks = [model.outputs_of_rows(query, inputs, rows[n : n + ROWS]) for n in range(0, len(rows), ROWS)]
        values, queries = np.concatenate(blocks), codes[f"{query}_query"]
        other = float((pack(values).unpack() != queries.unpack()).mean())
        if other > OTHER_BITS:
            raise HashzooError(
                f"the {query} tower of {run} gives other codes than when it was trained ({other:.1%} of its bits); "
                f"re-rank where it was trained, or train again",
                exit_code=1,
            )
        found[direction] = reranked_map(
            values, queries, codes[f"{database}_database"], track.query_labels, track.database_labels, candidates
        )
    return found


def reranked_map(
    values: np.ndarray,
    queries: Codes,
    database: Codes,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    candidates: int,
) -> Mapping[str, Any]:
    """`score_reranked` of one direction.

    Args:
        values: (Q, bits) real values of the queries.
        queries, database: Q and N codes.
        query_labels, database_labels: (Q, C) and (N, C) bool.
    """
    labels = query_labels, database_labels
    whole = evaluate(queries, database, *labels, protocol="stable", metrics=["map"], per_query=True)
    count = min(candidates, len(database))
    nearest(queries[:1], database, count)  # compiles the kernel, where it is not in numba's cache yet
    start = time.perf_counter()
    rows, _ = nearest(queries, database, count)
    searched = time.perf_counter()
    order = _asymmetric_order(values, rows, database)
    reranked = time.perf_counter()
    relevant = np.empty(rows.shape, dtype=np.bool_)
    for query, nearby in enumerate(rows):
        relevant[query] = (database_labels[nearby] & query_labels[query]).any(axis=1)
    before, after = _precision_sums(relevant), _precision_sums(np.take_along_axis(relevant, order, 1))
    # What lies behind the candidates stays where it is, and the number of relevant rows before it, too.
    change = (after - before) / np.maximum(whole.per_query["relevant"], 1)
    return {
        "map": float((whole.per_query["map"] + change).mean()),
        "map_hamming": whole.map,
        "seconds": {"search": (searched - start) / len(queries), "rerank": (reranked - searched) / len(queries)},
    }


def _asymmetric_order(values: np.ndarray, rows: np.ndarray, database: Codes) -> np.ndarray:
    """(Q, n) places of the candidates `rows` by their asymmetric distance, ties by row."""
    order = np.empty(rows.shape, dtype=np.int64)
    step = max(1, VALUES // (rows.shape[1] * database.bits))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        order[part] = np.lexsort((rows[part], distances_to_codes(values[part], database.data[rows[part]])), axis=1)
    return order


def _precision_sums(relevant: np.ndarray) -> np.ndarray:
    """(Q,) sum over the relevant positions of (Q, n) rankings of the precision up to them."""
    hits = np.cumsum(relevant, axis=1)
    return (relevant * hits / np.arange(1, relevant.shape[1] + 1)).sum(axis=1)
