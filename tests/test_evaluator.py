import json
import math

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import RULES, TIES

from hashzoo.codes import Codes, pack
from hashzoo.errors import HashzooError
from hashzoo.evaluator import Protocol, ceiling, cross_modal, evaluate, floor

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


# Golden numbers: the toy example by hand, in exact fractions for the whole list.
@pytest.mark.parametrize(
    ("protocol", "value"),
    [
        ("expected", 0.6013020833333333),
        ("stable", 0.7041666666666667),
        ("dcmh", 0.7041666666666667),
        ("optimistic", 0.7041666666666667),
        ("pessimistic", 0.4934027777777778),
        ("dcmh@3", 0.7166666666666667),
        ("deephash@3", 0.6875),
        ("hashnet@3", 0.6875),
        (Protocol("optimistic", denominator="retrieved"), 0.6875),
        (Protocol("pessimistic", denominator="retrieved"), 0.4375),
        (Protocol("stable"), 0.5625),
        (Protocol("stable", denominator="R"), 0.5),
    ],
)
def test_the_toy_example_of_dcmh(protocol, value):
    k = 3 if isinstance(protocol, Protocol) else None
    assert evaluate(*TOY, protocol=protocol, k=k).map == pytest.approx(value, abs=1e-12)


def test_a_query_with_nothing_relevant():
    labels = TOY_QUERY_LABELS.copy()
    labels[3] = 0
    case = (TOY_QUERY, TOY_DATABASE, labels, TOY_DATABASE_LABELS)
    zero = evaluate(*case, protocol="dcmh")
    assert zero.scores["queries_without_relevant"] == 1
    assert zero.map == pytest.approx(0.5027777777777778, abs=1e-12)
    skip = evaluate(*case, protocol=Protocol("stable", no_relevant="skip"), per_query=True)
    assert skip.map == pytest.approx(zero.map * 4 / 3, abs=1e-12)
    assert skip.per_query["counted"].tolist() == [1, 1, 1, 0]
    assert evaluate(*case, protocol="hashnet@6").map == pytest.approx(skip.map, abs=1e-12)
    for name in ("recall@1", "ndcg@1", "mrr", "precision_radius_2"):
        assert skip.scores[name] == pytest.approx(zero.scores[name] * 4 / 3)
    for axis in ("precision_macro", "recall_macro"):
        assert skip.scores["pr_curve_radius"][axis][-1] == pytest.approx(
            zero.scores["pr_curve_radius"][axis][-1] * 4 / 3
        )
    with pytest.raises(HashzooError, match="query 3 has nothing relevant"):
        evaluate(*case, protocol=Protocol(no_relevant="error"))
    with pytest.raises(HashzooError, match="query 3 has nothing relevant"):
        floor(labels, TOY_DATABASE_LABELS, protocol=Protocol(no_relevant="error"))


def test_hashnet_skips_by_the_first_k_and_expectation_weighs_by_the_chance():
    # One query, four items at one distance, one of them relevant: the first position hits in 1 of 4 orders.
    case = (np.ones((2, 2)), np.ones((4, 2)), np.array([[1, 0], [0, 1]]), np.array([[1, 1], [0, 1], [0, 1], [0, 1]]))
    rule = {"denominator": "retrieved", "no_relevant": "skip"}
    assert evaluate(*case, protocol=Protocol("pessimistic", **rule), k=1, per_query=True).per_query[
        "counted"
    ].tolist() == [0, 1]
    expected = evaluate(*case, protocol=Protocol("expected", **rule), k=1, per_query=True)
    assert expected.per_query["counted"] == pytest.approx([0.25, 1])
    assert expected.map == pytest.approx((0.25 + 1) / 1.25)


def test_nothing_relevant_anywhere_and_everything_relevant():
    codes, none, every = TOY_DATABASE, np.zeros((6, 2), bool), np.ones((6, 2), bool)
    for protocol in (*TIES, "hashnet@3", "dcmh@3", "deephash@3"):
        scores = evaluate(codes, codes, none, every, protocol=protocol).scores
        assert scores["map"] == scores["mrr"] == scores["ndcg@1"] == scores["floor"] == 0
        scores = evaluate(codes, codes, every, every, protocol=protocol).scores
        assert scores["map"] == pytest.approx(1, abs=1e-12)
        assert scores["mrr"] == scores["ndcg@1"] == scores["r_precision"] == pytest.approx(1)
        assert scores["floor"] == pytest.approx(1)


