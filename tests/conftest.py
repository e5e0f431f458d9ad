"""Every test has a cache and a working folder of its own; plugins are installed for one test at a time."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hashzoo import benchmark, zoo

HERE = Path(__file__).parent
PLUGIN_LINE = r"hashzoo: plugin '\w+' \([\w. -]+\) is (broken|incompatible): "
VARIABLES = ("HASHZOO_ONLY", "HASHZOO_BLOCK", "HASHZOO_STRICT", "HASHZOO_DEBUG", "COLUMNS")
# A data set and encoders that need no network and next to no time.
SMALL = ("dataset.pairs=120", "dataset.pixels=16", "dataset.difficulty=0")


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache, and the runs folder of a command that names none, lie in the test's own folder."""
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Site:
    """A folder on sys.path into which packages are installed as pip would leave them."""

    folder: Path

    def install(self, project: Path) -> None:
        """Install a project that consists of a pyproject.toml and one package or module beside it."""
        about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        for source in project.iterdir():
            if source.is_dir():
                shutil.copytree(source, self.folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.suffix == ".py":
                shutil.copy(source, self.folder)
        self._register(about["name"], about["version"], about.get("entry-points", {}).get("hashzoo", {}))

    def write(self, name: str, plugin: str, code: str, parts: str = "") -> None:
        """Install a plugin whose package is `plugin` from its code; `parts` becomes its module `parts`."""
        package = self.folder / plugin
        package.mkdir()
        (package / "__init__.py").write_text(code)
        (package / "parts.py").write_text(parts)
        self._register(name, "1.0", {plugin: plugin})

    def _register(self, name: str, version: str, entry_points: dict[str, str]) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
        if entry_points:
            lines = [f"{key} = {value}" for key, value in entry_points.items()]
            (info / "entry_points.txt").write_text("\n".join(["[hashzoo]", *lines]) + "\n")
        forget(self.folder)


def forget(folder: Path) -> None:
    """Make this process look at the packages of a folder anew, as a new process would."""
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{folder}/"):
            del sys.modules[name]
    for cached in (zoo.load, zoo.source_digest, benchmark._sources, benchmark._environment):
        cached.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    forget(folder)
    yield Site(folder)
    forget(folder)


@pytest.fixture
def tiny(site: Site) -> Site:
    """The plugin `tiny`: an image encoder that takes no time, and methods that use it."""
    site.install(HERE / "plugins_working" / "tiny")
    return site


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line as the installed script does, in this process."""
    from hashzoo.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["hashzoo", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def sentence(command: Callable[..., Outcome]) -> Callable[..., str]:
    """Run a command that must be refused: one line on stderr, the exit code asked for, nothing on stdout."""

    def refused(*arguments: object, code: int = 2) -> str:
        outcome = command(*arguments)
        said = [line for line in outcome.err.splitlines() if not re.match(PLUGIN_LINE, line)]
        assert (outcome.code, len(said), outcome.out) == (code, 1, ""), outcome
        return said[0]

    return refused
