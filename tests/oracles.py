"""The evaluator's definitions, written to be read: one query, one explicit ranking, one loop a metric."""

import itertools
import math

import numpy as np

TIES = ("expected", "stable", "optimistic", "pessimistic")
RULES = [
    {"k_rule": "top_k_positions", "denominator": "min(R,k)"},
    {"k_rule": "top_k_positions", "denominator": "retrieved"},
    {"k_rule": "top_k_positions", "denominator": "R"},
    {"k_rule": "first_k_relevant"},
]


def noisy_case():
    """60 queries and 500 items whose 12-bit codes know something of their 7 labels: many ties."""
    rng = np.random.default_rng(11)
    query_labels, database_labels = rng.random((60, 7)) < 0.25, rng.random((500, 7)) < 0.25
    plane = rng.standard_normal((7, 12))

    def noisy(labels):
        return labels @ plane + 1.5 * rng.standard_normal((len(labels), 12)) > 0

    return noisy(query_labels), noisy(database_labels), query_labels, database_labels


def hamming(query, database):
    return [int(np.sum(np.asarray(query) != row)) for row in np.asarray(database)]


def rankings(distance, shared, ties):
    """Every ranking that a rule for ties allows, all equally likely, as lists of shared-label counts."""
    groups = [[s for d, s in zip(distance, shared, strict=True) if d == at] for at in sorted(set(distance))]
    if ties == "stable":
        orders = [[tuple(group)] for group in groups]
    elif ties == "expected":
        orders = [sorted(set(itertools.permutations(group))) for group in groups]
    else:
        orders = [[tuple(sorted(group, reverse=ties == "optimistic"))] for group in groups]
    return [list(itertools.chain(*order)) for order in itertools.product(*orders)]


def average_precision(ranking, k=None, k_rule="top_k_positions", denominator="min(R,k)"):
    """The AP of one ranking; None where the denominator is zero."""
    k = len(ranking) if k is None else k
    relevant = sum(s > 0 for s in ranking)
    total = hits = retrieved = 0
    for position, s in enumerate(ranking, start=1):
        if s > 0:
            hits += 1
            if (hits if k_rule == "first_k_relevant" else position) <= k:
                total += hits / position
                retrieved += 1
    below = {"min(R,k)": min(relevant, k), "retrieved": retrieved, "R": relevant}[denominator]
    return total / below if below else None


def precision_at(ranking, n):
    return sum(s > 0 for s in ranking[:n]) / n


def recall_at(ranking, n):
    relevant = sum(s > 0 for s in ranking)
    return sum(s > 0 for s in ranking[:n]) / relevant if relevant else 0.0


def dcg(ranking, n):
    return sum((2**s - 1) / math.log2(1 + position) for position, s in enumerate(ranking[:n], start=1))


def ndcg_at(ranking, n):
    best = dcg(sorted(ranking, reverse=True), n)
    return dcg(ranking, n) / best if best else 0.0


def reciprocal_rank(ranking):
    return next((1 / position for position, s in enumerate(ranking, start=1) if s > 0), 0.0)


def r_precision(ranking):
    relevant = sum(s > 0 for s in ranking)
    return precision_at(ranking, relevant) if relevant else 0.0


def within_radius(distance, shared, radius):
    """Precision, recall and F1 of all items at most `radius` bits away."""
    retrieved = [s for d, s in zip(distance, shared, strict=True) if d <= radius]
    found, relevant = sum(s > 0 for s in retrieved), sum(s > 0 for s in shared)
    precision = found / len(retrieved) if retrieved else 0.0
    recall = found / relevant if relevant else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if found else 0.0


def shared_labels(query_label, database_labels):
    return [int(np.sum(np.asarray(query_label, bool) & row)) for row in np.asarray(database_labels, bool)]


def mean_over_rankings(distance, shared, ties, metric):
    """The mean of a metric over the rankings that the rule allows."""
    values = [metric(ranking) for ranking in rankings(distance, shared, ties)]
    return sum(value or 0.0 for value in values) / len(values)
