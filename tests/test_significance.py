import itertools

import numpy as np
import pytest

from hashzoo.errors import HashzooError
from hashzoo.evaluator import (
    against_best,
    bootstrap_interval,
    bootstrap_intervals,
    holm,
    over_seeds,
    randomisation_test,
)
from hashzoo.evaluator import significance as module


def test_the_bootstrap_agrees_with_the_normal_interval():
    values = np.random.default_rng(0).normal(0.6, 0.2, 2000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_the_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.random(80), confidence=0.9, resamples=500, seed=trial)
        covered += low <= 0.5 <= high
    assert 165 <= covered <= 195


def test_the_bootstrap_is_repeatable_and_blocks_do_not_matter(monkeypatch):
    values = np.random.default_rng(2).random(50)
    once = bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) == once
    assert bootstrap_interval(values, seed=4) != once
    monkeypatch.setattr(module, "VALUES_AT_ONCE", 50 * 7)
    assert bootstrap_interval(values, seed=3) == once


def test_skipped_queries_are_left_out_of_the_bootstrap():
    values, counted = np.array([0.2, 0.8, 0.0, 0.5] * 50), np.array([1.0, 1.0, 0.0, 1.0] * 50)
    low, high = bootstrap_interval(values, counted=counted)
    assert low < 0.5 < high
    assert high < 0.56
    assert bootstrap_interval(np.ones(5), counted=np.ones(5)) == (1.0, 1.0)


def test_intervals_of_many_rows_are_those_of_each_row_and_of_drawn_queries():
    rng = np.random.default_rng(10)
    values, counted = rng.random((4, 37)), (rng.random((4, 37)) > 0.3).astype(float)
    drawn = np.random.default_rng(3).integers(0, 37, size=(500, 37))
    for weights in (None, counted):
        stacked = bootstrap_intervals(values, resamples=500, seed=3, counted=weights)
        for row, limits in enumerate(stacked.tolist()):
            weight = None if weights is None else weights[row]
            assert bootstrap_interval(values[row], resamples=500, seed=3, counted=weight) == tuple(limits)
            total = 37 if weights is None else weight[drawn].sum(axis=1)
            means = values[row][drawn].sum(axis=1) / total
            assert limits == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=1e-12)


def test_the_test_enumerates_few_queries_exactly():
    rng = np.random.default_rng(5)
    a, b = rng.random(6), rng.random(6)
    difference = a - b
    signs = list(itertools.product((1, -1), repeat=6))
    extreme = sum(abs(np.dot(sign, difference)) >= abs(difference.sum()) - 1e-12 for sign in signs)
    assert randomisation_test(a, b) == extreme / 64


def test_drawn_patterns_approach_the_exact_p_value(monkeypatch):
    rng = np.random.default_rng(6)
    a = rng.random(12)
    b = a - rng.normal(0.05, 0.1, 12)
    exact = randomisation_test(a, b)
    monkeypatch.setattr(module, "EXACT_QUERIES", 0)
    assert randomisation_test(a, b, permutations=40_000) == pytest.approx(exact, abs=0.01)


def test_p_values_of_equal_systems_are_uniform_and_of_unequal_ones_small():
    rng = np.random.default_rng(7)
    noise = [randomisation_test(*rng.random((2, 100)), permutations=400, seed=s) for s in range(200)]
    assert 0.4 < np.mean(noise) < 0.6
    assert 2 <= sum(p <= 0.05 for p in noise) <= 20
    a = rng.random(300)
    assert randomisation_test(a, a - 0.05 + 0.1 * rng.standard_normal(300)) == 1 / 10_001
    assert randomisation_test(a, a) == 1.0


def test_the_test_is_symmetric_and_repeatable(monkeypatch):
    a, b = np.random.default_rng(8).random((2, 40))
    p = randomisation_test(a, b, seed=1)
    assert randomisation_test(b, a, seed=1) == p
    monkeypatch.setattr(module, "VALUES_AT_ONCE", 40 * 3)
    assert randomisation_test(a, b, seed=1) == p


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_the_best_and_those_not_significantly_worse():
    rng = np.random.default_rng(9)
    base = rng.random(400)
    runs = {"worse": base - 0.1, "best": base + 0.002, "near": base + 0.01 * rng.standard_normal(400) + 0.0015}
    best, p_values = against_best(runs)
    assert best == "best"
    assert set(p_values) == {"worse", "near"}
    assert p_values["worse"] < 0.01
    assert p_values["near"] > 0.05
    one_by_one = {name: randomisation_test(runs["best"], runs[name]) for name in p_values}
    assert p_values == holm(one_by_one)
    assert against_best({"only": base}) == ("only", {})


def test_over_seeds():
    spread = over_seeds([0.5, 0.6, 0.7])
    assert (spread.mean, spread.count) == (pytest.approx(0.6), 3)
    assert spread.deviation == pytest.approx(0.1)
    assert over_seeds([0.5]).deviation == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bootstrap_interval([]), "at least one"),
        (lambda: bootstrap_interval([[1.0]]), "1-D"),
        (lambda: bootstrap_interval([np.nan]), "finite"),
        (lambda: bootstrap_interval([1.0], confidence=95), "between 0 and 1"),
        (lambda: bootstrap_interval([1.0], resamples=0), "at least 1"),
        (lambda: bootstrap_interval([1.0], counted=[0.0]), "counted"),
        (lambda: bootstrap_intervals([1.0]), "2-D"),
        (lambda: bootstrap_intervals([[1.0], [1.0]], counted=[[1.0], [0.0]]), "counted"),
        (lambda: randomisation_test([1.0], [1.0, 2.0]), "1 and 2 queries"),
        (lambda: against_best({}), "no run"),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(call, says):
    with pytest.raises(HashzooError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
