"""The packages of tests/plugins_broken as a real installer leaves them: what `plugins` and `doctor` print of each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import BROKEN, HERE, check_golden, forget, wheel

import hashzoo
from hashzoo import doctor, zoo

pytestmark = pytest.mark.slow
CASES = sorted(path.name for path in BROKEN.iterdir() if path.name != "ends_process")
# The name of the entry point, where it is not that of the package; what must be loaded along.
NAMES = {
    "named_hashzoo": "hashzoo",
    "one_of_a_name": "shared_name",
    "other_of_a_name": "shared_name",
    "first_of_two": "first_of_two,second_of_two",
    "second_of_two": "first_of_two,second_of_two",
}
IN_ORDER = {"changes_process", "odd_objects", "prints", "target_to_nothing", "warns"}


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """A folder into which pip has installed every broken package, and a good one."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    projects = [*sorted(BROKEN.iterdir()), HERE / "plugins_working" / "tiny"]
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", folder]
    subprocess.run([*command, *(wheel(project, wheels) for project in projects)], check=True, capture_output=True)
    return folder


@pytest.fixture
def installed(everything, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(everything)
    forget(everything)
    yield everything
    forget(everything)


def hashzoo_process(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with a short time limit for each plugin."""
    code = "from hashzoo import guard; guard.LIMIT = 1.0; from hashzoo.cli import main; main()"
    source = Path(hashzoo.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{source}", "COLUMNS": "2000"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


HANGING = ("hanging_hook", "hanging_import", "stubborn_import")


@pytest.mark.filterwarnings("ignore:this plugin is old")
@pytest.mark.parametrize("case", CASES)
def test_what_is_said_of_each(case, installed, command, monkeypatch, impatient):
    name = NAMES.get(case, case)
    monkeypatch.setenv("HASHZOO_ONLY", f"tiny,{name}" if case != "no_entry_point" else "tiny")
    monkeypatch.setenv("COLUMNS", "2000")
    if case in HANGING:
        impatient()
    ended = SimpleNamespace(returncode=0, stdout="came to its end", stderr="")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *arguments, **options: ended)
    monkeypatch.setattr(sys, "path", [*sys.path])
    package = f"hashzoo-{case.replace('_', '-')}"

    def about(text: str) -> list[str]:
        """The lines that speak of this package, free of column widths and of versions of others."""
        lines = [re.sub(r"  +", "  ", line.strip()) for line in text.splitlines()]
        return [re.sub(r"\d[\d.]+ is installed", "N is installed", line) for line in lines if package in line]

    listed = command("plugins")
    forget(installed)
    examined = command("doctor")
    text = [f"$ hashzoo plugins  -> {listed.code}", *about(listed.err), *about(listed.out)]
    text += [f"$ hashzoo doctor  -> {examined.code}", *about(examined.out)]
    check_golden("plugins_broken.txt", case, "\n".join(text) + "\n")
    assert listed.code == (0 if case in IN_ORDER | {"no_entry_point", "unmet_requirements"} else 1)
    # Other packages without an entry point are installed here too, so that the exit code alone would say nothing.
    assert examined.code == 1
    assert any(line.startswith("PROBLEM") for line in about(examined.out)) == (case not in IN_ORDER)
    assert zoo.load().find("method", "toy")[0].name == "tiny"


def test_the_golden_file_holds_no_package_that_is_gone():
    stored = (HERE / "golden" / "plugins_broken.txt").read_text(encoding="utf-8")
    assert re.findall(r"^=== (.*)$", stored, re.MULTILINE) == CASES


def test_help_works_whatever_is_installed(everything):
    start = time.perf_counter()
    outcome = hashzoo_process(everything, "--help")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "bench" in outcome.stdout
    assert time.perf_counter() - start < 30


def test_all_of_them_at_once(everything):
    outcome = hashzoo_process(everything, "plugins", HASHZOO_BLOCK="ends_process")
    assert outcome.returncode == 1
    row = next(line for line in outcome.stdout.splitlines() if line.strip().startswith("tiny "))
    assert row.split()[1] == "ok"
    known = [line for line in outcome.stderr.splitlines() if re.match(r"hashzoo: plugin '\w+' \(.*\) is ", line)]
    assert len(known) == len({line.split("'")[1] for line in known}) >= 28


def test_what_ends_the_process_ends_it_with_its_code(everything):
    """Not to be survived; `hashzoo doctor` finds it, see test_doctor.py."""
    assert hashzoo_process(everything, "plugins", HASHZOO_ONLY="ends_process").returncode == 3
    assert hashzoo_process(everything, "plugins", HASHZOO_ONLY="tiny").returncode == 0
