import subprocess
import sys
import threading

import numpy as np
import pytest

from hashzoo import kernels
from hashzoo.codes import pack
from hashzoo.errors import HashzooError
from hashzoo.evaluator import bit_slices, counting, evaluate, scoring, sliced_ranks, threads
from hashzoo.evaluator.inputs import label_sets

WIDTHS = [1, 7, 8, 9, 63, 64, 65, 128, 129, 256, 300, 4096]


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
@pytest.mark.parametrize("classes", [1, 64, 65, 255])
def test_histograms_of_any_width(bits, classes):
    query, query_labels, queries = collection(3, bits, classes, seed=bits)
    database, database_labels, items = collection(41, bits, classes, seed=classes)
    most = 1 + int((query_labels.astype(int) @ database_labels.astype(int).T).max())
    for levels in {2, max(2, most)}:
        wanted = plain_histogram(query, query_labels, database, database_labels, levels)
        np.testing.assert_array_equal(counting.histograms(queries, items, bits, levels), wanted)


def sliced(bits, levels, most_labels):
    """Whether the evaluator would count bit slices for queries of `most_labels` labels each."""
    labels = label_sets(np.ones((2, most_labels), dtype=bool), "labels")
    return counting.counts_slices(counting.Collection(np.zeros((2, 1), dtype=np.uint8), labels), bits, levels)


def test_which_histograms_are_counted_in_which_way():
    assert all(sliced(bits, 2, 1) for bits in (0, 1, 64, 128, 256))
    assert not sliced(257, 2, 1)
    assert sliced(64, 9, 8)
    assert not sliced(128, 9, 8)
    assert sliced(16, 16, 15)
    assert not sliced(16, 17, 16)


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 63, 64, 65, 128, 129, 4096])
@pytest.mark.parametrize(
    ("classes", "density"), [(1, 0.5), (24, 0.1), (63, 0.03), (64, 0.03), (65, 0.03), (255, 0.9)], ids=str
)
def test_both_ways_to_count_give_one_histogram(bits, classes, density):
    rows = {1: 511, 24: 512, 63: 513}.get(classes, 300)
    query, query_labels, queries = collection(3, bits, classes, seed=bits, density=density)
    database, database_labels, items = collection(rows, bits, classes, seed=classes, density=density)
    query_labels[0] = False
    queries = counting.Collection(queries.codes, label_sets(query_labels, "labels"))
    shared = 1 + int((query_labels.astype(int) @ database_labels.astype(int).T).max())
    for levels in {2, max(2, shared)}:
        wanted = plain_histogram(query, query_labels, database, database_labels, levels)
        ways = [counting.count_keys]
        if bits <= bit_slices.MOST_BITS and levels <= bit_slices.MOST_LEVELS:
            ways.append(counting.count_slices)
        for way in ways:
            histogram = np.zeros((3, (bits + 1) * levels), dtype=np.int64)
            way(queries, items, bits, levels, histogram)
            np.testing.assert_array_equal(histogram.reshape(wanted.shape), wanted)


TILE_ROWS = 64 * bit_slices.TILE


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 511, 512, 513, TILE_ROWS - 1, TILE_ROWS, TILE_ROWS + 1])
@pytest.mark.parametrize(("bits", "levels"), [(2, 2), (30, 5), (256, 2)])
def test_bit_slices_of_any_number_of_rows(rows, bits, levels):
    query, query_labels, queries = collection(2, bits, 4, seed=1)
    database, database_labels, items = collection(rows, bits, 4, seed=2, density=0.6)
    histogram = np.zeros((2, (bits + 1) * levels), dtype=np.int64)
    counting.count_slices(queries, items, bits, levels, histogram)
    for q in range(2):  # one at a time: the plain way needs a byte for each bit of each pair
        wanted = plain_histogram(query[q : q + 1], query_labels[q : q + 1], database, database_labels, levels)
        np.testing.assert_array_equal(histogram[q].reshape(bits + 1, levels), wanted[0])


