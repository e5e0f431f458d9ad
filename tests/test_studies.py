"""The pages of the studies say what their recorded results say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from hashzoo.benches.bench_file import read_bench_file

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "studies"
spec = importlib.util.spec_from_file_location("studies_page", FOLDER / "page.py")
assert spec
assert spec.loader
page = sys.modules["studies_page"] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
spec.loader.exec_module(page)

NUMBER = re.compile(r"(?<![\w.])\d?\.\d{3}\b")
studies = pytest.mark.parametrize("name", page.STUDIES)


@studies
def test_the_numbers_of_a_page_are_those_of_its_recorded_result(name):
    assert page.written(name) == (page.PAGES / f"{name}.md").read_text(encoding="utf-8")


@studies
def test_every_number_of_the_answer_stands_in_a_table(name):
    text = (page.PAGES / f"{name}.md").read_text(encoding="utf-8")
    tables = "".join(match[0] for match in page.BLOCK.finditer(text))
    prose = page.BLOCK.sub("", text)
    known = set(NUMBER.findall(tables))
    assert known
    assert set(NUMBER.findall(prose)) <= known


@studies
def test_a_study_has_its_bench_file_its_figure_and_only_finished_runs(name):
    benches, _ = read_bench_file(FOLDER / f"{name}.toml", {})
    runs = page.runs_of(page.record_of(name))
    assert {method for bench in benches for method in bench["methods"]} <= {run["method"] for run in runs}
    assert {run["status"] for run in runs} == {"ok"}
    repeats = {run["seed"] for run in runs} | {run["track"].get("fold", {}).get("number") for run in runs}
    assert len(repeats) >= 3
    assert f"]({name}.svg)" in (page.PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert (page.PAGES / f"{name}.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_list_of_studies_has_all_of_them():
    listed = set(re.findall(r"\]\((\w+)\.md\)", (page.PAGES / "README.md").read_text(encoding="utf-8")))
    assert listed == set(page.STUDIES)


def test_a_wrong_number_on_a_page_is_found(tmp_path, monkeypatch):
    pages = tmp_path / "pages"
    pages.mkdir()
    name = next(iter(page.STUDIES))
    text = (page.PAGES / f"{name}.md").read_text(encoding="utf-8")
    cell = NUMBER.findall(page.BLOCK.search(text)[0])[0]
    (pages / f"{name}.md").write_text(text.replace(cell, ".999"), encoding="utf-8")
    monkeypatch.setattr(page, "PAGES", pages)
    assert page.written(name) == text
