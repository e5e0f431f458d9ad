import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashzoo.codes import Codes, pack
from hashzoo.errors import HashzooError
from hashzoo.evaluator import PRESETS, Protocol, ceiling, cross_modal, evaluate, floor, label_codes
from hashzoo.evaluator import scoring as scoring_module

TIES = ("expected", "stable", "optimistic", "pessimistic")
RULES = [
    {"k_rule": "top_k_positions", "denominator": "min(R,k)"},
    {"k_rule": "top_k_positions", "denominator": "retrieved"},
    {"k_rule": "top_k_positions", "denominator": "R"},
    {"k_rule": "first_k_relevant"},
]

# The example at the end of calc_hammingranking.py, by the authors of DCMH; also in the public repository of SSAH
# (lelan-li/SSAH, utils/calc_hammingranking.py).
TOY_QUERY = np.array([[1, -1, 1, 1], [-1, -1, -1, 1], [1, 1, -1, 1], [1, 1, 1, -1]])
TOY_DATABASE = np.array(
    [[1, -1, 1, -1], [-1, -1, 1, -1], [-1, -1, 1, -1], [1, 1, -1, -1], [-1, 1, -1, -1], [1, 1, -1, 1]]
)
TOY_QUERY_LABELS = np.array([[0, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
TOY_DATABASE_LABELS = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]])
TOY = (TOY_QUERY, TOY_DATABASE, TOY_QUERY_LABELS, TOY_DATABASE_LABELS)


def random_case(seed, queries, rows, bits, classes, density=0.3):
    """Codes with many ties and duplicates, and labels with rows of none and of several."""
    rng = np.random.default_rng(seed)
    density = rng.choice([0.0, density, density, 0.7, 1.0])
    query, database = rng.random((queries, bits)) > 0.5, rng.random((rows, bits)) > rng.choice([0.5, 0.9])
    return query, database, rng.random((queries, classes)) < density, rng.random((rows, classes)) < density


def check_against_oracle(case, ties, rule, k):
    query, database, query_labels, database_labels = case
    rows, bits = database.shape
    names = ["map", "map@2", "mrr", "r_precision", "precision@3", "recall@2", "ndcg@1", "ndcg@3", f"ndcg@{rows + 2}"]
    radius = min(2, bits)
    names += [f"{metric}_radius_{radius}" for metric in ("precision", "recall", "f1")]
    got = evaluate(*case, protocol=Protocol(ties, **rule), k=k, metrics=names, per_query=True)
    for q in range(len(query)):
        distance = oracles.hamming(query[q], database)
        shared = oracles.shared_labels(query_labels[q], database_labels)
        wanted = {
            "map": lambda ranking: oracles.average_precision(ranking, k, **rule),
            "map@2": lambda ranking: oracles.average_precision(ranking, 2, **rule),
            "mrr": oracles.reciprocal_rank,
            "r_precision": oracles.r_precision,
            "precision@3": lambda ranking: oracles.precision_at(ranking, 3),
            "recall@2": lambda ranking: oracles.recall_at(ranking, 2),
            **{f"ndcg@{n}": (lambda ranking, n=n: oracles.ndcg_at(ranking, n)) for n in (1, 3, rows + 2)},
        }
        for name, metric in wanted.items():
            value = oracles.mean_over_rankings(distance, shared, ties, metric)
            assert got.per_query[name][q] == pytest.approx(value, abs=1e-12), (name, ties, rule, k)
        within = oracles.within_radius(distance, shared, radius)
        for name, value in zip(("precision", "recall", "f1"), within, strict=True):
            assert got.per_query[f"{name}_radius_{radius}"][q] == pytest.approx(value, abs=1e-12)
    for name, values in got.per_query.items():
        if name in got.scores:
            assert got.scores[name] == pytest.approx(float(np.mean(values)), abs=1e-12)


SEEDS = st.integers(0, 2**32 - 1)
CUTS = st.none() | st.integers(1, 9)


@settings(max_examples=120, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.sampled_from(RULES), CUTS)
def test_expected_is_the_mean_over_all_orders(seed, queries, rows, bits, classes, rule, k):
    check_against_oracle(random_case(seed, queries, rows, bits, classes), "expected", rule, k)


@settings(max_examples=120, deadline=None)
@given(
    SEEDS,
    st.integers(1, 4),
    st.integers(1, 40),
    st.sampled_from([1, 3, 8, 65]),
    st.sampled_from([1, 4, 70]),
    st.sampled_from(TIES[1:]),
    st.sampled_from(RULES),
    CUTS,
)
def test_one_order_is_scored_by_the_definitions(seed, queries, rows, bits, classes, ties, rule, k):
    check_against_oracle(random_case(seed, queries, rows, bits, classes, 4 / (classes + 4)), ties, rule, k)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.sampled_from(RULES), CUTS)
def test_expected_is_the_mean_over_all_orders_thousands_of_times(seed, queries, rows, bits, classes, rule, k):
    check_against_oracle(random_case(seed, queries, rows, bits, classes), "expected", rule, k)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(
    SEEDS,
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(TIES[1:]),
    st.sampled_from(RULES),
    CUTS,
)
def test_one_order_is_scored_by_the_definitions_thousands_of_times(seed, rows, bits, classes, ties, rule, k):
    check_against_oracle(random_case(seed, 2, rows, bits, classes), ties, rule, k)
