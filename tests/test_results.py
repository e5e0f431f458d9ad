"""The tables of all methods say what their recorded results say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from hashzoo import zoo
from hashzoo.benches.bench_file import read_bench_file
from hashzoo.benches.suite import methods_of
from hashzoo.fitting import learns_online
from hashzoo.recipe import build
from hashzoo.storage.files import read_json

FOLDER = Path(__file__).parent.parent / "benchmarks" / "results"
spec = importlib.util.spec_from_file_location("record_results", FOLDER / "record.py")
assert spec
assert spec.loader
record = importlib.util.module_from_spec(spec)
spec.loader.exec_module(record)

NUMBER = re.compile(r"(?<![\w.])\d?\.\d{3}\b")
tables = pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))


def test_the_page_is_that_of_the_recorded_results():
    text = record.PAGE.read_text(encoding="utf-8")
    assert record.written(text) == text
    cell = NUMBER.findall(record.BLOCK.search(text)[0])[0]
    assert record.written(text.replace(cell, ".999")) == text


def test_every_number_outside_the_tables_stands_in_one():
    text = record.PAGE.read_text(encoding="utf-8")
    known = set(NUMBER.findall("".join(match[0] for match in record.BLOCK.finditer(text))))
    assert set(NUMBER.findall(record.BLOCK.sub("", text))) <= known


@tables
def test_a_table_has_its_methods_with_all_seeds_and_the_page_says_which_it_lacks(name):
    benches, _ = read_bench_file(FOLDER / f"{name}.toml", {})
    asked = {method for bench in benches for method in bench["methods"]}
    runs = read_json(FOLDER / f"{name}.json")["results"]
    assert {run["status"] for run in runs} == {"ok"}
    for method in asked:
        assert sorted(run["seed"] for run in runs if run["method"] == method) == list(benches[0]["seeds"]), method
    assert f"<!-- begin {name} -->" in record.PAGE.read_text(encoding="utf-8")
    if benches[0]["stream"]:
        encoders = {"image": "lite0", "text": "minilm"}
        recipes = {method: build(zoo.load(), method, encoders, ()) for method in methods_of("paper")}
        assert asked == {method for method, recipe in recipes.items() if learns_online(recipe)} | {record.BASELINE}
        return
    section = record.PAGE.read_text(encoding="utf-8").partition(f"\n## {name.replace('-', '/')}\n")[2]
    lacking = section.partition("Not in this\ntable")[2].partition("<!-- begin")[0] if "Not in this" in section else ""
    assert set(methods_of("paper")) - asked == {word for word in methods_of("paper") if f"`{word}`" in lacking}


@tables
def test_every_method_is_tested_against_the_baseline_and_against_random_codes(name):
    found = read_json(FOLDER / f"{name}.json")
    labels = {run["label"] for run in found["results"]}
    for tests, other in ((found["comparisons"], record.BASELINE), (found["against_random"], record.FLOOR)):
        assert len(labels) == len(tests) + 1
        (left_out,) = labels - {row["label"] for row in tests}
        assert left_out.split()[0] == other  # (offline) may stand behind it
        for row in tests:
            low, high = row["interval"]
            assert low <= row["difference"] <= high
