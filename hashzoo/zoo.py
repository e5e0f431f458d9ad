"""Finds plugins, admits them one by one, and says what is wrong with those that it refuses.

Every plugin gets a PluginManager of its own, so that all of its hooks are admitted or none, and
every name can be traced to the package that offers it. A plugin that fails to load is kept with
the reason; the rest of the tool works on.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from hashzoo.errors import HashzooError, did_you_mean, one_line
from hashzoo.plugin import API, GROUP, Hooks, Method, Part
from hashzoo.storage import digest

_HOOKS = {
    "dataset": "hashzoo_datasets",
    "encoder": "hashzoo_encoders",
    "loss": "hashzoo_losses",
    "trainer": "hashzoo_trainers",
    "index": "hashzoo_indexes",
    "method": "hashzoo_methods",
}
KINDS = tuple(_HOOKS)
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_FIELD_TYPES = {"settings": Mapping, "image_outputs": tuple, "text_outputs": tuple}  # all others are strings
Offer = Part | Method


@dataclass(frozen=True)
class Plugin:
    """One plugin and its state: "ok", "broken", "incompatible" (other API) or "blocked" (by the user)."""

    name: str
    distribution: str
    version: str
    state: str
    reason: str = ""
    offers: Mapping[str, tuple[Offer, ...]] = field(default_factory=dict)
    module: str = ""

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}"

    def names(self, kind: str) -> list[str]:
        return [offer.name for offer in self.offers.get(kind, ())]

    def source_digest(self) -> str:
        """SHA-256 over the Python files of the plugin's package: an edited plugin is another plugin.

        The hooks may lie in a module inside the package ("my_package.plugin"), and what they name beside it.
        """
        parts = self.module.split(".")
        above = [".".join(parts[: n + 1]) for n in range(len(parts))]
        # A namespace package, which has no file of its own, may hold the plugins of several distributions.
        specs = {name: importlib.util.find_spec(name) for name in above}
        return source_digest(next(name for name, spec in specs.items() if spec is not None and spec.origin))


@dataclass(frozen=True, eq=False)
class Zoo:
    """All plugins that are installed, and look-up by kind and name."""

    plugins: tuple[Plugin, ...]

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
    """Admit the built-in parts and every installed plugin. Said on stderr once: plugins that cannot be used."""
    from hashzoo import builtin

    own = _admit("hashzoo", "hashzoo", _version("hashzoo"), builtin, reserved=set())
    reserved = {(kind, name) for kind in KINDS for name in own.names(kind)}
    plugins = [own]
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        plugins.append(_load_entry(entry, reserved))
    zoo = Zoo(tuple(plugins))
    for plugin in zoo.unusable():
        print(f"hashzoo: plugin '{plugin.name}' ({plugin.origin}) is {plugin.state}: {plugin.reason}", file=sys.stderr)
    if os.environ.get("HASHZOO_STRICT") == "1" and (zoo.unusable() or zoo.clashes()):
        problem = zoo.clashes()[0] if zoo.clashes() else f"plugin '{zoo.unusable()[0].name}' cannot be used"
        raise HashzooError(f"{problem}, and HASHZOO_STRICT=1 makes that fatal", exit_code=1)
    return zoo


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


@functools.cache
def source_digest(module_name: str, *only: str) -> str:
    """SHA-256 over the Python files of a package (or of `only` these, relative paths), or of a single module."""
    spec = importlib.util.find_spec(module_name)
    if spec is None or spec.origin is None:
        raise HashzooError(f"the source of '{module_name}' cannot be found", exit_code=1)
    root = Path(spec.origin).parent
    if not spec.submodule_search_locations:
        files = [Path(spec.origin)]
    elif only:
        files = sorted(file for pattern in only for file in root.glob(pattern))
    else:
        files = sorted(root.rglob("*.py"))
    return digest({file.relative_to(root).as_posix(): digest(file.read_bytes()) for file in files})


def _load_entry(entry: metadata.EntryPoint, reserved: set[tuple[str, str]]) -> Plugin:
    distribution = entry.dist.name if entry.dist else "?"
    version = entry.dist.version if entry.dist else "?"
    only, block = _listed("HASHZOO_ONLY"), _listed("HASHZOO_BLOCK")
    if entry.name in block or (only and entry.name not in only):
        variable = "HASHZOO_BLOCK" if entry.name in block else "HASHZOO_ONLY"
        return Plugin(entry.name, distribution, version, "blocked", f"by {variable}")
    try:
        if entry.name == GROUP:
            raise ValueError(f"'{GROUP}' is the name of the built-in parts; choose another for the entry point")
        # What a plugin prints while it is imported must not end up in our data on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            module = entry.load()
        if not isinstance(module, ModuleType):
            raise TypeError(f'its entry point {entry.value} is no module; write {entry.name} = "{entry.module}"')
    except (Exception, SystemExit) as error:
        return Plugin(entry.name, distribution, version, "broken", _describe(error))
    return _admit(entry.name, distribution, version, module, reserved)


def _admit(name: str, distribution: str, version: str, module: ModuleType, reserved: set[tuple[str, str]]) -> Plugin:
    """Check one plugin's API number, hooks and return values; any fault refuses all of it."""
    api = getattr(module, "HASHZOO_API", None)
    if api != API:
        reason = (
            f"it does not say which plugin API it was written for; add HASHZOO_API = {API} to {module.__name__}"
            if api is None
            else f"it was written for plugin API {api}, this hashzoo speaks {API}"
        )
        return Plugin(name, distribution, version, "incompatible", reason)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    try:
        _check_marks(module)
        manager.register(module, name)
        manager.check_pending()
        with contextlib.redirect_stdout(sys.stderr):
            offers = {kind: _call(manager, kind) for kind in KINDS}
        for kind, values in offers.items():
            for offer in values:
                if (kind, offer.name) in reserved:
                    raise ValueError(
                        f"it offers {kind} '{offer.name}', a name that hashzoo itself uses; choose another"
                    )
    except (Exception, SystemExit) as error:
        return Plugin(name, distribution, version, "broken", _describe(error))
    return Plugin(name, distribution, version, "ok", "", offers, module.__name__)


