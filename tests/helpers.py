"""Installing plugins into a folder of a test, and what the test modules share."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashzoo import zoo
from hashzoo.benches import plan

HERE = Path(__file__).parent
BROKEN = HERE / "plugins_broken"
# Real files, where there are any.
SHARED = Path(os.environ.get("HASHZOO_TEST_DATA", HERE.parent.parent / "shared" / "data"))
# A data set that needs no network and next to no time.
SMALL = ("dataset.pairs=100", "dataset.pixels=16", "dataset.difficulty=0")


@dataclass(frozen=True)
class Site:
    """A folder on sys.path into which packages are installed as pip would leave them."""

    folder: Path

    def install(self, project: Path) -> None:
        """Install a project that consists of a pyproject.toml and one package or module beside it."""
        self._place(contents(project))

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
        self._place(about({"name": name, "version": version, "entry-points": {"hashzoo": entry_points}}))

    def _place(self, files: dict[str, bytes]) -> None:
        (record,) = (path for path in files if path.endswith("RECORD"))
        files[record] = "".join(f"{path},,\n" for path in files).encode()
        for path, content in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        forget(self.folder)


def contents(project: Path) -> dict[str, bytes]:
    """What an installer puts into site-packages, by path: the sources of a project and its metadata."""
    root = project / "src" if (project / "src").is_dir() else project
    sources = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "pyproject.toml" and "__pycache__" not in path.parts
    }
    return sources | about(tomllib.loads((project / "pyproject.toml").read_text())["project"])


def about(project: dict) -> dict[str, bytes]:
    """The .dist-info folder of the table [project] of a pyproject.toml."""
    info = f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata = f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in project.get("dependencies", ()))
    entries = "".join(f"{k} = {v}\n" for k, v in project.get("entry-points", {}).get("hashzoo", {}).items())
    files = {f"{info}/METADATA": metadata.encode(), f"{info}/RECORD": b""}
    return files | ({f"{info}/entry_points.txt": f"[hashzoo]\n{entries}".encode()} if entries else {})


def wheel(project: Path, folder: Path) -> Path:
    """Pack a project as a wheel, which a real installer takes; any build tool would need a second for each."""
    files = contents(project)
    (record,) = (path for path in files if path.endswith("RECORD"))
    info = record.rpartition("/")[0]
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[record] = "".join(f"{path},,\n" for path in files).encode()
    path = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def check_golden(name: str, section: str, text: str) -> None:
    """Compare `text` with a section of a file of tests/golden, or the whole file where `section` is "".

    Renew all of them: RENEW_GOLDEN=1 python -m pytest tests/test_report.py tests/test_plugins_installed.py
    """
    path = HERE / "golden" / name
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = {"": stored}
    if section:
        sections = dict(part.split("\n", 1) for part in stored.split("=== ") if part)
    if os.environ.get("RENEW_GOLDEN") == "1":
        sections[section] = text
        path.write_text("".join(f"=== {k}\n{v}" if k else v for k, v in sorted(sections.items())), encoding="utf-8")
    assert sections.get(section) == text, f"{path.name} differs; to renew it see check_golden in tests/helpers.py"


def inside(drawing: Any) -> bool:
    """Whether all parts of a figure, its words above all, lie on its paper."""
    drawing.figure.draw_without_rendering()
    drawn, (width, height) = drawing.figure.get_tightbbox(), drawing.figure.get_size_inches()
    return min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.02


def forget(folder: Path) -> None:
    """Make this process look at the packages of a folder anew, as a new process would."""
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if str(vars(module).get("__file__") or "").startswith(f"{folder}/"):
            del sys.modules[name]
    for cached in (zoo.load, zoo.source_digest, plan.sources, plan.environment):
        cached.cache_clear()


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str
