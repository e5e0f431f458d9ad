"""Writes a new plugin: a package that installs, passes the conformance kit, and appears in a bench at once.

The templates are files that lie as they will lie in the package, with `.in` after their names; `{{name}}` and
its like are replaced in texts and in paths. `templates/shared` is part of every plugin.
"""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from hashzoo import zoo
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.plugin import GROUP
from hashzoo.storage.files import write_error

# What a user can ask for, and what the description of the example says that it does.
SUMMARIES = {
    "method": "A method whose codes fit the similarities of pairs",
    "loss": "Supervised contrast between images and texts",
    "trainer": "Codes that are drawn for the labels",
    "encoder": "The colours of a picture in a grid",
    "dataset": "Coloured shapes and what they are called",
    "index": "Exhaustive search in packed codes",
}
KINDS = tuple(SUMMARIES)
LONGEST = 24  # characters of a name: lines of code hold it
_PLAIN = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
# Words that stand for something else where a name is typed (`--encoders lite`).
_WORDS = ("lite", "paper", GROUP)


@dataclass(frozen=True)
class Written:
    """A plugin that was written: its folder, its files relative to it, and the commands to type next."""

    folder: Path
    files: tuple[str, ...]
    commands: tuple[str, ...]


def write_plugin(name: str, kind: str = "method", into: Path = Path()) -> Written:
    """Write the package hashzoo-NAME into a folder, whole or not at all.

    Args:
        name: of the plugin, and of what it offers.
        kind: one of KINDS; a loss and a trainer come with a method that uses them.
        into: an existing folder; what is in it stays as it is.

    Raises:
        HashzooError: the name cannot be used, or the folder cannot be written to.
    """
    if kind not in KINDS:
        raise HashzooError(f"there is no kind of plugin called '{kind}'{did_you_mean(kind, KINDS)}")
    check_name(name)
    values = placeholders(name, kind)
    folder = into / values["package"]
    if not into.is_dir():
        raise HashzooError(f"{into} is no folder; make it first: mkdir -p {shlex.quote(str(into))}")
    if os.path.lexists(folder):
        raise HashzooError(f"{folder} exists already; choose another name, or another folder with --into")
    texts = dict(render(kind, values))
    try:
        beside = Path(tempfile.mkdtemp(dir=into, prefix=f".{folder.name}.", suffix=".part"))
        try:
            made = beside / folder.name  # a folder inside, whose permissions are the usual ones
            for path, text in texts.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_text(text, encoding="utf-8")
            made.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise write_error(folder, error) from error
    # The checks of a data set make nothing; what it reads has to be there.
    first = [f"hashzoo datasets prepare {name}"] if kind == "dataset" else []
    install = f"python -m pip install -e {shlex.quote(str(folder))}"
    commands = (install, *first, f"hashzoo plugins check {name}", values["see"])
    return Written(folder, tuple(sorted(texts)), commands)


def placeholders(name: str, kind: str) -> dict[str, str]:
    """What the placeholders of the templates stand for."""
    words = re.split("[-_]", name)
    if len(words) > 1 and words[-1] in KINDS:  # margin-loss gives MarginLoss, not MarginLossLoss
        words.pop()
    return {
        "name": name,
        "kind": kind,
        "a_kind": with_article(kind),
        "package": f"hashzoo-{name.replace('_', '-')}",
        "module": _module(name),
        "Class": "".join(word.capitalize() for word in words),
        "summary": SUMMARIES[kind],
        "see": _see(name, kind),
        "dot": ".",  # files whose names begin with one are easily left out of a distribution
    }


def render(kind: str, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Path and text of every file of a plugin; a placeholder without a value is an error."""
    for part in ("shared", kind):
        for path, template in _walk(files(__name__) / "templates" / part):
            yield _fill(path.removesuffix(".in"), values), _fill(template.read_text(encoding="utf-8"), values)


def check_name(name: str) -> None:
    """Raise one sentence, with another name, where a plugin cannot have this one."""
    if not _PLAIN.fullmatch(name):
        raise HashzooError(
            f"'{name}' cannot be the name of a plugin: lower-case letters, digits and single '-' or '_' between them, "
            f"a letter first{_such_as(_plain(name))}"
        )
    if len(name) > LONGEST:
        raise HashzooError(f"'{name}' is longer than {LONGEST} characters{_such_as(_plain(name))}")
    if name.startswith(f"{GROUP}-"):
        raise HashzooError(f"the package will be called {GROUP}-NAME anyway; type {_plain(name)} for '{name}'")
    if name in _WORDS:
        raise HashzooError(f"'{name}' means something else to hashzoo{_such_as(_plain(name))}")
    for plugin in zoo.load().plugins:
        if plugin.name == name:
            raise HashzooError(f"'{name}' is a plugin that is installed already ({plugin.origin}); choose another name")
        for kind in zoo.KINDS:
            if name in plugin.names(kind):
                raise HashzooError(f"'{name}' is {with_article(kind)} of {plugin.origin} already; choose another name")
    taken = _installed(name)
    if taken:
        raise HashzooError(f"{taken} is installed already; choose another name, or uninstall it first")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise HashzooError(f"'{name}' is a word of Python's own{_such_as(_plain(name))}")
    if name in sys.stdlib_module_names or _is_module(name):
        raise HashzooError(f"'{name}' is the name of a Python module that is installed{_such_as(_plain(name))}")


def _installed(name: str) -> str:
    """A package or module that the new one would hide, or be hidden by."""
    package = placeholders(name, KINDS[0])["package"]
    for distribution in metadata.distributions():
        if re.sub(r"[-_.]+", "-", distribution.name or "").lower() == package:
            return f"a package {package}"
    return f"a module {_module(name)}" if _is_module(_module(name)) else ""


def _is_module(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # a folder without code is a module too, with no origin


def _module(name: str) -> str:
    return f"hashzoo_{name.replace('-', '_')}"


def _plain(name: str) -> str:
    """The nearest name that could be used, "" where there is none."""
    words = re.findall("[a-z0-9]+", name.lower().removeprefix(GROUP))
    plain = "-".join(words)[:LONGEST].rstrip("-")
    if plain == name or not plain[:1].isalpha():
        plain = f"my-{plain}"[:LONGEST].rstrip("-")
    return plain if words else ""


def _such_as(suggestion: str) -> str:
    return f"; choose another, such as {suggestion or 'my-method'}"


def _see(name: str, kind: str) -> str:
    """The command that shows what the plugin offers: in a table, where it can stand in one."""
    if kind == "index":
        return f"hashzoo plugins show {name}"
    if kind == "encoder":
        return f"hashzoo bench --method {_learner()} --dataset scenes --bits 16 --encoders {name}+bow"
    if kind == "dataset":
        return f"hashzoo bench --method {_learner()} --dataset {name} --bits 16"
    return f"hashzoo bench --method {name},random --dataset scenes --bits 16"


def _learner() -> str:
    """Some method that is installed and learns; random codes where there is none."""
    known = zoo.load()
    learners = [name for plugin in known.plugins if plugin.name != GROUP for name in plugin.names("method")]
    return min((name for name in learners if learners.count(name) == 1), default="random")


def with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _walk(folder: Traversable, below: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{below}{entry.name}/")
        else:
            yield f"{below}{entry.name}", entry


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)
