"""Installing plugins into a folder of a test, and what the test modules share."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hashzoo import benchmark, zoo

HERE = Path(__file__).parent
SHARED = Path(
    os.environ.get("HASHZOO_TEST_DATA", HERE.parent.parent / "shared" / "data")
)  # real files, where there are any
# A data set that needs no network and next to no time.
SMALL = ("dataset.pairs=100", "dataset.pixels=16", "dataset.difficulty=0")


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

    def package(self, source: Path) -> None:
        """Install a package without a project around it; its plugin, its module and its folder have one name."""
        shutil.copytree(source, self.folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        self._register(f"hashzoo-{source.name}", "1.0", {source.name: source.name})

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
        if str(vars(module).get("__file__") or "").startswith(f"{folder}/"):
            del sys.modules[name]
    for cached in (zoo.load, zoo.source_digest, benchmark._sources, benchmark._environment):
        cached.cache_clear()


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str