@pytest.fixture(scope="module")
def case():
    return oracles.noisy_case()


# Larger cases against other ways to compute the same number.
def exact_cut_expectation(before, hits, n, r, cut, first_k_relevant):
    """The tie group's part of a cut AP, by summing over all ways to place r relevant items with exact weights."""
    if first_k_relevant:
        # The i-th relevant item stands at x with C(x-1, i-1) C(n-x, r-i) of C(n, r) placements.
        ways = math.comb(n, r)
        return sum(
            math.comb(x - 1, i - 1) * math.comb(n - x, r - i) / ways * (hits + i) / (before + x)
            for i in range(1, cut + 1)
            for x in range(i, n - r + i + 1)
        )
    # Position j is the (y+1)-th relevant one, and z more of the first `cut` are: independent of how, so AP follows.
    total = 0.0
    for j in range(1, cut + 1):
        for y in range(min(j, r)):
            for z in range(min(cut - j, r - 1 - y) + 1):
                rest = r - 1 - y - z
                ways = math.comb(j - 1, y) * math.comb(cut - j, z) * math.comb(n - cut, rest)
                total += ways / math.comb(n, r) * (hits + y + 1) / (before + j) / (hits + y + z + 1)
    return total


@pytest.mark.parametrize(
    ("before", "hits", "n", "r", "cut"), [(0, 0, 60, 25, 13), (7, 0, 50, 3, 20), (9, 0, 80, 60, 30)]
)
@pytest.mark.parametrize("first_k_relevant", [True, False])
def test_a_cut_inside_a_large_tie_group(before, hits, n, r, cut, first_k_relevant):
    if first_k_relevant and cut >= r:
        cut = r - 1
    database = np.concatenate([np.zeros((before, 3)), np.ones((n, 3))])
    labels = np.zeros((before + n, 1), bool)
    labels[before : before + r] = True
    rule = RULES[3] if first_k_relevant else RULES[1]
    k = cut if first_k_relevant else before + cut
    got = evaluate(np.zeros((1, 3)), database, [[True]], labels, protocol=Protocol("expected", **rule), k=k).map
    wanted = exact_cut_expectation(before, hits, n, r, cut, first_k_relevant)
    assert got == pytest.approx(wanted / (cut if first_k_relevant else 1), rel=1e-11)


def test_a_cut_inside_a_huge_tie_group_keeps_its_precision():
    n, r = 400_000, 150_000
    labels = np.zeros((n, 1), bool)
    labels[:r] = True
    codes = pack(np.ones((n, 1)))
    k = 90_000
    capped, retrieved, textbook, first_k_relevant = (
        evaluate(codes[:1], codes, [[True]], labels, protocol=Protocol("expected", **rule), k=k).map for rule in RULES
    )
    position = np.arange(1, k + 1)
    total = math.fsum(r / n * (1 + (position - 1) * ((r - 1) / (n - 1))) / position)
    assert capped == pytest.approx(total / k, rel=1e-12)
    assert textbook == pytest.approx(total / r, rel=1e-12)
    # Of about k r / n terms, and near r / n each: the number of terms hardly varies.
    assert retrieved == pytest.approx(total / (k * r / n), rel=1e-4)
    assert first_k_relevant == pytest.approx(r / n, rel=1e-3)


def test_harmonic_stretches_are_accurate_however_late():
    from hashzoo.evaluator.closed_forms import harmonic_between

    for before, after in [(0, 1), (0, 64), (3, 70), (63, 64), (63, 65), (64, 65), (64, 500), (10**6, 10**6 + 3)]:
        wanted = math.fsum(1 / i for i in range(before + 1, after + 1))
        assert harmonic_between(before, after) == pytest.approx(wanted, rel=1e-14)
    assert harmonic_between(10**12, 10**12 + 1) == pytest.approx(1 / (10**12 + 1), rel=1e-14)


