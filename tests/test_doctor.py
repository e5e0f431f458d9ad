"""What keeps hashzoo from working is found, with the command that mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    """The probes of torch and of plugins take seconds; they have tests of their own."""
    outcome = SimpleNamespace(returncode=0, stdout="came to its end\n", stderr="")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *arguments, **options: outcome)
    return outcome


def test_torch_is_probed_in_a_process():
    found = doctor._torch()
    assert found.level == "ok"
    assert found.message.startswith(f"torch {metadata.version('torch')}")


def test_a_torch_that_cannot_be_imported(quick):
    quick.returncode, quick.stdout = 1, ""
    quick.stderr = "Traceback\nRuntimeError: operator torchvision::nms does not exist\n"
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


@pytest.fixture
def installed(site):
    """A distribution and what it requires: installs it, and gives all findings about it."""

    def examine(*requirements, extras=(), name="hashzoo-some"):
        fields = [f"Requires-Dist: {requirement}" for requirement in requirements]
        fields += [f"Provides-Extra: {extra}" for extra in extras]
        site._register(name, "1.0", {})
        about = site.folder / f"{name.replace('-', '_')}-1.0.dist-info" / "METADATA"
        about.write_text(about.read_text() + "\n".join(fields) + "\n")
        return [(f.level, f.subject, f.message) for f in doctor._requirements(name)]

    return examine


@pytest.mark.parametrize(
    ("requirement", "asked", "found"),
    [
        ("absent-package>=3; python_version>'3'", "absent-package>=3", "it is not installed"),
        ("absent-package @ file:///some.whl", "absent-package@ file:///some.whl", "it is not installed"),
        ("pluggy>=999", "pluggy>=999", f"{metadata.version('pluggy')} is installed"),
        ("Pluggy[some]<1", "Pluggy[some]<1", f"{metadata.version('pluggy')} is installed"),
    ],
)
def test_a_requirement_that_is_not_met(requirement, asked, found, installed):
    ((level, subject, message),) = installed(requirement)
    assert (level, subject) == ("problem", asked.split("[")[0].split(">")[0].split("@")[0].split("<")[0])
    assert message.replace(" @", "@") == (f"hashzoo-some 1.0 requires {asked}, and {found}; run: pip install '{asked}'")


@pytest.mark.parametrize(
    "requirement",
    ["pluggy", "pluggy>=1.0", "PLUGGY[some]>=1", "absent>=1; python_version<'3'", "absent; sys_platform=='none'"],
)
def test_a_requirement_that_is_met_or_for_another_system(requirement, installed):
    assert installed(requirement) == []


def test_a_prerelease_or_local_build_meets_a_requirement(installed, site):
    site._register("some-build", "2.5.0rc1+cpu", {})
    assert installed("some-build>=2.4", "some_build==2.5.0rc1") == []


def test_of_extras_only_versions_are_checked(installed):
    findings = installed("absent; extra == 'more'", "pluggy>=999; extra == 'more'", extras=["more"])
    said = f"hashzoo-some[more] requires pluggy>=999, and {metadata.version('pluggy')} is installed"
    assert findings == [("note", "pluggy", f"{said}; run: pip install 'pluggy>=999'")]


def test_a_requirement_that_cannot_be_read_is_told(installed, site):
    ((level, subject, message),) = installed("some package >= ???")
    assert (level, subject) == ("note", "hashzoo-some")
    assert message.startswith("its requirement 'some package >= ???' could not be checked (")


def test_requirements_of_plugins_in_use_are_checked(tiny, quick, monkeypatch):
    tiny.install(HERE / "plugins_broken" / "unmet_requirements")
    for only_, expected in (("tiny", 0), ("unmet_requirements", 2)):
        monkeypatch.setenv("HASHZOO_ONLY", only_)
        assert len([f for f in doctor.examine() if "hashzoo-unmet-requirements 1.0 requires" in f.message]) == expected
    assert list(doctor._requirements("surely-absent-package")) == []
    assert list(doctor._requirements("hashzoo")) == []


@pytest.mark.parametrize(
    ("torch", "vision", "wanted", "said"),
    [
        ("2.4.0", "0.29.2", "torch==2.15.0", "torchvision 0.29.2 was made for torch==2.15.0, and torch 2.4.0 is"),
        ("2.15.0+cpu", "0.29.2+cu130", "torch==2.15.0", "were built for different devices"),
        ("2.15.0+cpu", "0.29.2+cpu", "torch==2.15.0", None),
        ("2.15.0+cpu", "0.29.2", "torch==2.15.0", None),
        ("2.15.0", None, "torch==2.15.0", None),
        ("built by hand", "0.29.2", "torch==2.15.0", None),
    ],
)
def test_torch_and_torchvision_that_do_not_match(torch, vision, wanted, said, monkeypatch, quick):
    monkeypatch.setattr(doctor, "_version", {"torch": torch, "torchvision": vision}.get)
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["numpy", wanted])
    found = doctor._torch()
    if said is None:
        assert found.level == "ok"
    else:
        assert (found.level, said in found.message) == ("problem", True)
        public = torch.partition("+")[0]
        assert f"run: pip install --force-reinstall 'torch=={public}' torchvision" in found.message


def test_variables_that_name_no_plugin(tiny, quick, monkeypatch):
    monkeypatch.setenv("HASHZOO_BLOCK", "tinny")
    found = only(doctor.examine(), "plugins")
    assert found.level == "problem"
    assert found.message == "HASHZOO_BLOCK names 'tinny', which is no installed plugin; did you mean tiny?"


def test_doctor_works_where_anything_wrong_is_fatal(tiny, quick, command, monkeypatch):
    tiny.install(HERE / "plugins_broken" / "exits")
    monkeypatch.setenv("HASHZOO_STRICT", "1")
    outcome = command("doctor")
    assert (outcome.code, outcome.err) == (1, "")
    assert "PROBLEM plugin exits: broken: SystemExit: 3" in outcome.out


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('done')", ""),
        ("import os; os._exit(0)", "exit code 0"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"),
        ("raise ValueError('no')", "ValueError: no"),
        ("import time; time.sleep(3600)", "no end after 1 s"),
    ],
)
def test_a_probe_says_how_a_process_ended(code, said):
    assert doctor._probe(code, 1 if "sleep" in code else 60) == said


def test_a_plugin_that_ends_the_process_is_found_and_not_loaded(tiny, monkeypatch):
    tiny.install(HERE / "plugins_broken" / "ends_process")
    monkeypatch.setenv("HASHZOO_ONLY", "tiny,ends_process")
    monkeypatch.setenv("PYTHONPATH", str(tiny.folder))
    assert doctor._deadly() == {"ends_process": "exit code 3"}
    monkeypatch.setattr(doctor, "_deadly", lambda: {"ends_process": "exit code 3"})
    monkeypatch.setattr(doctor, "_torch", lambda: doctor.Finding("ok", "torch", ""))
    findings = doctor.examine()
    assert only(findings, "plugin ends_process") == doctor.Finding(
        "problem",
        "plugin ends_process",
        "loading it stops the whole program (exit code 3); "
        "run: pip install --upgrade hashzoo-ends-process, or: pip uninstall hashzoo-ends-process, "
        "or set HASHZOO_BLOCK=ends_process",
    )
    assert only(findings, "plugin tiny").level == "ok"
    monkeypatch.setenv("HASHZOO_BLOCK", "ends_process")
    assert doctor._probe("from hashzoo import zoo; zoo.assemble()", 60) == ""


def test_weights_that_are_absent_are_a_note(monkeypatch):
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    (found,) = doctor._weights()
    assert (found.level, "hashzoo[lite]" in found.message) == ("note", True)
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: util.spec_from_loader(name, None))
    assert doctor._weights()[0].level == "ok"


@pytest.mark.parametrize(
    ("npm", "level", "said"),
    [
        ([sys.executable, "-c", "print(11)"], "ok", "-c print(11)"),
        (None, "note", "not found, so emoji cannot be fetched; run: pip install 'hashzoo[emoji]'"),
        ([sys.executable, "-c", "raise SystemExit('env: node: No such file')"], "problem", "(env: node: No such file)"),
        (
            ["/nowhere/npm"],
            "problem",
            "(No such file or directory), so emoji cannot be fetched; run: pip ",
        ),
        ([sys.executable, "-c", "import time; time.sleep(9)"], "problem", "no end after 0.2 s"),
    ],
)
def test_npm(npm, level, said, monkeypatch):
    monkeypatch.setattr("hashzoo.data.npm.find_npm", lambda: npm)
    if "no end" in said:
        monkeypatch.setattr(doctor, "NPM_LIMIT", 0.2)
    found = doctor._npm()
    assert (found.level, said in found.message) == (level, True), found


@pytest.mark.parametrize(
    ("look", "name", "elsewhere"),
    [
        (doctor._cache, "cache", "run: export HASHZOO_CACHE=FOLDER, with another folder"),
        (doctor._runs, "runs", "run: hashzoo bench --runs FOLDER, with another folder"),
    ],
)
def test_folders_that_are_written_to(look, name, elsewhere, monkeypatch, tmp_path):
    assert look() == doctor.Finding("ok", name, str(tmp_path / name))
    (tmp_path / name / "inside it").mkdir(parents=True)
    assert look().level == "ok"
    assert [path.name for path in (tmp_path / name).rglob("*")] == ["inside it"]
    with monkeypatch.context() as patch:
        patch.setattr(doctor.os, "statvfs", lambda path: SimpleNamespace(f_bavail=10, f_frsize=4096), raising=False)
        said = f"less than 1 GB is free at {tmp_path / name}; {elsewhere} on another disk"
        assert look() == doctor.Finding("problem", name, said)

    def refuse(*, dir, plain=doctor.tempfile.TemporaryFile):
        if dir.name == "inside it":  # as if another user had made it
            raise OSError(13, os.strerror(13))
        return plain(dir=dir)

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = look()
    place = tmp_path / name / "inside it"
    assert found.level == "problem"
    assert found.message == (
        f"{place} cannot be written to (Permission denied); {elsewhere}, or: "
        f"sudo chown -R \"$USER\" '{place}' && chmod -R u+rwX '{place}'"
    )


def test_a_file_in_the_place_of_runs(tmp_path):
    (tmp_path / "runs").write_text("")
    assert "is a file, where runs would be kept; run: hashzoo bench --runs FOLDER" in doctor._runs().message


def test_an_old_plugin_is_updated_by_a_command(tiny, quick, monkeypatch):
    tiny.write("hashzoo-old", "old", "HASHZOO_API = 0\n")
    found = only(doctor.examine(), "plugin old")
    assert found.level == "problem"
    assert found.message.startswith("incompatible: ")
    assert found.message.endswith("run: pip install --upgrade hashzoo hashzoo-old, or: pip uninstall hashzoo-old")


def test_versions():
    assert doctor._version("pluggy") == metadata.version("pluggy")
    assert doctor._version("surely-absent-package") is None
    assert doctor._python().level == "ok"
    assert subprocess is doctor.subprocess
