"""What must not change a score, or may change it in one direction only; and what the floor and the ceiling are."""

import numpy as np
import oracles
import pytest
from oracles import RULES, TIES

from hashzoo.evaluator import PRESETS, Protocol, ceiling, evaluate, floor, label_codes


@pytest.fixture(scope="module")
def case():
    return oracles.noisy_case()


def same(a, b, tolerance=1e-12):
    assert a.scores.keys() == b.scores.keys()
    for name, value in a.scores.items():
        if isinstance(value, float):
            assert b.scores[name] == pytest.approx(value, abs=tolerance), name
        elif name.endswith(("curve_radius", "curve_rank")):
            for axis, numbers in value.items():
                assert b.scores[name][axis] == pytest.approx(numbers, abs=tolerance)


@pytest.mark.parametrize("k", [None, 1, 37])
@pytest.mark.parametrize("rule", RULES)
def test_order_of_rows_bits_and_labels_does_not_matter(case, rule, k):
    query, database, query_labels, database_labels = case
    rng = np.random.default_rng(3)
    protocol = Protocol("expected", **rule)
    wanted = evaluate(*case, protocol=protocol, k=k)
    rows, bits, classes, queries = rng.permutation(500), rng.permutation(12), rng.permutation(7), rng.permutation(60)
    same(wanted, evaluate(query, database[rows], query_labels, database_labels[rows], protocol=protocol, k=k))
    same(wanted, evaluate(query[:, bits], database[:, bits], query_labels, database_labels, protocol=protocol, k=k))
    same(
        wanted, evaluate(query, database, query_labels[:, classes], database_labels[:, classes], protocol=protocol, k=k)
    )
    same(wanted, evaluate(query[queries], database, query_labels[queries], database_labels, protocol=protocol, k=k))
    flip = np.zeros(12, bool)
    flip[[2, 5]] = True
    same(wanted, evaluate(query ^ flip, database ^ flip, query_labels, database_labels, protocol=protocol, k=k))


def test_a_constant_bit_changes_the_radius_curve_only(case):
    query, database, *labels = case
    longer = [np.concatenate([codes, np.ones((len(codes), 1), bool)], axis=1) for codes in (query, database)]
    names = ["map", "map@20", "ndcg@10", "precision@50", "f1_radius_3", "mrr"]
    same(
        evaluate(query, database, *labels, metrics=names),
        evaluate(*longer, *labels, metrics=names),
    )


def test_far_irrelevant_items_never_raise_a_score(case):
    query, database, query_labels, database_labels = case
    wide = np.zeros((60, 40), bool), np.zeros((500, 40), bool)
    query, database = np.concatenate([query, wide[0]], axis=1), np.concatenate([database, wide[1]], axis=1)
    far = np.ones((30, 52), bool)
    more = np.concatenate([database, far]), query_labels, np.concatenate([database_labels, np.zeros((30, 7), bool)])
    for protocol in TIES:
        before = evaluate(query, database, query_labels, database_labels, protocol=protocol).scores
        after = evaluate(query, *more, protocol=protocol).scores
        for name in before:
            if name.startswith(("map", "precision", "recall", "ndcg", "mrr", "r_precision", "f1")):
                assert after[name] <= before[name] + 1e-12, name
        assert after["map"] == pytest.approx(before["map"], abs=1e-12)


@pytest.mark.parametrize("k", [None, 5, 100])
@pytest.mark.parametrize("rule", RULES[:1] + RULES[2:])
def test_every_order_lies_between_the_bounds_and_their_mean_is_expected(case, rule, k):
    query, database, query_labels, database_labels = case
    low, mean, high = (
        evaluate(*case, protocol=Protocol(ties, **rule), k=k).map for ties in ("pessimistic", "expected", "optimistic")
    )
    assert low < mean < high
    bounds = evaluate(*case, protocol=Protocol("stable", **rule), k=k, metrics=["map_bounds"]).scores
    assert (bounds["map_pessimistic"], bounds["map_optimistic"]) == pytest.approx((low, high), abs=1e-12)
    rng = np.random.default_rng(0)
    stable = []
    for _ in range(40):
        rows = rng.permutation(500)
        stable.append(
            evaluate(
                query,
                database[rows],
                query_labels,
                database_labels[rows],
                protocol=Protocol("stable", **rule),
                k=k,
                metrics=["map"],
            ).map
        )
        assert low <= stable[-1] <= high
    assert mean == pytest.approx(np.mean(stable), abs=4 * np.std(stable) / np.sqrt(40))


