"""`hashzoo eval --rerank`: mAP with the nearest re-ranked, against a slow oracle and on a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.benches.benchmark import bench
from hashzoo.benches.track import Track
from hashzoo.codes import load_codes, pack, save_codes
from hashzoo.errors import HashzooError
from hashzoo.inference.reranked import reranked_map, score_reranked
from hashzoo.search import rerank


def average_precision(relevant):
    hits = np.flatnonzero(relevant)
    return float(np.mean([(rank + 1) / (place + 1) for rank, place in enumerate(hits)])) if len(hits) else 0.0


@pytest.mark.parametrize(("bits", "candidates"), [(6, 1), (6, 15), (13, 40), (16, 999)])
def test_the_first_rows_of_a_stable_ranking_are_put_in_the_order_of_inner_products(bits, candidates):
    rng = np.random.default_rng(bits + candidates)
    values, ones = rng.standard_normal((9, bits)), rng.random((60, bits)) > 0.5
    ones[30:] = ones[:30]  # equal codes: ties of both distances
    labels = rng.random((9, 5)) > 0.7, rng.random((60, 5)) > 0.7
    found = reranked_map(values, pack(values), pack(ones), *labels, candidates)
    before, after = [], []
    for query, wanted in zip(values, labels[0], strict=True):
        distances = ((query > 0) != ones).sum(axis=1)
        ranking = np.lexsort((np.arange(60), distances))
        nearest, rest = ranking[:candidates], ranking[candidates:]
        products = np.round((ones[nearest] * 2.0 - 1) @ query, 9)
        again = np.concatenate([nearest[np.lexsort((nearest, -products))], rest])
        relevant = (labels[1] & wanted).any(axis=1)
        before.append(average_precision(relevant[ranking]))
        after.append(average_precision(relevant[again]))
    assert found["map_hamming"] == pytest.approx(np.mean(before), abs=1e-12)
    assert found["map"] == pytest.approx(np.mean(after), abs=1e-12)
    assert set(found["seconds"]) == {"search", "rerank"}


def test_distances_generalise_the_hamming_distance():
    rng = np.random.default_rng(0)
    for bits in (1, 7, 64, 70):
        ones, queries = rng.random((5, bits)) > 0.5, rng.random((3, bits)) > 0.5
        hamming = (queries[:, None] != ones).sum(axis=2)
        codes = np.broadcast_to(pack(ones).data, (3, 5, -(-bits // 8)))
        signs = rerank.signs_of(pack(queries))
        np.testing.assert_allclose(rerank.distances_to_codes(signs * 0.3, codes), hamming, atol=1e-12)
        outputs = np.broadcast_to(rerank.signs_of(pack(ones)).astype(np.float16), (3, 5, bits))
        np.testing.assert_allclose(rerank.distances_to_outputs(signs * 7, outputs), hamming, atol=1e-12)
        np.testing.assert_array_equal(rerank.distances_to_codes(0 * signs, codes), np.full((3, 5), bits / 2))


@pytest.fixture
def run(tiny):
    made = bench(["toy"], [16], dataset="scenes", encoders="tiny+bow", settings=list(SMALL), threads=1)
    (folder,) = (result["run"] for result in made["results"] if result["method"] == "toy")
    return folder


def test_a_run_is_scored_with_its_nearest_re_ranked(run, command, sentence):
    (result,) = json.loads(command("eval", run, "--rerank", "20", "--json").out)["results"]
    assert result["reranked"]["candidates"] == 20
    for direction in ("i2t", "t2i"):
        found = result["reranked"][direction]
        assert 0 < found["map"] <= 1
        assert found["map"] != found["map_hamming"]
        assert result["scores"][direction]["map_pessimistic"] <= found["map_hamming"]
        assert found["map_hamming"] <= result["scores"][direction]["map_optimistic"]
    printed = command("eval", run, "--rerank", "20").out
    assert "map, 20 re-ranked" in printed
    assert "ms a query, re-ranking" in printed
    assert "type --rerank 100" in sentence("eval", run, "--rerank", "0")


def test_towers_that_give_other_codes_are_refused(run):
    folder = Path(run)
    codes = load_codes(folder / "codes.npz")
    codes["text_query"] = pack(~codes["text_query"].unpack())
    save_codes(folder / "codes.npz", **codes)
    with pytest.raises(HashzooError, match="the text tower of .* gives other codes than .*100.0% of its bits"):
        score_reranked(Track.load(folder.parent.parent), folder, 10)