@pytest.mark.parametrize("bits", [16, 64, 100])
def test_stable_ties_are_a_stable_sort(bits):
    rng = np.random.default_rng(bits)
    query, database = rng.random((20, bits)) > 0.5, rng.random((3000, bits)) > 0.5
    query_labels, database_labels = rng.random((20, 30)) < 0.05, rng.random((3000, 30)) < 0.05
    names = ["map", "map@100", "precision@100", "recall@1000", "ndcg@200", "mrr", "r_precision"]
    got = evaluate(query, database, query_labels, database_labels, protocol="stable", metrics=names, per_query=True)
    for q in range(20):
        order = np.argsort((query[q] != database).sum(axis=1), kind="stable")
        ranking = (query_labels[q].astype(int) @ database_labels.T.astype(int))[order].tolist()
        wanted = {
            "map": oracles.average_precision(ranking) or 0.0,
            "map@100": oracles.average_precision(ranking, 100) or 0.0,
            "precision@100": oracles.precision_at(ranking, 100),
            "recall@1000": oracles.recall_at(ranking, 1000),
            "ndcg@200": oracles.ndcg_at(ranking, 200),
            "mrr": oracles.reciprocal_rank(ranking),
            "r_precision": oracles.r_precision(ranking),
        }
        for name, value in wanted.items():
            assert got.per_query[name][q] == pytest.approx(value, abs=1e-12), name


def expected_precision(distance, relevant):
    """The expected AP, position by position: McSherry and Najork 2008."""
    before = hits = 0
    terms = []
    for at in np.unique(distance):
        n, r = int(np.sum(distance == at)), int(np.sum(relevant[distance == at]))
        position = np.arange(1, n + 1)
        p = (r - 1) / (n - 1) if n > 1 else 0.0
        terms += (r / n * (hits + 1 + (position - 1) * p) / (before + position)).tolist()
        before, hits = before + n, hits + r
    return math.fsum(terms) / hits if hits else 0.0


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 63, 64, 65, 128, 129, 4096])
@pytest.mark.parametrize("classes", [1, 24, 63, 64, 65, 255])
def test_codes_and_labels_of_any_width(bits, classes):
    rng = np.random.default_rng(bits + classes)
    query, database = rng.random((3, bits)) > 0.5, rng.random((700, bits)) > 0.5
    query_labels, database_labels = rng.random((3, classes)) < 4 / (classes + 4), rng.random((700, classes)) < 0.2
    query_labels[0] = False
    case = query, database, query_labels, database_labels
    expected = evaluate(*case, metrics=["map", "ndcg@50"], per_query=True).per_query
    stable = evaluate(*case, protocol="stable", metrics=["map", "ndcg@50"], per_query=True).per_query
    for q in range(3):
        distance = (query[q] != database).sum(axis=1)
        shared = query_labels[q].astype(int) @ database_labels.T.astype(int)
        ranking = shared[np.argsort(distance, kind="stable")].tolist()
        assert expected["map"][q] == pytest.approx(expected_precision(distance, shared > 0), abs=1e-12)
        assert stable["map"][q] == pytest.approx(oracles.average_precision(ranking) or 0.0, abs=1e-12)
        assert stable["ndcg@50"][q] == pytest.approx(oracles.ndcg_at(ranking, 50), abs=1e-12)
        gain = np.array([2.0**s - 1 for s in shared])
        tied = {at: gain[distance == at].mean() for at in np.unique(distance)}
        top = [tied[at] for at in np.sort(distance)[:50]]  # the mean over orders is the mean gain at each position
        best = oracles.dcg(sorted(shared.tolist(), reverse=True), 50)
        mean = math.fsum(value / math.log2(2 + i) for i, value in enumerate(top)) / best if best else 0.0
        assert expected["ndcg@50"][q] == pytest.approx(mean, abs=1e-12)