def test_splitting_a_tie_group_moves_the_value_between_the_bounds(case):
    query, database, query_labels, database_labels = case
    query, labels = query[:1], query_labels[:1]
    relevant = (database_labels & labels).any(axis=1)
    assert 0 < relevant.sum() < 500
    low, mean, high = (
        evaluate(query, database, labels, database_labels, protocol=ties).map
        for ties in ("pessimistic", "expected", "optimistic")
    )
    # Doubling every bit leaves room for one more bit that ranks within a distance only.
    doubled = [np.repeat(codes, 2, axis=1) for codes in (query, database)]
    for near, value in ((relevant, high), (~relevant, low)):
        split = [
            np.concatenate([doubled[0], [[True]]], axis=1),
            np.concatenate([doubled[1], near[:, None]], axis=1),
        ]
        assert evaluate(*split, labels, database_labels).map == pytest.approx(value, abs=1e-12)
    assert low < mean < high


# Floor and ceiling.
@pytest.mark.parametrize("protocol", ["expected", "stable", "dcmh@2", "deephash@3", "hashnet@2", "textbook@4"])
def test_the_floor_is_the_mean_over_all_rankings(protocol):
    rng = np.random.default_rng(2)
    query_labels, database_labels = rng.random((5, 3)) < 0.4, rng.random((6, 3)) < 0.4
    query_labels[0] = 0
    rules = PRESETS[protocol.partition("@")[0]]
    k = int(protocol.partition("@")[2] or 6)
    total = weight = 0.0
    for row in query_labels:
        shared = [min(s, 1) for s in oracles.shared_labels(row, database_labels)]
        values = [
            oracles.average_precision(ranking, k, rules.k_rule, rules.denominator)
            for ranking in oracles.rankings([0] * 6, shared, "expected")
        ]
        total += sum(value or 0.0 for value in values) / len(values)
        weight += sum(value is not None for value in values) / len(values) if rules.no_relevant == "skip" else 1
    assert floor(query_labels, database_labels, protocol=protocol) == pytest.approx(total / weight, abs=1e-12)
    codes = np.ones((5, 2)), np.ones((6, 2))
    assert evaluate(*codes, query_labels, database_labels, protocol=protocol).scores["floor"] == pytest.approx(
        total / weight, abs=1e-12
    )


def test_random_codes_score_the_floor():
    rng = np.random.default_rng(4)
    query_labels, database_labels = rng.random((300, 8)) < 0.2, rng.random((2000, 8)) < 0.2
    got = evaluate(rng.random((300, 32)) > 0.5, rng.random((2000, 32)) > 0.5, query_labels, database_labels)
    assert got.map == pytest.approx(floor(query_labels, database_labels), abs=0.004)
    assert got.scores["floor"] == pytest.approx(floor(query_labels, database_labels), abs=1e-12)


def test_the_ceiling_is_one_fixed_projection_of_the_labels():
    rng = np.random.default_rng(4)
    query_labels, database_labels = rng.random((100, 8)) < 0.3, rng.random((400, 8)) < 0.3
    value = ceiling(query_labels, database_labels, 32)
    assert value == ceiling(query_labels.astype(np.int8), database_labels, 32)
    assert value != ceiling(query_labels, database_labels, 32, seed=1)
    assert floor(query_labels, database_labels) + 0.1 < value < 1
    codes = label_codes(database_labels, 32)
    same_labels = np.unique(database_labels, axis=0, return_inverse=True)[1].ravel()
    assert len(np.unique(codes.data, axis=0)) <= same_labels.max() + 1
    assert ceiling(np.eye(9, dtype=bool), np.eye(9, dtype=bool)[[0, 1, 2] * 5], 64) < 1
    one_hot = np.eye(5, dtype=bool)[rng.integers(0, 5, 60)]
    assert ceiling(one_hot, one_hot, 64) == pytest.approx(1, abs=1e-12)
    assert ceiling(query_labels, database_labels, 32, protocol="dcmh", k=5) != value