def plain_precisions(query, query_labels, database, database_labels):
    """Average precision of each query's stable ranking."""
    order = np.argsort((query[:, None] != database).sum(axis=2), axis=1, kind="stable")
    hits = np.take_along_axis((query_labels.astype(int) @ database_labels.T.astype(int)) > 0, order, 1)
    precisions = hits * np.cumsum(hits, axis=1) / np.arange(1, len(database) + 1)
    return precisions.sum(axis=1) / np.maximum(hits.sum(axis=1), 1)


@pytest.mark.parametrize("way", ["slices", "rows"])
@pytest.mark.parametrize("rows", [1, 63, 64, 65, 511, 512, 513, TILE_ROWS - 1, TILE_ROWS + 1])
@pytest.mark.parametrize(("bits", "classes"), [(1, 1), (30, 9), (255, 15), (256, 3)])
def test_both_ways_to_rank_give_the_stable_ranking(bits, classes, rows, way, monkeypatch):
    query, query_labels, _ = collection(3, bits, classes, seed=1)
    database, database_labels, _ = collection(rows, bits, classes, seed=2)
    query_labels[0], query[1] = False, ~database[0]
    wanted = plain_precisions(query, query_labels, database, database_labels)
    if way == "rows":
        monkeypatch.setattr(sliced_ranks, "MOST_BITS", -1)
    metrics = ["map", "ndcg@20", "map@7", "precision@5", "r_precision"]
    got = evaluate(query, database, query_labels, database_labels, protocol="stable", metrics=metrics, per_query=True)
    np.testing.assert_allclose(got.per_query["map"], wanted, rtol=0, atol=1e-13)
    again = evaluate(query, database, query_labels, database_labels, protocol="stable", metrics=["map"], per_query=True)
    np.testing.assert_array_equal(again.per_query["map"], got.per_query["map"])


@pytest.mark.parametrize("kept", [[], [0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]])
def test_bit_slices_of_every_number_of_shared_labels(kept):
    # Row i shares i % 16 labels with a query of all 15, and what is left of them with a query of some.
    labels = np.arange(15)[None] < (np.arange(1000) % 16)[:, None]
    wanted_labels = np.isin(np.arange(15), kept)[None]
    items = counting.Collection(np.zeros((1000, 1), dtype=np.uint8), label_sets(labels, "labels"))
    query = counting.Collection(np.full((1, 1), 5, dtype=np.uint8), label_sets(wanted_labels, "labels"))
    histogram = np.zeros((1, 4 * 16), dtype=np.int64)
    counting.count_slices(query, items, 3, 16, histogram)
    shared = (labels & wanted_labels).sum(axis=1)
    np.testing.assert_array_equal(histogram.reshape(4, 16)[2], np.bincount(shared, minlength=16))
    assert histogram.sum() == 1000


def test_collapsed_codes_of_many_rows_are_counted():
    rows = 200_001
    labels = label_sets(np.ones((rows, 1), dtype=bool), "labels")
    items = counting.Collection(np.zeros((rows, 1), dtype=np.uint8), labels)
    histogram = counting.histograms(items[:2], items, 3, 2)
    assert histogram[:, 0, 1].tolist() == [rows, rows]
    assert histogram.sum() == 2 * rows