def test_curves_follow_their_definitions(case):
    query, database, query_labels, database_labels = case
    scores = evaluate(*case, protocol="stable").scores
    distance = (query[:, None] != database[None]).sum(axis=2)
    relevant = (query_labels[:, None] & database_labels[None]).any(axis=2)
    curve = scores["pr_curve_radius"]
    for radius in range(13):
        near = distance <= radius
        found, retrieved = (near & relevant).sum(axis=1), near.sum(axis=1)
        macro = np.divide(found, retrieved, out=np.zeros(60), where=retrieved > 0).mean()
        assert curve["precision_macro"][radius] == pytest.approx(macro)
        assert curve["recall_macro"][radius] == pytest.approx(
            np.divide(found, relevant.sum(axis=1), out=np.zeros(60), where=found > 0).mean()
        )
        assert curve["precision_micro"][radius] == pytest.approx(found.sum() / max(retrieved.sum(), 1))
        assert curve["recall_micro"][radius] == pytest.approx(found.sum() / relevant.sum())
    for metric in ("precision", "recall"):
        assert scores[f"{metric}_radius_2"] == pytest.approx(curve[f"{metric}_macro"][2])
        assert scores[f"{metric}_radius_2_micro"] == pytest.approx(curve[f"{metric}_micro"][2])
    ranked = np.take_along_axis(relevant, np.argsort(distance, axis=1, kind="stable"), axis=1)
    curve = scores["pr_curve_rank"]
    assert curve["rank"][0] == 1
    assert curve["rank"][-1] == 500
    for rank, macro, micro in zip(curve["rank"], curve["precision_macro"], curve["precision_micro"], strict=True):
        assert macro == pytest.approx(ranked[:, :rank].mean())
        assert micro == pytest.approx(ranked[:, :rank].sum() / (60 * rank))
    assert curve["recall_micro"][5] == pytest.approx(ranked[:, : curve["rank"][5]].sum() / relevant.sum())
    assert scores["top_n_precision"]["precision"][:2] == pytest.approx([ranked[:, 0].mean(), ranked[:, :100].mean()])
    assert scores["relevant_share"] == pytest.approx(relevant.mean())


def test_thousands_of_shared_labels_stay_finite():
    labels = np.ones((3, 3000), bool)
    labels[1:, ::2] = False
    labels[2] = False
    scores = evaluate(TOY_DATABASE[:3], TOY_DATABASE[:3], labels, labels, metrics=["ndcg@1", "ndcg@3"]).scores
    assert 0 < scores["ndcg@1"] <= 1
    assert 0 < scores["ndcg@3"] <= 1


# What goes in is not changed, and its form does not matter.
@pytest.mark.parametrize("protocol", ["expected", "stable"])
def test_form_does_not_matter_and_nothing_is_changed(case, protocol):
    torch = pytest.importorskip("torch")
    query, database, query_labels, database_labels = case
    wanted = evaluate(*case, protocol=protocol)
    forms = [
        lambda x: x.astype(np.int64),
        lambda x: np.asfortranarray(x.astype(np.uint8)),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        torch.from_numpy,
        lambda x: torch.from_numpy(x).int(),
    ]
    for form in forms:
        assert evaluate(*map(form, case), protocol=protocol).scores == wanted.scores
    for values in (np.float16, np.float64, np.int8):
        given = [
            2 * query.astype(values) - 1,
            2 * database.astype(values) - 1,
            query_labels.copy(),
            database_labels.copy(),
        ]
        before = [array.copy() for array in given]
        for array in given:
            array.flags.writeable = False
        assert evaluate(*given, protocol=protocol).scores == wanted.scores
        for array, copy in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, copy)
    assert (
        evaluate(pack(query), pack(database), query_labels, database_labels, protocol=protocol).scores == wanted.scores
    )


def test_the_result_is_plain(case):
    result = evaluate(*case)
    assert json.loads(json.dumps(result.scores, allow_nan=False)) == result.scores
    assert result.per_query == {}
    assert result.scores["map"] == result.map
    detailed = evaluate(*case, per_query=True, metrics=["map", "ndcg@10"])
    assert set(detailed.per_query) == {"map", "ndcg@10", "relevant", "counted"}
    assert all(values.shape == (60,) and values.dtype == np.float64 for values in detailed.per_query.values())
    assert detailed.per_query["map"].mean() == pytest.approx(result.map)
    assert set(evaluate(*case, metrics="mrr").scores) >= {"map", "mrr", "queries", "protocol"}


