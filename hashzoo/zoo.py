"""All installed plugins together: loading them, look-up by kind and name, and what is wrong with whom.

A plugin that cannot be used is kept with the reason (see admission.py); the rest of the tool works on.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from hashzoo.admission import KINDS, Plugin, admit_entry, admit_module, origin_of
from hashzoo.errors import HashzooError, did_you_mean, one_line
from hashzoo.plugin import GROUP
from hashzoo.source import source_digest

__all__ = ["KINDS", "Plugin", "Zoo", "assemble", "blocked", "entries", "load", "resolve_target", "source_digest"]
_thread = threading.local()


@dataclass(frozen=True, eq=False)
class Zoo:
    """All plugins that are installed, and look-up by kind and name.

    `remarks` are sentences on what is wrong beside plugins: variables that name none, damaged entry points.
    """

    plugins: tuple[Plugin, ...]
    remarks: tuple[str, ...] = ()

    def find(self, kind: str, name: str) -> tuple[Plugin, Any]:
        """The one plugin that offers `name`, with its Part or Method; otherwise what to type instead."""
        found = [
            (plugin, offer) for plugin in self.plugins for offer in plugin.offers.get(kind, ()) if offer.name == name
        ]
        if len(found) == 1:
            return found[0]
        if found:
            both = " and ".join(plugin.origin for plugin, _ in found)
            apart = found[0][0].name != found[1][0].name  # blocking one of two plugins of one name blocks both
            block = f", or type HASHZOO_BLOCK={found[0][0].name} before the command" if apart else ""
            raise HashzooError(f"{kind} '{name}' is offered by {both}: uninstall one{block}")
        raise HashzooError(f"no {kind} is called '{name}'{self._hint(kind, name)}")

    def names(self, kind: str) -> list[str]:
        """All names of a kind, sorted; a name that two packages offer appears once."""
        return sorted({name for plugin in self.plugins for name in plugin.names(kind)})

    def clashes(self) -> list[str]:
        """One sentence for every name that more than one plugin offers."""
        sentences = []
        for kind in KINDS:
            for name in self.names(kind):
                owners = [plugin.origin for plugin in self.plugins if name in plugin.names(kind)]
                if len(owners) > 1:
                    sentences.append(f"{kind} '{name}' is offered by {' and '.join(owners)}: neither can be used")
        return sentences

    def unusable(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.state in ("broken", "incompatible")]

    def _hint(self, kind: str, name: str) -> str:
        plugin = next((plugin for plugin in self.plugins if plugin.name == name), None)
        if plugin is not None and plugin.state == "ok":
            offered = plugin.names(kind)
            if offered:
                return f"; '{name}' is a plugin, its {kind}s are: {', '.join(offered)}"
        if plugin is not None and plugin.state != "ok":
            return f"; the plugin '{name}' is {plugin.state}: {plugin.reason}"
        hint = did_you_mean(name, self.names(kind))
        bad = self.unusable()
        return hint + (f" (not usable: {', '.join(p.name for p in bad)}; see `hashzoo plugins`)" if bad else "")


@functools.cache
def load() -> Zoo:
    """Admit the built-in parts and every installed plugin. Said on stderr once: what cannot be used, and remarks.

    Raises:
        HashzooError: something is wrong, and HASHZOO_STRICT=1.
    """
    zoo = assemble()
    for remark in zoo.remarks:
        print(f"hashzoo: {remark}", file=sys.stderr)
    for plugin in zoo.unusable():
        print(f"hashzoo: plugin '{plugin.name}' ({plugin.origin}) is {plugin.state}: {plugin.reason}", file=sys.stderr)
    for plugin in zoo.plugins:
        for note in plugin.notes:
            print(f"hashzoo: plugin '{plugin.name}' ({plugin.origin}): {note}", file=sys.stderr)
    if os.environ.get("HASHZOO_STRICT") == "1":
        unusable = [f"plugin '{plugin.name}' cannot be used" for plugin in zoo.unusable()]
        for problem in (*zoo.clashes(), *unusable, *zoo.remarks):
            raise HashzooError(f"{problem} (HASHZOO_STRICT=1 makes this fatal)", exit_code=1)
    return zoo


def assemble(without: frozenset[str] = frozenset()) -> Zoo:
    """What `load` gives, without a word and never fatal; plugins named in `without` are not touched.

    Raises:
        HashzooError: a plugin asks for plugins while it is being loaded.
    """
    if getattr(_thread, "loading", False):
        raise HashzooError("plugins are looked up while they are being loaded; do that inside a function", exit_code=1)
    _thread.loading = True
    try:
        return _assemble(without)
    finally:
        _thread.loading = False


def _assemble(without: frozenset[str]) -> Zoo:
    from hashzoo import builtin

    own = admit_module("hashzoo", "hashzoo", _version("hashzoo"), builtin, reserved=set())
    reserved = {(kind, name) for kind in KINDS for name in own.names(kind)}
    plugins = [own]
    found, remarks = entries()
    for entry in found:
        reason = blocked(entry.name) or ("by the caller" if entry.name in without else "")
        if reason:
            plugins.append(Plugin(entry.name, *origin_of(entry), "blocked", reason))
        else:
            plugins.append(admit_entry(entry, reserved))
    return Zoo(tuple(plugins), (*remarks, *_mistyped({entry.name for entry in found})))


def blocked(name: str) -> str:
    """Whether the user has left a plugin out, and how: "by HASHZOO_BLOCK", "by HASHZOO_ONLY" or ""."""
    only = _listed("HASHZOO_ONLY")
    if name in _listed("HASHZOO_BLOCK"):
        return "by HASHZOO_BLOCK"
    return "by HASHZOO_ONLY" if only and name not in only else ""


def entries() -> tuple[list[metadata.EntryPoint], list[str]]:
    """The entry points of all plugins in order of name, and a remark for each distribution whose own are damaged."""
    remarks: list[str] = []
    try:
        found = list(metadata.entry_points(group=GROUP))
    except Exception:  # one damaged file on this machine, maybe of a stranger: then one distribution after the other
        found = []
        for distribution in metadata.distributions():
            try:
                found += distribution.entry_points.select(group=GROUP)
            except Exception as error:
                name = distribution.metadata["Name"]
                remarks.append(
                    f"the entry points of {name} cannot be read ({one_line(error)}); "
                    f"run: pip install --force-reinstall {name}"
                )
    # An interrupted update may leave the same distribution twice: it is one plugin.
    distinct = {(entry.name, entry.value, origin_of(entry)): entry for entry in reversed(found)}
    return [distinct[key] for key in sorted(distinct)], remarks


def resolve_target(plugin: Plugin, target: str) -> Any:
    """Import "package.module:Class"; a target that cannot be imported is that plugin's fault, and said so."""
    module_name, _, attribute = target.partition(":")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = getattr(importlib.import_module(module_name), attribute)
        if not callable(found):
            raise TypeError(f"it is {found!r}, not a class")
    except HashzooError:
        raise
    except (Exception, SystemExit) as error:
        raise HashzooError(
            f"plugin '{plugin.name}' ({plugin.origin}) names {target}, which cannot be imported: {one_line(error)}",
            exit_code=1,
        ) from error
    return found


def _mistyped(installed: set[str]) -> list[str]:
    """A remark for every name in HASHZOO_ONLY and HASHZOO_BLOCK that no plugin has."""
    # HASHZOO_ONLY=hashzoo leaves out all plugins; the built-in parts cannot be blocked.
    known = {"HASHZOO_ONLY": installed | {GROUP}, "HASHZOO_BLOCK": installed}
    return [
        f"{variable} names '{name}', which is no installed plugin{did_you_mean(name, installed)}"
        for variable in known
        for name in sorted(_listed(variable) - known[variable])
    ]


def _listed(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        from hashzoo import __version__

        return __version__
