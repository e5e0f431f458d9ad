"""Digests of source code: what is edited is another plugin, what is only touched is not."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest, file_digest

FIELDS = re.compile(r"^(Name|Version):[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


@functools.cache
def source_digest(module_name: str, *only: str) -> str:
    """SHA-256 over the files of a package (or of `only` these, relative patterns), or of a single module.

    Data files count as code does: constants may lie in a JSON file. Caches, hidden files and the copies
    that editors make do not.
    """
    spec = _spec(module_name)
    if spec is None or spec.origin is None:
        raise HashzooError(f"the source of '{module_name}' cannot be found", exit_code=1)
    root = Path(spec.origin).parent
    if not spec.submodule_search_locations:
        files = [Path(spec.origin)]
    else:
        found = {file for pattern in only or ("**/*",) for file in root.glob(pattern)}
        files = sorted(file for file in found if file.is_file() and _counts(file.relative_to(root)))
    return digest({file.relative_to(root).as_posix(): _file_digest(file) for file in files})


def plugin_digest(distribution: str, modules: Iterable[str]) -> str:
    """SHA-256 over the source of a distribution and of all packages in which `modules` lie, hashzoo's own left out."""
    names = {package for module in {*modules, *_top_level(distribution)} if (package := _package_of(module))}
    return digest({name: source_digest(name) for name in sorted(names - {"hashzoo"})})


@functools.cache
def environment() -> str:
    """Digest of every installed distribution with its version.

    What a package brings along in a folder of its own, and puts on sys.path when it is imported, is part of it: a
    process that has imported Ray, as its workers have, is in the same environment as one that has not.
    """
    path = [folder for folder in sys.path if not Path(folder, "..", "__init__.py").exists()]
    return digest(sorted({_name_and_version(distribution) for distribution in metadata.distributions(path=path)}))


def _name_and_version(distribution: metadata.Distribution) -> str:
    """NAME==VERSION; to parse all fields of some hundred packages would take a quarter of a second."""
    text = next(filter(None, map(distribution.read_text, ("METADATA", "PKG-INFO", ""))), "")
    head = re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]
    first = {name.title(): value for name, value in reversed(FIELDS.findall(head))}
    return f"{first.get('Name')}=={first.get('Version')}"


def _top_level(distribution: str) -> set[str]:
    """The top-level modules of an installed distribution; of an editable one, what its builder noted down."""
    try:
        about = metadata.distribution(distribution)
        files, noted = about.files or [], about.read_text("top_level.txt") or ""
    except metadata.PackageNotFoundError:
        return set()
    code = [file.parts[0] for file in files if file.suffix in (".py", ".so", ".pyd")]
    names = {name.partition(".")[0] for name in code} | set(noted.split())
    # The finder of an editable installation holds nothing but the path of this machine.
    return {name for name in names if name.isidentifier() and not name.startswith("__editable__")}


def _package_of(module: str) -> str | None:
    """The topmost package of a module that has a file; a namespace package may hold several distributions.

    Nothing is imported but namespace packages, which hold no code.
    """
    parts = module.split(".")
    for name in (".".join(parts[: count + 1]) for count in range(len(parts))):
        spec = _spec(name)
        if spec is None or spec.origin is not None:
            return name if spec is not None else None
    return None


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # an absent parent, or a module that was made by hand
        return None


def _counts(path: Path) -> bool:
    if any(part.startswith(".") or part == "__pycache__" for part in path.parts):
        return False
    return path.suffix != ".pyc" and not path.name.endswith("~")


def _file_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return "unreadable"  # one plugin's file permissions must not keep the others from running
