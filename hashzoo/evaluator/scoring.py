"""evaluate(): codes and labels in, one number or all of them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hashzoo.codes import Codes
from hashzoo.errors import HashzooError
from hashzoo.evaluator import metrics as names
from hashzoo.evaluator.counting import Collection, histograms
from hashzoo.evaluator.inputs import code_pair, label_pair
from hashzoo.evaluator.protocols import Protocol, resolve
from hashzoo.evaluator.ranking import (
    FIRST_RELEVANT,
    Counts,
    Cut,
    Ranked,
    Wanted,
    average_precision,
    discounts_to,
    rank_by_groups,
    rank_by_rows,
    split_ties,
)

HISTOGRAM_BYTES = 1 << 25  # histograms held at a time; more queries than fit are evaluated group after group


@dataclass(frozen=True, eq=False)
class Result:
    """What an evaluation found.

    Attributes:
        map: mean average precision under the protocol; what `scores["map"]` holds.
        scores: metric name -> number, or curve name -> {axis name -> list of numbers}; JSON-able.
        per_query: metric name -> (Q,) float64; empty unless asked for. "counted" is each query's weight in the
            mean of "map": 1, or under no_relevant="skip" the probability that it is not left out.
    """

    map: float
    scores: dict[str, Any]
    per_query: dict[str, np.ndarray] = field(default_factory=dict)


def evaluate(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    protocol: str | Protocol = "expected",
    k: int | None = None,
    metrics: Iterable[str] | None = None,
    per_query: bool = False,
) -> Result:
    """Rank the database by Hamming distance to each query, and score the rankings.

    An item is relevant to a query if they share a label.

    Args:
        query, database: (Q, bits) and (N, bits) Codes, or numpy arrays or torch tensors of real, +-1, 0/1 or bool
            values (bit = value > 0); 1 to 4096 bits. Nothing is changed in place.
        query_labels, database_labels: (Q, C) and (N, C) bool or 0/1 integers.
        protocol: a name ("expected", "stable", "optimistic", "pessimistic", "dcmh", "deephash@50", "hashnet@50",
            "textbook@50") or a Protocol.
        k: where to cut the ranking for "map", in positions or relevant items, as the protocol says; None: nowhere.
        metrics: names as in docs/evaluation.md, such as ["map", "precision@100", "ndcg@50", "precision_radius_2"];
            None: all of them.
        per_query: also return each query's values.

    Raises HashzooError in one sentence when the arguments are wrong or contradict each other.
    """
    protocol, k = resolve(protocol, k)
    query_sets, database_sets = label_pair(query_labels, database_labels)
    query_codes, database_codes = code_pair(query, database, len(query_sets), len(database_sets))
    bits = query_codes.bits
    request = names.parse(names.default_metrics(bits, len(database_sets)) if metrics is None else metrics, bits)
    queries = Collection(query_codes.data, query_sets)
    items = Collection(database_codes.data, database_sets)
    levels = max(2, 1 + min(query_sets.most(), database_sets.most())) if request.ndcg_ranks else 2

    tally = Tally(request, protocol, k, len(items))
    group = queries_at_once(bits, levels)
    for start in range(0, len(queries), group):
        part = queries[start : start + group]
        counts = Counts.of(histograms(part, items, bits, levels))
        if protocol.ties == "stable":
            ranked = rank_by_rows(part, items, counts, tally.wanted)
        else:
            ranked = rank_by_groups(counts, protocol.ties, tally.wanted)
        tally.add(counts, ranked)
    scores, values = tally.finish()
    return Result(scores["map"], {**scores, "bits": bits}, values if per_query else {})


def cross_modal(
    query: Mapping[str, Codes | Any],
    database: Mapping[str, Codes | Any],
    query_labels: Any,
    database_labels: Any,
    *,
    directions: Iterable[str] = ("i2t", "t2i"),
    **options: Any,
) -> dict[str, Result]:
    """`evaluate` in several directions: "i2t" ranks the database texts for query images; so "t2i", "i2i" and "t2t".

    Args:
        query, database: codes under the keys "image" and "text", of the same rows.
        options: passed on to `evaluate`.
    """
    modality = {"i": "image", "t": "text"}
    results = {}
    for direction in directions:
        source, _, target = direction.partition("2")
        if source not in modality or target not in modality:
            raise HashzooError(f"there is no direction '{direction}'; choose from: i2t, t2i, i2i, t2t")
        codes = query[modality[source]], database[modality[target]]
        results[direction] = evaluate(*codes, query_labels, database_labels, **options)
    return results


class Tally:
    """Per-query values of group after group of queries, and their means at the end."""

    def __init__(self, request: names.Request, protocol: Protocol, k: int | None, database: int):
        self.request, self.protocol, self.k, self.database = request, protocol, k, database
        cuts = [k, *request.map_cuts]
        last = max(request.ndcg_ranks, default=0)
        self.wanted = Wanted(
            (*(Cut.of(protocol, cut) for cut in cuts), *([FIRST_RELEVANT] if "mrr" in request.plain else [])),
            request.ranks(database),
            "r_precision" in request.plain,
            np.array([min(rank, database) for rank in request.ndcg_ranks], dtype=np.int64),
            discounts_to(min(last, database)),
        )
        self.values: dict[str, list[np.ndarray]] = {}
        self.curves: dict[str, np.ndarray] = {}

    def add(self, counts: Counts, ranked: Ranked) -> None:
        """Score a group of queries from its counts and its ranking."""
        retrieved, found = np.cumsum(counts.n, axis=1), np.cumsum(counts.r, axis=1)
        relevant = found[:, -1]
        self._keep("relevant", relevant.astype(np.float64))
        self._add_ranks(ranked, relevant)
        self._add_radii(retrieved, found, relevant)
        if "map_bounds" in self.request.plain:
            for ties in ("optimistic", "pessimistic"):
                value, counted = average_precision(*split_ties(counts.n, counts.r, ties), self.wanted.cuts[0])
                self._keep(f"map_{ties}", value)
                self._keep(f"map_{ties} counted", counted)
        if "floor" in self.request.plain:
            value, counted = random_precision(relevant, self.database, self.wanted.cuts[0])
            self._keep("floor", value)
            self._keep("floor counted", counted)

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.values.setdefault(name, []).append(values)

    def _sum(self, name: str, values: np.ndarray, columns: list[int] | slice = slice(None)) -> None:
        total = values.sum(axis=0)[columns]
        self.curves[name] = self.curves[name] + total if name in self.curves else total

    def _add_ranks(self, ranked: Ranked, relevant: np.ndarray) -> None:
        request, wanted = self.request, self.wanted
        for name, value, counted in zip(
            ("map", *(f"map@{cut}" for cut in request.map_cuts)), ranked.precision, ranked.counted, strict=False
        ):
            self._keep(name, value)
            self._keep(f"{name} counted", counted)
        if "mrr" in request.plain:
            self._keep("mrr", ranked.precision[-1])
        if "r_precision" in request.plain:
            self._keep("r_precision", _ratio(ranked.hits_at_r, relevant))
        precision, recall = ranked.hits / wanted.ranks, _ratio(ranked.hits, relevant[:, None])
        column = {int(rank): j for j, rank in enumerate(wanted.ranks)}
        for rank in request.precision_ranks:
            self._keep(f"precision@{rank}", precision[:, column[rank]])
        for rank in request.recall_ranks:
            self._keep(f"recall@{rank}", recall[:, column[rank]])
        for j, rank in enumerate(request.ndcg_ranks):
            self._keep(f"ndcg@{rank}", _ratio(ranked.gain[:, j], ranked.ideal[:, j]))
        counted = self._counted(relevant)
        if "pr_curve_rank" in request.plain:
            columns = [column[rank] for rank in names.curve_ranks(self.database)]
            self._sum("rank precision", precision[counted], columns)
            self._sum("rank recall", recall[counted], columns)
            self._sum("rank hits", ranked.hits[counted], columns)
        if "top_n_precision" in request.plain:
            self._sum("top_n", precision[counted], [column[rank] for rank in names.TOP_N])

    def _add_radii(self, retrieved: np.ndarray, found: np.ndarray, relevant: np.ndarray) -> None:
        request = self.request
        if not (
            request.precision_radii or request.recall_radii or request.f1_radii or "pr_curve_radius" in request.plain
        ):
            return
        precision, recall = _ratio(found, retrieved), _ratio(found, relevant[:, None])
        for radius in sorted({*request.precision_radii, *request.recall_radii, *request.f1_radii}):
            if radius in request.precision_radii:
                self._keep(f"precision_radius_{radius}", precision[:, radius])
            if radius in request.recall_radii:
                self._keep(f"recall_radius_{radius}", recall[:, radius])
            if radius in request.f1_radii:
                both = retrieved[:, radius] + relevant
                self._keep(f"f1_radius_{radius}", _ratio(2 * found[:, radius], both))
        counted = self._counted(relevant)
        self._sum("retrieved", retrieved[counted])
        self._sum("found", found[counted])
        if "pr_curve_radius" in request.plain:
            self._sum("radius precision", precision[counted])
            self._sum("radius recall", recall[counted])

    def _counted(self, relevant: np.ndarray) -> np.ndarray:
        """(Q,) bool: the queries that metrics other than mAP are averaged over."""
        return relevant > 0 if self.protocol.no_relevant == "skip" else np.ones(len(relevant), dtype=bool)

    def finish(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The scores, and the per-query values."""
        values = {name: np.concatenate(parts) for name, parts in self.values.items()}
        relevant = values.pop("relevant")
        check_relevant(relevant, self.protocol)
        counted = self._counted(relevant)
        weights = {name: values.pop(name) for name in list(values) if name.endswith(" counted")}
        scores: dict[str, Any] = {}
        for name, value in values.items():
            weight = weights.get(f"{name} counted", counted.astype(np.float64))
            scores[name] = mean_precision(value, weight, self.protocol)
        self._micro(scores)
        self._curves(scores, max(int(counted.sum()), 1), float(relevant.sum()))
        scores |= {
            "queries": len(relevant),
            "database": self.database,
            "queries_without_relevant": int(np.count_nonzero(relevant == 0)),
            "relevant_share": float(relevant.sum() / (len(relevant) * self.database)),
            "protocol": self.protocol.describe(),
            "k": self.k,
        }
        values["relevant"] = relevant
        values["counted"] = weights["map counted"] if self.protocol.no_relevant == "skip" else np.ones(len(relevant))
        return scores, values

    def _micro(self, scores: dict[str, Any]) -> None:
        """Radius metrics over all (query, item) pairs at once, beside the means over queries."""
        if "found" not in self.curves:
            return
        retrieved, found = self.curves["retrieved"], self.curves["found"]
        relevant = found[-1]
        for metric, radii, numerator, denominator in (
            ("precision", self.request.precision_radii, found, retrieved),
            ("recall", self.request.recall_radii, found, np.full_like(found, relevant)),
            ("f1", self.request.f1_radii, 2 * found, retrieved + relevant),
        ):
            ratio = _ratio(numerator, denominator)
            for radius in radii:
                scores[f"{metric}_radius_{radius}_micro"] = float(ratio[radius])

    def _curves(self, scores: dict[str, Any], counted: int, relevant: float) -> None:
        curves, plain = self.curves, self.request.plain
        if "pr_curve_radius" in plain:
            scores["pr_curve_radius"] = {
                "radius": list(range(len(curves["retrieved"]))),
                "precision_macro": (curves["radius precision"] / counted).tolist(),
                "recall_macro": (curves["radius recall"] / counted).tolist(),
                "precision_micro": _ratio(curves["found"], curves["retrieved"]).tolist(),
                "recall_micro": _ratio(curves["found"], curves["found"][-1:]).tolist(),
            }
        if "pr_curve_rank" in plain:
            ranks = names.curve_ranks(self.database)
            scores["pr_curve_rank"] = {
                "rank": ranks,
                "precision_macro": (curves["rank precision"] / counted).tolist(),
                "recall_macro": (curves["rank recall"] / counted).tolist(),
                "precision_micro": (curves["rank hits"] / (counted * np.array(ranks))).tolist(),
                "recall_micro": (curves["rank hits"] / max(relevant, 1.0)).tolist(),
            }
        if "top_n_precision" in plain:
            scores["top_n_precision"] = {"n": list(names.TOP_N), "precision": (curves["top_n"] / counted).tolist()}


def queries_at_once(bits: int, levels: int) -> int:
    """How many queries' histograms of distance and shared labels are held at a time."""
    return max(1, HISTOGRAM_BYTES // (8 * (bits + 1) * levels))


def check_relevant(relevant: np.ndarray, protocol: Protocol) -> None:
    """Refuse queries with nothing relevant if the protocol says so."""
    if protocol.no_relevant == "error" and not relevant.all():
        raise HashzooError(
            f"query {int(np.argmin(relevant))} has nothing relevant in the database; "
            f"leave such queries out, or choose no_relevant='zero'"
        )


def mean_precision(value: np.ndarray, counted: np.ndarray, protocol: Protocol) -> float:
    """The mean over queries, of which `counted` weighs each where the protocol skips."""
    weight = float(counted.sum()) if protocol.no_relevant == "skip" else float(len(value))
    return float(value.sum()) / weight if weight else 0.0


def random_precision(relevant: np.ndarray, database: int, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """(Q,) expected AP of a random ranking of `database` items, `relevant[q]` relevant; and whether it is defined."""
    n = np.full((len(relevant), 1), database, dtype=np.int64)
    return average_precision(n, relevant.astype(np.int64)[:, None], cut)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)