def _check_marks(module: ModuleType) -> None:
    marked = [name for name, value in vars(module).items() if hasattr(value, f"{GROUP}_impl")]
    for name in marked:
        if name not in _HOOKS.values():
            raise ValueError(f"hashzoo has no hook {name}{did_you_mean(name, _HOOKS.values())}")
    unmarked = [name for name in _HOOKS.values() if callable(vars(module).get(name)) and name not in marked]
    if unmarked:
        raise ValueError(f"{unmarked[0]} is not marked with @hookimpl")
    if not marked:
        raise ValueError("it implements no hook (is @hookimpl missing?)")


def _call(manager: pluggy.PluginManager, kind: str) -> tuple[Offer, ...]:
    hook = _HOOKS[kind]
    wanted = Method if kind == "method" else Part
    offers: list[Offer] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        # Called one by one: pluggy would drop a None, and with it every offer of a forgotten `return`.
        result = implementation.function()
        if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
            raise TypeError(f"{hook} returned {result!r}, not a list of {wanted.__name__}s")
        for offer in result:
            if not isinstance(offer, wanted):
                raise TypeError(f"{hook} returned {offer!r}, not a {wanted.__name__}")
            _check_offer(hook, offer)
            offers.append(offer)
    names = [offer.name for offer in offers]
    if len(set(names)) != len(names):
        raise ValueError(f"{hook} offers a name twice: {', '.join(sorted(names))}")
    return tuple(offers)


def _check_offer(hook: str, offer: Offer) -> None:
    if not isinstance(offer.name, str) or not _PLAIN_NAME.fullmatch(offer.name):
        raise ValueError(f"{hook} offers the name {offer.name!r}; use lower-case letters, digits, '-' and '_'")
    for field_ in fields(offer):
        value = getattr(offer, field_.name)
        wanted = _FIELD_TYPES.get(field_.name, str)
        if not isinstance(value, wanted):
            raise TypeError(f"{hook}: {field_.name} of '{offer.name}' is {value!r}, not a {wanted.__name__.lower()}")
    for target in (offer.target,) if isinstance(offer, Part) else (offer.image_head, offer.text_head):
        if not re.fullmatch(r"[\w.]+:\w+", target):
            raise ValueError(
                f"{hook}: the target {target!r} of '{offer.name}' is not of the form 'package.module:Class'"
            )


def _describe(error: BaseException) -> str:
    """Our own checks raise ValueError and TypeError with a sentence; of any other error the kind is told too."""
    text = " ".join(str(error).split())
    return text if type(error) in (ValueError, TypeError) and text else one_line(error)


def _listed(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        from hashzoo import __version__

        return __version__
