"""Suites choose methods by what plugins say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import SMALL
from html_tree import parse

from hashzoo import zoo
from hashzoo.benches.suite import SUITES, methods_of
from hashzoo.errors import HashzooError

BENCH = ("bench", "--dataset", "scenes", "--encoders", "tiny+bow", "--bits", 8, "--threads", 1)
SETTINGS = tuple(part for text in SMALL for part in ("--set", text))


def test_a_suite_is_what_methods_say_of_themselves(tiny):
    known = zoo.load()
    papers = {name for name in known.names("method") if known.find("method", name)[1].paper}
    assert set(methods_of("paper")) == papers
    assert methods_of("all") == known.names("method")
    assert "random" in methods_of("all")
    assert "random" not in methods_of("paper")


def test_an_unknown_suite_is_refused(sentence):
    assert sentence("bench", "--suite", "papers").startswith(
        "hashzoo: no suite is called 'papers'; did you mean paper?; there are paper ("
    )
    assert SUITES["all"] in sentence("bench", "--suite", "x")


def test_a_suite_without_methods_is_refused(monkeypatch):
    monkeypatch.setenv("HASHZOO_ONLY", "hashzoo")
    zoo.load.cache_clear()
    with pytest.raises(HashzooError, match="no installed method is in the suite 'paper'"):
        methods_of("paper")


def test_a_suite_names_the_methods_itself(tiny, sentence):
    assert "--suite names the methods itself" in sentence("bench", "--suite", "all", "--method", "toy")


def test_one_command_gives_the_table_its_costs_and_the_page(tiny, command, monkeypatch):
    monkeypatch.setenv("HASHZOO_ONLY", "tiny")
    monkeypatch.setattr("hashzoo.report.html.figures.draw", lambda item, looks: [])
    zoo.load.cache_clear()
    outcome = command(*BENCH, *SETTINGS, "--suite", "all", "--html", "page.html")
    assert "hashzoo: wrote page.html" in outcome.err
    assert "mAP on scenes, tiny+bow" in outcome.out
    assert "Costs on scenes, 8 bits" in outcome.out
    page = parse(Path("page.html").read_text(encoding="utf-8"))
    captions = [caption.words for caption in page.all("caption")]
    assert "Costs on scenes, 8 bits" in captions
