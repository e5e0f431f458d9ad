"""A recorded bench gives the scores that it gave: a change that costs accuracy is seen, whatever its unit tests say.

tests/recorded/scenes.json holds the mAP of the bench scenes.toml. Record it again, after a change that is meant to
change scores:

    RENEW_RECORDED=1 python -m pytest tests/test_recorded.py
"""

from __future__ import annotations

import os

import pytest
from helpers import HERE

from hashzoo.benches.bench_file import read_bench_file
from hashzoo.benches.benchmark import Request, bench_all
from hashzoo.storage.files import read_json, write_json

FILE = HERE / "recorded" / "scenes.toml"
RECORDED = FILE.with_suffix(".json")
COMMAND = "RENEW_RECORDED=1 python -m pytest tests/test_recorded.py"
# Of the mean over both directions and both seeds. On one machine codes are equal to the bit. Another processor, or
# another torch, sums in another order, which training carries further: then a run is like one of another seed. The two
# seeds of a method differ by up to .011 in scenes.json.
TOLERANCE = 0.025
# Chance is exact and the oracle has no training: both are the same everywhere, up to rounding.
EXACT = 1e-9


@pytest.mark.usefixtures("tiny", "one_thread")
def test_a_recorded_bench_gives_the_scores_that_it_gave():
    benches, _ = read_bench_file(FILE, {})
    results = bench_all([Request(**one) for one in benches])["results"]
    assert all(result["status"] == "ok" for result in results), results
    found: dict[str, list[float]] = {}
    for result in results:
        found.setdefault(result["method"], []).append(sum(way["map"] for way in result["scores"].values()) / 2)
    limits = {name: results[0][name] for name in ("floor", "ceiling")}
    if os.environ.get("RENEW_RECORDED") == "1":
        write_json(RECORDED, {"command": COMMAND, "map": found, **limits})
    recorded = read_json(RECORDED)
    assert set(found) == set(recorded["map"])
    for method, maps in recorded["map"].items():
        assert _mean(found[method]) == pytest.approx(_mean(maps), abs=TOLERANCE), (method, found[method], maps)
    assert limits == pytest.approx({name: recorded[name] for name in limits}, abs=EXACT)
    # Learning is far above chance, by more than the tolerance: a method that stopped learning cannot pass.
    for method in set(found) - {"random"}:
        assert _mean(recorded["map"][method]) > recorded["floor"] + 2 * TOLERANCE, method


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
