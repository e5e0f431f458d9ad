import subprocess
import sys

import numpy as np
import pytest

from hashzoo import kernels
from hashzoo.codes import pack
from hashzoo.evaluator import counting, evaluate, scoring
from hashzoo.evaluator.inputs import label_sets

WIDTHS = [1, 7, 8, 16, 33, 64, 65, 128, 300, 4096]


def collection(rows, bits, classes, seed, density=0.2):
    rng = np.random.default_rng(seed)
    codes, labels = rng.random((rows, bits)) > 0.5, rng.random((rows, classes)) < density
    return codes, labels, counting.Collection(pack(codes).data, label_sets(labels, "labels"))


def plain_histogram(query, query_labels, database, database_labels, levels):
    distance = (query[:, None] != database[None]).sum(axis=2)
    shared = query_labels.astype(int) @ database_labels.astype(int).T
    shared = np.minimum(shared, levels - 1) if levels == 2 else shared
    histogram = np.zeros((len(query), query.shape[1] + 1, levels), dtype=np.int64)
    for q in range(len(query)):
        np.add.at(histogram[q], (distance[q], shared[q]), 1)
    return histogram


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("classes", [1, 64, 65, 200])
def test_histograms_of_any_width(bits, classes):
    query, query_labels, queries = collection(3, bits, classes, seed=bits)
    database, database_labels, items = collection(41, bits, classes, seed=classes)
    most = 1 + int((query_labels.astype(int) @ database_labels.astype(int).T).max())
    for levels in {2, max(2, most)}:
        wanted = plain_histogram(query, query_labels, database, database_labels, levels)
        np.testing.assert_array_equal(counting.histograms(queries, items, bits, levels), wanted)


@pytest.mark.parametrize(("bits", "classes"), [(1, 3), (5, 70), (64, 5), (70, 5), (127, 65), (130, 2)])
def test_counting_queries_in_pairs_changes_nothing(bits, classes):
    rows = (2 * bits + 2) ** 2 + 1
    query, query_labels, queries = collection(3, bits, classes, seed=1)
    database, database_labels, items = collection(rows, bits, classes, seed=2)
    got = counting.histograms(queries, items, bits, 2)
    for q in range(3):
        wanted = plain_histogram(query[q : q + 1], query_labels[q : q + 1], database, database_labels, 2)
        np.testing.assert_array_equal(got[q], wanted[0])


def test_pairs_of_collapsed_codes_do_not_overflow():
    rows = kernels.PAIR_ROWS + 70_001
    labels = label_sets(np.ones((rows, 1), dtype=bool), "labels")
    items = counting.Collection(np.zeros((rows, 1), dtype=np.uint8), labels)
    histogram = counting.histograms(items[:2], items, 3, 2)
    assert histogram[:, 0, 1].tolist() == [rows, rows]
    assert histogram.sum() == 2 * rows


@pytest.mark.parametrize("protocol", ["expected", "stable"])
def test_blocks_groups_and_threads_change_nothing(protocol, monkeypatch):
    import numba

    query, query_labels, _ = collection(150, 20, 9, seed=1)
    database, database_labels, _ = collection(1100, 20, 9, seed=2)
    case = (query, database, query_labels, database_labels)

    def run():
        return evaluate(*case, protocol=protocol, per_query=True)

    whole = run()
    before = numba.get_num_threads()
    try:
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            again = run()
            assert again.scores == whole.scores
            assert all(np.array_equal(again.per_query[name], values) for name, values in whole.per_query.items())
    finally:
        numba.set_num_threads(before)
    monkeypatch.setattr(counting, "BLOCK_ROWS", 97)
    monkeypatch.setattr(scoring, "HISTOGRAM_BYTES", 8 * 21 * 10 * 40)
    in_parts = run()
    for name, values in whole.per_query.items():
        np.testing.assert_allclose(in_parts.per_query[name], values, rtol=0, atol=1e-13)
    assert in_parts.map == pytest.approx(whole.map, abs=1e-13)
    for axis, numbers in whole.scores["pr_curve_radius"].items():
        assert in_parts.scores["pr_curve_radius"][axis] == pytest.approx(numbers, abs=1e-12)


def test_without_a_cache_folder_kernels_are_compiled_all_the_same(monkeypatch):
    import numba

    real = numba.njit

    def refuse(function, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(function, **options)

    monkeypatch.setattr(numba, "njit", refuse)

    @kernels.compiled
    def one_more(x):
        return x + 1

    assert one_more(1) == 2


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_process_compiles_nothing():
    program = """
import numpy as np
from hashzoo.evaluator import evaluate
rng = np.random.default_rng(0)
for protocol in ("expected", "stable", "optimistic", "deephash@3"):
    evaluate(rng.random((4, 9)) > .5, rng.random((700, 9)) > .5, rng.random((4, 3)) > .5, rng.random((700, 3)) > .5,
             protocol=protocol)
from hashzoo import kernels
from hashzoo.evaluator import closed_forms
used = [k for m in (kernels, closed_forms) for k in vars(m).values() if hasattr(k, "stats")]
print(sum(sum(k.stats.cache_hits.values()) for k in used), sum(sum(k.stats.cache_misses.values()) for k in used))
"""
    python(program)
    hits, misses = map(int, python(program).split())
    assert hits > 0
    assert misses == 0


def test_importing_the_evaluator_imports_numpy_only():
    heavy = "numba", "torch", "pandas", "scipy", "llvmlite", "matplotlib"
    python(f"import sys, hashzoo.evaluator, hashzoo.codes; assert not set(sys.modules) & set({heavy})")
