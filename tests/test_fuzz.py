"""Whatever a file holds, reading it gives a result or one HashzooError: a few files of each format, the same each time.

HASHZOO_FUZZ=500 python -m pytest tests/test_fuzz.py draws more of them, others each time. The campaign that looks for
files which reach new code: `python benchmarks/fuzz.py FORMAT --inputs N`.
"""

from __future__ import annotations

import os
from pathlib import Path

import fuzzing
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("HASHZOO_FUZZ", "12"))
CAMPAIGN = "HASHZOO_FUZZ" in os.environ
NAMES = (
    *("run", "result", "reason", "track", "opened", "rounds", "log", "codes", "labels", "precisions", "manifest"),
    *("texts", "rows", "bench"),
    *("csv", "jsonl", "parquet", "zip", "tar", "bundle", "collection"),
)
made: dict[str, fuzzing.Format] = {}


@pytest.fixture
def forms(tiny, tmp_path_factory, monkeypatch) -> dict[str, fuzzing.Format]:
    """Whole files of every format, made once."""
    place = Path(tmp_path_factory.getbasetemp()) / "fuzzing"
    monkeypatch.setenv("HASHZOO_CACHE", str(place / "cache"))
    if not made:
        made.update(fuzzing.formats(place))
    return made


def test_every_format_is_fed(forms):
    assert tuple(forms) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_whole_files_are_read(name, forms):
    for content in forms[name].seeds:
        assert fuzzing.feed(forms[name], content) == ""


@pytest.mark.parametrize("name", NAMES)
def test_files_that_nobody_meant_are_read_or_refused(name, forms):
    refused = []

    @given(st.randoms(use_true_random=False))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=not CAMPAIGN,
    )
    def one(rng):
        refused.append(fuzzing.feed(forms[name], fuzzing.mutated(forms[name], rng)))

    one()
    assert len(refused) >= EXAMPLES


@pytest.mark.parametrize("name", ["run", "codes", "zip", "csv"])
def test_nothing_and_noise_are_refused(name, forms):
    assert fuzzing.feed(forms[name], b"")
    assert fuzzing.feed(forms[name], bytes(range(256)) * 4)


def test_a_fork_leaves_the_files_of_others_alone(forms, monkeypatch):
    assert fuzzing.feed(forms["manifest"], b"{}")
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    assert fuzzing.feed(forms["rows"], forms["rows"].seeds[0]) == ""
