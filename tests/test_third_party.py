"""Packages that were written from docs/plugin.md alone, by somebody who had not seen the code: they work unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import HERE

import hashzoo
from hashzoo.testing import check_plugin

PACKAGES = HERE / "third_party"
OFFERS = {
    "ccaitq": ("method", "cca-itq"),
    "twins": ("method", "twin-tables"),
    "patches": ("encoder", "patches"),
    "arrays": ("dataset", "digits-like"),
}


@pytest.fixture(autouse=True)
def shared_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path_factory.getbasetemp() / "kit-cache"))


def test_there_are_as_many_packages_as_names():
    assert {path.name.removeprefix("hashzoo-") for path in PACKAGES.iterdir()} == set(OFFERS)


@pytest.mark.parametrize("plugin", OFFERS)
def test_it_keeps_every_contract(plugin, site, monkeypatch):
    site.install(PACKAGES / f"hashzoo-{plugin}")
    monkeypatch.setenv("HASHZOO_ONLY", plugin)
    report = check_plugin(plugin)
    assert not report.count("failed"), [finding for finding in report.findings if finding.outcome == "failed"]
    assert ":".join(OFFERS[plugin]) in {finding.subject for finding in report.findings}


def test_they_work_together_in_one_bench(tiny, monkeypatch, command):
    for plugin in OFFERS:
        tiny.install(PACKAGES / f"hashzoo-{plugin}")
    monkeypatch.setenv("HASHZOO_ONLY", ",".join([*OFFERS, "tiny"]))
    outcome = command(
        *("bench", "--method", "cca-itq,twin-tables", "--dataset", "digits-like", "--encoders", "patches+bow"),
        *("--bits", "16", "--set", "twin-tables.trainer.epochs=3", "--jobs", "1"),
    )
    assert outcome.code == 0, outcome.err
    rows = {name: float(score) for name, score in re.findall(r"^ *([\w-]+).*? (\.\d{3}) ", outcome.out, re.MULTILINE)}
    assert rows["cca-itq"] > rows["random"] + 0.03
    assert rows["twin-tables"] > rows["random"] + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("plugin", OFFERS)
def test_its_own_tests_pass(plugin, site, monkeypatch, tmp_path):
    site.install(PACKAGES / f"hashzoo-{plugin}")
    tests = PACKAGES / f"hashzoo-{plugin}" / "tests"
    here = os.environ | {
        "PYTHONPATH": f"{site.folder}{os.pathsep}{Path(hashzoo.__file__).parents[1]}",
        "HASHZOO_ONLY": plugin,
    }
    own = [str(path) for path in tests.glob("test_*.py") if path.name != "test_conformance.py"]  # run above
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *own]
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_core_knows_none_of_them():
    source = Path(hashzoo.__file__).parent
    core = "\n".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    for plugin, (_, offer) in OFFERS.items():
        assert f"hashzoo_{plugin}" not in core
        assert f'"{offer}"' not in core
