"""The conformance kit: every check catches what it is for, and nothing else."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import HERE

from hashzoo import recipe
from hashzoo.testing import kit
from hashzoo.testing.kit import check_plugin

UNFIT = HERE / "plugins_unfit"
PACKAGES = sorted(path.name for path in UNFIT.iterdir() if (path / "__init__.py").exists())


def caught_by(package: str) -> dict[str, str]:
    """Subject and check of every defect of a package, read without importing it."""
    for statement in ast.parse((UNFIT / package / "__init__.py").read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "CAUGHT_BY":
            return ast.literal_eval(statement.value)
    raise AssertionError(f"{package} does not say what it is caught by")


@pytest.fixture(autouse=True)
def shared_cache(tmp_path_factory, monkeypatch):
    """Trials run on the same scenes all the time; only these tests share a cache."""
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path_factory.getbasetemp() / "kit-cache"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_defect_is_caught_by_its_own_check_and_by_no_other(package, site, monkeypatch):
    site.package(UNFIT / package)
    monkeypatch.setenv("HASHZOO_ONLY", package)
    monkeypatch.setattr(recipe, "available_threads", lambda: 2)  # two threads can be had on one processor as well
    report = check_plugin(package)
    failed = {finding.subject: finding.name for finding in report.findings if finding.outcome == "failed"}
    assert failed == caught_by(package), [f for f in report.findings if f.outcome == "failed"]
    assert report.count("failed") == len(failed)
    for finding in report.findings:
        assert bool(finding.message) == (finding.outcome != "passed"), finding
        assert "\n" not in finding.message


def test_every_check_has_a_defect_that_it_catches():
    known = [check.name for check in kit.checks()]
    assert len(set(known)) == len(known)
    assert {name for package in PACKAGES for name in caught_by(package).values()} == set(known)


def test_every_check_says_what_it_demands():
    for check in kit.checks():
        said = check.run.__doc__ or ""
        assert said.strip().endswith("."), check.name
        assert check.name.startswith("check_")
        assert check.tier in kit.TIERS


def test_a_trainer_with_the_name_of_its_method_is_checked_as_that_method(site, monkeypatch):
    site.package(UNFIT / "methods")
    monkeypatch.setenv("HASHZOO_ONLY", "methods")
    assert [subject.id for subject in kit.subjects("threads")] == ["plugin:methods", "method:threads"]
    assert [subject.id for subject in kit.subjects("staged")] == ["plugin:methods", "trainer:staged"]


def test_an_expected_failure_is_none_until_it_passes(site, monkeypatch):
    site.package(UNFIT / "losses")
    monkeypatch.setenv("HASHZOO_ONLY", "losses")
    name = "check_gradients_reach_both_towers"
    report = check_plugin("deaf-to-texts", {name: "it is simpler"})
    assert (report.count("failed"), report.count("expected_failure")) == (0, 1)
    (finding,) = [f for f in report.findings if f.outcome == "expected_failure"]
    assert finding.message.startswith("it is simpler (")

    report = check_plugin("fit", {f"loss:fit/{name}": "it was wrong once"})
    (finding,) = [f for f in report.findings if f.outcome == "failed"]
    assert (finding.name, finding.subject) == (name, "loss:fit")
    assert finding.message == "it is expected to fail (it was wrong once) but passes; take it off the list"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no plugin, and nothing that one offers, is called 'nothing'"),
        (["timm"], "encoder 'timm' needs to know which model; type: hashzoo plugins check timm:MODEL"),
        (["random", "--tier", "contracts"], "there is no tier 'contracts' of checks; did you mean contract?"),
        (["random", "--expect-failure", "check_x=why"], "'random' has no check 'check_x'"),
        (
            ["random", "--expect-failure", "check_x"],
            "--expect-failure check_x gives no reason; write check_x='the reason'",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(arguments, said, sentence):
    assert said in sentence("plugins", "check", *arguments)


def test_the_command_prints_every_check_and_all_counts(site, monkeypatch, command):
    site.package(UNFIT / "losses")
    monkeypatch.setenv("HASHZOO_ONLY", "losses")
    name = "check_gradients_reach_both_towers"
    outcome = command("plugins", "check", "deaf-to-texts")
    assert outcome.code == 1
    assert re.search(rf"FAILED +\d\.\d s  {name}\n +\w", outcome.out)
    report = check_plugin("deaf-to-texts")
    assert outcome.out.splitlines()[-1] == report.summary()
    assert report.summary().startswith(f"deaf-to-texts: {report.ran} checks ran: {report.ran - 1} passed, 1 failed, ")

    outcome = command("plugins", "check", "deaf-to-texts", "--json", "--expect-failure", f"{name}=simpler")
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert {key: found[key] for key in ("plugin", "ran", "passed", "expected_failures", "failed")} == {
        "plugin": "deaf-to-texts",
        "ran": report.ran,
        "passed": report.ran - 1,
        "expected_failures": 1,
        "failed": 0,
    }
    assert [set(item) for item in found["checks"]] == [{"subject", "name", "outcome", "seconds", "message"}] * len(
        found["checks"]
    )


def test_authors_run_the_kit_with_pytest(tmp_path: Path):
    (tmp_path / "test_mine.py").write_text(
        "from hashzoo.testing import parametrize_plugin\n\n"
        '@parametrize_plugin("pairwise", expected_failures={"check_import_is_light": "no reason"})\n'
        "def test_conformance(check):\n    check()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py", "-k", "light or named_finite"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert (
        "hashzoo conformance of pairwise: 2 checks ran: 1 passed, 1 failed, 0 expected to fail; 0 do not apply\n"
        in done.stdout
    )
    assert "[XPASS(strict)] no reason" in done.stdout
    assert "test_conformance[plugin:hashzoo/check_import_is_light]" in done.stdout


NO_CLASS = {"check_targets_resolve": "it is still to be written"}


def nothing_applies():
    """What is said of a loss whose class is missing: no check of it applies."""
    count = len(kit.checks("loss"))
    of_them = f"{count} checks do not apply, of {count} at most {kit.spare('loss')} may"
    return f"loss:fine-target-to-nothing: {of_them}; what is not checked cannot be called good"


def test_of_the_checks_of_a_kind_most_have_to_apply():
    assert kit.spare("plugin") == 0
    assert kit.spare("method") == kit.spare("trainer") == len(kit.checks("method")) // 4


def test_a_run_in_which_almost_nothing_applies_is_not_green(site, monkeypatch, command):
    site.package(UNFIT / "target_to_nothing")
    monkeypatch.setenv("HASHZOO_ONLY", "target_to_nothing")
    ((name, reason),) = NO_CLASS.items()
    outcome = command("plugins", "check", "target_to_nothing", "--expect-failure", f"{name}={reason}")
    assert outcome.code == 1
    *_, few, summary = outcome.out.splitlines()
    assert few == nothing_applies()
    assert f", 0 failed, 1 expected to fail; {len(kit.checks('loss'))} do not apply" in summary
    assert check_plugin("target_to_nothing", NO_CLASS).as_json()["too_few"] == [few]
    assert check_plugin("pairwise").too_few() == []


@pytest.mark.parametrize(
    ("chosen", "code"), [("check", 1), ("plugin:", 0)], ids=["all", "deselected checks are not missed"]
)
def test_nor_is_a_session_of_pytest(chosen, code, site, tmp_path):
    site.package(UNFIT / "target_to_nothing")
    (tmp_path / "test_mine.py").write_text(
        "from hashzoo.testing import parametrize_plugin\n\n"
        f"@parametrize_plugin('target_to_nothing', expected_failures={NO_CLASS})\n"
        "def test_conformance(check):\n    check()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py", "-k", chosen],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site.folder), "HASHZOO_ONLY": "target_to_nothing"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    start = "hashzoo conformance of target_to_nothing: "
    *few, summary = [line.removeprefix(start) for line in done.stdout.splitlines() if line.startswith(start)]
    assert few == ([nothing_applies()] if code else [])
    assert f", 0 failed, 1 expected to fail; {len(kit.checks('loss')) if code else 0} do not apply" in summary


def test_without_assertions_nothing_can_be_checked():
    code = "from hashzoo.testing import check_plugin; check_plugin('pairwise')"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "python -O takes the assertions out of the checks; run them without -O" in done.stderr
