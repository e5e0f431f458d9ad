"""Which differences are real: rows are marked and compared by the values of their queries, not by their means."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_report import TRACK, failed, result

from hashzoo.errors import HashzooError
from hashzoo.evaluator import bootstrap_interval, randomisation_test
from hashzoo.report import make_table, significance
from hashzoo.storage.files import write_arrays, write_json

QUERIES = 800
PLAIN = {name: value for name, value in TRACK.items() if name != "id"}


def stored(name: str, level: float, seed: int = 0, **changes) -> dict:
    """A result whose queries score around `level`, the same noise for every run of one seed."""
    folder = Path("runs", TRACK["id"], name, f"run-{seed}")
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, QUERIES)
    values = {"i2t": level + noise, "t2i": level + 0.1 + noise}
    write_arrays(folder / "per_query.npz", values)
    means = {direction: float(array.mean()) for direction, array in values.items()}
    whole = result(name, seed=seed, run=str(folder), **means, **changes)
    source = {"distribution": "hashzoo-toy", "version": "1", "digest": "d"}
    about = {"schema": 1, "key": name, "request": name, "plugin": {"name": "toy", **source}}
    asked = {
        **{"track": PLAIN, "method": name, "bits": 16, "seed": seed, "settings": {}, "plugins": {"toy": source}},
        **{"device": "cpu", "threads": 1, "versions": {}},
        "recipe": {"heads": ["", ""], "loss": "pairwise", "trainer": "sgd"},
        "encoders": {role: {"name": encoder, "card": {}} for role, encoder in whole["encoders"].items()},
    }
    write_json(folder / "run.json", about | asked)
    write_json(folder / "result.json", about | whole | {"evaluator": "e"})
    return whole


@pytest.fixture
def results() -> list[dict]:
    near = stored("near", 0.5)
    path = Path(near["run"], "per_query.npz")
    jitter = np.random.default_rng(9).normal(0, 0.1, QUERIES)
    with np.load(path) as good:
        write_arrays(path, {name: good[name] + jitter - jitter.mean() - 0.002 for name in good.files})
    return [stored("best", 0.5), near, stored("worse", 0.45), failed("broken")]


def test_precisions_of_other_queries_are_refused(results):
    path = Path(results[2]["run"], "per_query.npz")
    with np.load(path) as good:
        write_arrays(path, {name: good[name][:5] for name in good.files})
    for way in ("i2t", "t2i"):
        results[2]["scores"][way].pop("queries", None)
    with pytest.raises(HashzooError, match="is of other queries than the runs beside it"):
        significance.per_query(results)


def test_what_is_not_significantly_worse_is_marked_too(results):
    values = significance.per_query(results)
    winners = significance.as_good_as_best(values)
    assert winners[("i2t", 16)] == {"best", "near"}
    table = make_table({"track": TRACK, "results": results}, winners)
    marked = {row.label for row in table.rows if ("i2t", 16) in row.best}
    assert marked == {"best", "near"}
    assert {row.label for row in make_table({"track": TRACK, "results": results}).rows if row.best} == {"best", "near"}


def test_seeds_of_a_row_are_averaged_query_by_query():
    runs = [stored("soda", 0.5, seed=seed) for seed in (0, 1)]
    values = significance.per_query(runs)[("i2t", 16)]["soda"]
    each = [np.load(Path(run["run"], "per_query.npz"))["i2t"] for run in runs]
    np.testing.assert_array_equal(values, np.mean(each, axis=0))


def test_intervals_are_those_of_the_evaluator(results):
    values = significance.per_query(results)
    found = significance.intervals(values)[("t2i", 16)]
    assert set(found) == {"best", "near", "worse"}
    assert tuple(found["worse"]) == pytest.approx(bootstrap_interval(values[("t2i", 16)]["worse"]))


def test_a_run_without_values_of_its_queries_is_left_out(results):
    Path(results[0]["run"], "per_query.npz").unlink()
    assert set(significance.per_query(results)[("i2t", 16)]) == {"near", "worse"}


def test_only_the_rows_that_are_asked_for_are_read(results):
    Path(results[1]["run"], "per_query.npz").write_bytes(b"damaged")
    assert set(significance.per_query(results, ("best", "worse"))[("i2t", 16)]) == {"best", "worse"}


def test_two_rows_are_compared_column_by_column(results):
    ((compared),) = significance.compare([{"track": TRACK, "results": results}], "best", "worse")
    assert [(row["direction"], row["bits"]) for row in compared["rows"]] == [("i2t", 16), ("t2i", 16), ("mean", 16)]
    row = compared["rows"][0]
    values = significance.per_query(results)[("i2t", 16)]
    assert row["difference"] == pytest.approx(0.05)
    assert row["interval"] == pytest.approx([0.05, 0.05])
    assert row["p"] == randomisation_test(values["best"], values["worse"])


def test_the_mean_of_both_directions_is_taken_query_row_by_query_row(results):
    ((compared),) = significance.compare([{"track": TRACK, "results": results}], "best", "near")
    values = significance.per_query(results)
    best, near = ((values["i2t", 16][row] + values["t2i", 16][row]) / 2 for row in ("best", "near"))
    mean = compared["rows"][-1]
    assert (mean["a"], mean["b"]) == pytest.approx((best.mean(), near.mean()))
    assert mean["p"] == randomisation_test(best, near)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("best", "wurse"), "no row is called 'wurse'; did you mean worse?"),
        (("best", "broken"), "best and broken have no track and code length in common"),
    ],
)
def test_rows_that_cannot_be_compared(results, names, said):
    with pytest.raises(HashzooError, match=said):
        significance.compare([{"track": TRACK, "results": results}], *names)


def test_the_report_says_how_it_compares(results, command, monkeypatch):
    write_json(Path("runs", TRACK["id"], "track.json"), PLAIN | {"schema": 1})
    monkeypatch.setenv("COLUMNS", "80")
    shown = command("report").out
    assert "marked: the best, and what is not significantly worse (paired randomisation test" in " ".join(shown.split())
    assert "95 % bootstrap interval over queries, text to image" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    compared = command("report", "--compare", "best", "worse").out
    assert "+0.050 to +0.050" in compared
    assert "two-sided" in compared
    assert "mean of both" in compared
    told = json.loads(command("report", "--compare", "best", "worse", "--json").out)
    assert (told["schema"], told["a"], told["b"]) == (1, "best", "worse")
    assert len(told["tracks"][0]["rows"]) == 3


def test_a_comparison_has_no_other_formats(results, sentence):
    write_json(Path("runs", TRACK["id"], "track.json"), PLAIN | {"schema": 1})
    assert "--compare prints a table, or --json" in sentence("report", "--compare", "best", "worse", "--md")