@pytest.mark.parametrize(("rows", "bits", "count"), [(1, 1, 1), (63, 7, 9), (64, 8, 8), (65, 65, 66), (1030, 129, 129)])
def test_bit_planes_are_the_transposed_rows(rows, bits, count):
    codes = np.random.default_rng(0).random((rows, bits)) > 0.5
    planes = np.ones((-(-rows // 512), count, 8), dtype=np.uint64)
    bit_slices.fill_planes(pack(codes).data, planes)
    wanted = np.zeros((len(planes) * 512, count), dtype=bool)
    wanted[:rows, :bits] = codes
    got = np.unpackbits(planes.transpose(1, 0, 2).reshape(count, -1).view(np.uint8), axis=1, bitorder="little")
    np.testing.assert_array_equal(got.T, wanted)


@pytest.mark.parametrize("bits", [20, 300])
@pytest.mark.parametrize("protocol", ["expected", "stable"])
def test_blocks_groups_and_threads_change_nothing(protocol, bits, monkeypatch):
    import numba

    query, query_labels, _ = collection(150, bits, 9, seed=1)
    database, database_labels, _ = collection(1100, bits, 9, seed=2)
    case = (query, database, query_labels, database_labels)

    def run():
        return evaluate(*case, protocol=protocol, per_query=True)

    whole = run()
    before = numba.get_num_threads()
    monkeypatch.setattr(threads, "SERIAL_WORK", 0)
    try:
        for number in range(1, before + 1):
            numba.set_num_threads(number)
            again = run()
            assert again.scores == whole.scores
            assert all(np.array_equal(again.per_query[name], values) for name, values in whole.per_query.items())
    finally:
        numba.set_num_threads(before)
    monkeypatch.setattr(counting, "BLOCK_ROWS", 97)
    monkeypatch.setattr(scoring, "HISTOGRAM_BYTES", 8 * (bits + 1) * 10 * 40)
    in_parts = run()
    for name, values in whole.per_query.items():
        np.testing.assert_allclose(in_parts.per_query[name], values, rtol=0, atol=1e-13)
    assert in_parts.map == pytest.approx(whole.map, abs=1e-13)
    for axis, numbers in whole.scores["pr_curve_radius"].items():
        assert in_parts.scores["pr_curve_radius"][axis] == pytest.approx(numbers, abs=1e-12)


@pytest.fixture(params=[1, 2])
def number_of_threads(request):
    import numba

    before = numba.get_num_threads()
    if request.param > before:
        pytest.skip("this machine has one processor")
    numba.set_num_threads(request.param)
    yield request.param
    numba.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 64, 1001])
def test_every_row_is_handed_out_once(number_of_threads, count):
    seen = np.zeros(count, dtype=int)

    def mark(part):
        seen[part] += 1

    threads.in_parallel(mark, count, at_once=3)
    assert (seen == 1).all()


def test_the_first_error_is_raised_whatever_the_number_of_threads(number_of_threads):
    def fail(part):
        if part.start > 20:
            raise IndexError(part.start)

    starts = []
    for _ in range(20):
        with pytest.raises(IndexError) as caught:
            threads.in_parallel(fail, 100, at_once=4)
        starts.append(caught.value.args[0])
    assert set(starts) == {24}
    codes = np.zeros((20, 3), dtype=np.float32)
    codes[[7, 15], 1] = np.nan
    with pytest.raises(HashzooError, match="row 7 of the codes holds NaN"):
        pack(codes, share_out=lambda task, rows: threads.in_parallel(task, rows, at_once=2))


def test_work_of_a_millisecond_is_done_by_the_caller(monkeypatch):
    monkeypatch.setattr(threads, "allowed_threads", lambda: 2)
    monkeypatch.setattr(threads, "SERIAL_WORK", 100)
    for each, callers in ((10, 1), (11, 2)):
        together, seen = threading.Barrier(callers, timeout=20), set()

        def work(part, together=together, seen=seen):
            seen.add(threading.get_ident())
            together.wait()

        threads.in_parallel(work, 10, each=each)
        assert len(seen) == callers


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
from hashzoo.evaluator import bit_slices, closed_forms, sliced_ranks
used = [k for m in (kernels, bit_slices, closed_forms, sliced_ranks) for k in vars(m).values() if hasattr(k, "stats")]
print(sum(sum(k.stats.cache_hits.values()) for k in used), sum(sum(k.stats.cache_misses.values()) for k in used))
"""
    python(program)
    hits, misses = map(int, python(program).split())
    assert hits > 0
    assert misses == 0


def test_importing_the_evaluator_imports_numpy_only():
    heavy = "numba", "torch", "pandas", "scipy", "llvmlite", "matplotlib"
    python(f"import sys, hashzoo.evaluator, hashzoo.codes; assert not set(sys.modules) & set({heavy})")


def test_to_evaluate_leaves_torch_its_threads(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = """
import numpy as np, torch
from hashzoo.evaluator import evaluate
codes, labels = np.ones((1100, 8)), np.ones((1100, 2), bool)
evaluate(codes, codes, labels, labels)
import numba
print(torch.get_num_threads(), numba.get_num_threads())
"""
    assert python(program).split() == ["1", "2"]
