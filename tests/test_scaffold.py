"""`hashzoo plugins new`: every kind gives a package that works at once; a refusal leaves nothing behind."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from helpers import SMALL

import hashzoo
from hashzoo import scaffold
from hashzoo.scaffold import KINDS, write_plugin
from hashzoo.testing import check_plugin

ROOT = Path(hashzoo.__file__).parents[1]
QUICK = ("text.size=64", "image_head.hidden=16", "text_head.hidden=16", "trainer.epochs=2")


@pytest.fixture
def written(tmp_path: Path, site, monkeypatch):
    """Write a plugin `mine` of a kind and install it, with few epochs, which its contracts do not depend on."""

    def write(kind: str) -> None:
        folder = write_plugin("mine", kind, tmp_path).folder
        for path in folder.rglob("*.py"):
            path.write_text(re.sub(r"(epochs\W+(?:int = )?)50", r"\g<1>2", path.read_text()))
        site.install(folder)

    monkeypatch.setenv("HASHZOO_ONLY", "mine,tiny")
    return write


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contracts(kind, written, command):
    written(kind)
    if kind == "dataset":
        assert command("datasets", "prepare", "mine").code == 0
    report = check_plugin("mine", tier="contract")
    assert not report.count("failed"), [finding for finding in report.findings if finding.outcome == "failed"]
    subject = "method" if kind == "trainer" else kind  # a trainer is checked as the method that uses it
    assert f"{subject}:mine" in {finding.subject for finding in report.findings}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("method", ("--method", "mine", "--dataset", "scenes", "--encoders", "tiny+bow")),
        ("loss", ("--method", "mine", "--dataset", "scenes", "--encoders", "tiny+bow")),
        ("trainer", ("--method", "mine", "--dataset", "scenes", "--encoders", "tiny+bow")),
        ("encoder", ("--method", "soda", "--dataset", "scenes", "--encoders", "mine+bow")),
        ("dataset", ("--method", "soda", "--dataset", "mine", "--encoders", "tiny+bow")),
    ],
)
def test_what_has_a_place_in_a_table_appears_in_a_bench(kind, options, tiny, written, monkeypatch, command):
    monkeypatch.setenv("HASHZOO_ONLY", "mine,tiny,soda")
    written(kind)
    settings = [*QUICK, *([] if kind == "dataset" else SMALL)]
    if "soda" in options:
        settings = [s for s in settings if s != "trainer.epochs=2"]
        settings += ["trainer.teacher_epochs=1", "trainer.student_epochs=1"]
    outcome = command("bench", "--bits", "16", *options, *(word for s in settings for word in ("--set", s)))
    assert outcome.code == 0, outcome.err
    assert re.search(r"^ *(mine|soda) .* \.\d{3} +\.\d{3}", outcome.out, flags=re.MULTILINE), outcome.out
    assert "mine" in outcome.out


@pytest.mark.parametrize("name", ["x", "a-name-as-long-as-can-be"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_keeps_its_own_style(kind, name, tmp_path):
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    folder = write_plugin(name, kind, tmp_path).folder
    for check in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *check, "."], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_complete(kind, tmp_path):
    made = write_plugin("my_own-loss", kind, tmp_path)
    assert made.folder == tmp_path / "hashzoo-my-own-loss"
    on_disk = [path for path in made.folder.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(made.folder).as_posix() for path in on_disk) == list(made.files)
    for path in on_disk:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\{\{\w", text), path
        assert text.endswith("\n"), path
    about = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]
    assert about["entry-points"] == {"hashzoo": {"my_own-loss": "hashzoo_my_own_loss"}}
    readme = (made.folder / "README.md").read_text()
    assert made.commands[-1] in readme
    for named in re.findall(r"^\| `([^`]+)` \|", readme, flags=re.MULTILINE):
        assert (made.folder / named).is_file(), named
    (code,) = [path for path in on_disk if path.stem == kind]
    assert "class MyOwn" in code.read_text()
    assert "MyOwnLossLoss" not in code.read_text()


def test_a_placeholder_without_a_value_is_an_error():
    with pytest.raises(KeyError, match="package"):
        list(scaffold.render("method", {"name": "toy"}))


def test_every_template_is_part_of_the_distribution():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["hashzoo"]
    # The function of this name, as setuptools, leaves out what begins with a dot.
    packed = {path for p in patterns for path in glob.glob(p, root_dir=ROOT / "hashzoo", recursive=True)}
    folder = ROOT / "hashzoo" / "scaffold" / "templates"
    templates = {path.relative_to(ROOT / "hashzoo").as_posix() for path in folder.rglob("*") if path.is_file()}
    assert templates
    assert templates <= packed


def test_the_command_says_what_to_type_next(tmp_path, command):
    outcome = command("plugins", "new", "toy", "--into", tmp_path)
    folder = tmp_path / "hashzoo-toy"
    assert outcome.code == 0
    assert [line.strip() for line in outcome.out.splitlines()[-3:]] == [
        f"python -m pip install -e {shlex.quote(str(folder))}",
        "hashzoo plugins check toy",
        "hashzoo bench --method toy,random --dataset scenes --bits 16",
    ]
    assert all(file in outcome.out for file in ("pyproject.toml", "src/hashzoo_toy/method.py", ".gitignore"))
    assert os.stat(folder).st_mode & 0o777 == 0o777 & ~_umask()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Toy Loss"], "a letter first; choose another, such as toy-loss"),
        (["toy--loss"], "choose another, such as toy-loss"),
        (["2fast"], "choose another, such as my-2fast"),
        (["é"], "choose another, such as my-method"),
        (["../toy"], "choose another, such as toy"),
        (["n" * 25], f"is longer than 24 characters; choose another, such as {'n' * 24}"),
        (["hashzoo-toy"], "the package will be called hashzoo-NAME anyway; type toy for 'hashzoo-toy'"),
        (["lite"], "'lite' means something else to hashzoo; choose another, such as my-lite"),
        (["soda"], "'soda' is a plugin that is installed already (hashzoo-soda 0.1.0)"),
        (["dcmh"], "'dcmh' is a trainer of hashzoo-cnnf 0.1.0 already"),
        (["emoji", "--kind", "loss"], "'emoji' is a dataset of hashzoo 0.1.0 already"),
        (["class"], "'class' is a word of Python's own; choose another, such as my-class"),
        (["json"], "'json' is the name of a Python module that is installed"),
        (["torch"], "'torch' is the name of a Python module that is installed"),
        (["toy", "--kind", "methods"], "there is no kind of plugin called 'methods'; did you mean method?"),
        (["toy", "--into", "nowhere"], "nowhere is no folder; make it first: mkdir -p nowhere"),
    ],
)
def test_what_cannot_be_written_is_refused(arguments, said, tmp_path, sentence):
    assert said in sentence("plugins", "new", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_package_or_module_of_that_name_is_not_hidden(site, sentence):
    (site.folder / "hashzoo_toy.py").write_text("")
    assert "a module hashzoo_toy is installed already" in sentence("plugins", "new", "toy")
    site._register("hashzoo-toy", "1.0", {})
    assert "a package hashzoo-toy is installed already" in sentence("plugins", "new", "toy")


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_nothing_is_overwritten(there, tmp_path, sentence):
    place = tmp_path / "hashzoo-toy"
    if there == "folder":
        place.mkdir()
    elif there == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    assert f"{place} exists already" in sentence("plugins", "new", "toy", "--into", tmp_path)
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("fails", ["mkdtemp", "write_text", "rename"])
def test_a_folder_that_cannot_be_written_to_is_left_as_it_was(fails, tmp_path, monkeypatch, sentence):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(scaffold.tempfile if fails == "mkdtemp" else Path, fails, refuse)
    assert f"{tmp_path} cannot be written to; choose another folder" in sentence(
        "plugins", "new", "toy", "--into", tmp_path
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_pip_installs_a_method_whose_own_tests_pass_and_whose_row_appears(tmp_path):
    if tuple(map(int, metadata.version("setuptools").split(".")[:2])) < (77, 0):
        pytest.skip("the package is built with setuptools>=77")
    made = write_plugin("toy", "method", tmp_path)
    installed = tmp_path / "installed"
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}
    hashzoo_command = [sys.executable, "-c", "from hashzoo.cli import main; main()"]

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "install", *offline, "--target", str(installed), str(made.folder))
    assert re.search(r"^\d+ passed", run(sys.executable, "-m", "pytest", "-q", str(made.folder)), flags=re.MULTILINE)
    options = ("--method", "toy,random", "--dataset", "scenes", "--bits", "16", "--encoders", "lite0+bow")
    settings = ("image.weights=random", "image.pixels=32", "dataset.pairs=300", "dataset.pixels=32")
    table = run(*hashzoo_command, "bench", *options, *(word for s in settings for word in ("--set", s)))
    (scores,) = re.findall(r"^ *toy\S* .* \.(\d{3}) +\.(\d{3})", table, flags=re.MULTILINE)
    (chance,) = re.findall(r"^ *chance, exact +\.(\d{3})", table, flags=re.MULTILINE)
    assert min(map(int, scores)) > int(chance) + 50


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