def test_all_directions(case):
    query, database, *labels = case
    named = {"image": query, "text": ~query}, {"image": database, "text": database[::-1]}
    results = cross_modal(*named, *labels, directions=("i2t", "t2i", "i2i", "t2t"), metrics=["map"])
    assert results["i2i"].map == evaluate(*case).map
    assert results["t2i"].map == evaluate(~query, database, *labels).map
    assert len({result.map for result in results.values()}) == 4
    with pytest.raises(HashzooError, match="i2x"):
        cross_modal(*named, *labels, directions=["i2x"])


CODES, LABELS = np.ones((3, 4)), np.ones((3, 2), bool)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: evaluate(CODES, np.ones((3, 5)), LABELS, LABELS), "4 bits and database codes have 5"),
        (lambda: evaluate(CODES * np.nan, CODES, LABELS, LABELS), "NaN"),
        (lambda: evaluate(CODES[0], CODES, LABELS, LABELS), "not 1-D"),
        (lambda: evaluate(CODES, CODES, LABELS[:2], LABELS), "query has 3 codes but query_labels has 2 rows"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS[:2]), "database has 3 codes but database_labels has 2 rows"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS[:, :1]), "2 classes and database_labels has 1"),
        (lambda: evaluate(CODES, CODES[:0], LABELS, LABELS[:0]), "database is empty"),
        (lambda: evaluate(CODES[:0], CODES, LABELS[:0], LABELS), "query is empty"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, k=0), "not 0"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, k=2.5), r"not 2\.5"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, k=True), "not True"),
        (lambda: evaluate(CODES, CODES, LABELS.astype(float), LABELS), "query_labels must be bool .* not float64"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS * 2), "other than 0 and 1"),
        (lambda: evaluate(CODES, CODES, LABELS, -LABELS.astype(int)), "other than 0 and 1"),
        (lambda: evaluate(CODES, CODES, [0, 1, 1], LABELS), "2-D"),
        (lambda: evaluate(CODES, CODES, LABELS[:, :0], LABELS[:, :0]), "no class"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, protocol="expcted"), "did you mean expected"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, protocol=3), "Protocol, not int"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, protocol="deephash"), "deephash@5000"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, protocol="deephash@x"), "'x'"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, protocol="dcmh@3", k=4), "two different cuts"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, metrics=["mpa"]), "did you mean map"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, metrics=["precision@0"]), "not 0"),
        (lambda: evaluate(CODES, CODES, LABELS, LABELS, metrics=["precision_radius_5"]), "from 0 to 4"),
        (lambda: Protocol("fair"), "no ties 'fair'"),
        (lambda: Protocol(k_rule="first_k_relevant", denominator="R"), "leave the denominator out"),
        (lambda: Protocol(no_relevant="drop"), "no no_relevant 'drop'"),
        (lambda: ceiling(LABELS, LABELS, 0), "not 0"),
        (lambda: floor(LABELS, LABELS, k=0), "not 0"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(call, says):
    with pytest.raises(HashzooError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_one_item_one_bit_one_query():
    result = evaluate([[True]], Codes(np.array([[0]], np.uint8), 1), [[1]], [[1]])
    assert result.map == 1
    assert result.scores["pr_curve_radius"]["precision_macro"] == [0, 1]


def test_memory_mapped_inputs(case, tmp_path):
    query, database, query_labels, database_labels = case
    np.save(tmp_path / "codes.npy", pack(database).data)
    np.save(tmp_path / "labels.npy", database_labels)
    codes = Codes(np.load(tmp_path / "codes.npy", mmap_mode="r"), 12)
    labels = np.load(tmp_path / "labels.npy", mmap_mode="r")
    assert evaluate(query, codes, query_labels, labels).scores == evaluate(*case).scores
