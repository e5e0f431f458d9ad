"""Admits one plugin: imports it, checks what it says of itself, and keeps the reason if it must be refused.

Every plugin gets a PluginManager of its own, so that all of its hooks are admitted or none, and
every name can be traced to the package that offers it.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from types import ModuleType

import pluggy

from hashzoo import guard
from hashzoo.errors import HashzooError, did_you_mean, one_line
from hashzoo.plugin import API, GROUP, Hooks, Method, Part
from hashzoo.settings import FURTHER
from hashzoo.source import plugin_digest

HOOKS = {
    "dataset": "hashzoo_datasets",
    "encoder": "hashzoo_encoders",
    "loss": "hashzoo_losses",
    "trainer": "hashzoo_trainers",
    "index": "hashzoo_indexes",
    "method": "hashzoo_methods",
}
KINDS = tuple(HOOKS)
LONGEST_REASON = 300  # characters
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
# All others are strings.
_FIELD_TYPES = {"settings": Mapping, "image_outputs": tuple, "text_outputs": tuple, "extra": Mapping}
Offer = Part | Method


@dataclass(frozen=True)
class Plugin:
    """One plugin and its state: "ok", "broken", "incompatible" (other API) or "blocked" (by the user).

    `notes` are sentences on what works today and will not for ever: hooks that are deprecated.
    """

    name: str
    distribution: str
    version: str
    state: str
    reason: str = ""
    offers: Mapping[str, tuple[Offer, ...]] = field(default_factory=dict)
    module: str = ""
    notes: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}"

    def names(self, kind: str) -> list[str]:
        return [offer.name for offer in self.offers.get(kind, ())]

    def source_digest(self) -> str:
        """SHA-256 over all files of its distribution and of the packages that its targets name.

        An edited plugin is another plugin: its runs of yesterday are not served for it.
        """
        targets = [target for offers in self.offers.values() for offer in offers for target in _targets(offer)]
        return plugin_digest(self.distribution, [self.module, *(target.partition(":")[0] for target in targets)])


class _Incompatible(Exception):
    """The plugin was written for another plugin API."""


def admit_entry(entry: metadata.EntryPoint, reserved: set[tuple[str, str]]) -> Plugin:
    """Import a plugin by its entry point and admit it; whatever it does is its own fault, and kept as the reason.

    Args:
        reserved: (kind, name) of everything that the core itself offers: nobody else may use these names.
    """

    def load() -> ModuleType:
        if entry.name == GROUP:
            raise ValueError(f"'{GROUP}' is the name of the built-in parts; choose another for the entry point")
        module = entry.load()
        if not isinstance(module, ModuleType):
            raise TypeError(f'its entry point {entry.value} is no module; write {entry.name} = "{entry.module}"')
        return module

    distribution, version = origin_of(entry)
    try:
        module = guard.run(entry.name, load)
    except KeyboardInterrupt:
        raise
    except guard.TookTooLong:
        reason = f"its import took over {guard.LIMIT:g} s; what takes long must be done inside functions"
        return Plugin(entry.name, distribution, version, "broken", reason)
    except BaseException as error:
        return Plugin(entry.name, distribution, version, "broken", _describe(error))
    return admit_module(entry.name, distribution, version, module, reserved)


def admit_module(
    name: str, distribution: str, version: str, module: ModuleType, reserved: set[tuple[str, str]]
) -> Plugin:
    """Check one plugin's API number, hooks and return values; any fault refuses all of it."""
    state, reason = "broken", ""
    offers: dict[str, tuple[Offer, ...]] = {}
    notes: tuple[str, ...] = ()
    try:
        offers, notes = guard.run(name, lambda: _offers(name, module, reserved))
        state = "ok"
    except KeyboardInterrupt:
        raise
    except guard.TookTooLong:
        reason = f"its hooks took over {guard.LIMIT:g} s; they must return plain values at once"
    except _Incompatible as error:
        state, reason = "incompatible", str(error)
    except BaseException as error:
        reason = _describe(error)
    return Plugin(name, distribution, version, state, reason, offers, module.__name__, notes)


def origin_of(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution of an entry point; "?" where its metadata is damaged."""
    try:
        assert entry.dist is not None
        return entry.dist.name or "?", entry.dist.version or "?"
    except Exception:  # importlib.metadata promises nothing about metadata that is not there
        return "?", "?"


def _offers(
    name: str, module: ModuleType, reserved: set[tuple[str, str]]
) -> tuple[dict[str, tuple[Offer, ...]], tuple[str, ...]]:
    _check_api(module)
    _check_marks(module)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        manager.register(module, name)  # warns of hooks that are declared with warn_on_impl
    notes = tuple(str(warning.message) for warning in said if issubclass(warning.category, DeprecationWarning))
    manager.check_pending()
    offers = {kind: _call(manager, kind) for kind in KINDS}
    for kind, values in offers.items():
        for offer in values:
            if (kind, offer.name) in reserved:
                raise ValueError(f"it offers {kind} '{offer.name}', a name that hashzoo itself uses; choose another")
    return offers, notes


def _check_api(module: ModuleType) -> None:
    api = getattr(module, "HASHZOO_API", None)
    if api is None:
        raise _Incompatible(
            f"it does not say which plugin API it was written for; add HASHZOO_API = {API} to {module.__name__}"
        )
    if type(api) is not int:  # True equals 1
        raise TypeError(f"HASHZOO_API is {api!r}, not a whole number; write HASHZOO_API = {API}")
    if api != API:
        raise _Incompatible(f"it was written for plugin API {api}, this hashzoo speaks {API}")


def _check_marks(module: ModuleType) -> None:
    # Only functions are asked: other objects of a module may answer to any attribute, or to none without raising.
    marked = [
        name for name, value in vars(module).items() if inspect.isroutine(value) and hasattr(value, f"{GROUP}_impl")
    ]
    for name in marked:
        optional = getattr(vars(module)[name], f"{GROUP}_impl")["optionalhook"]  # for a hashzoo that has it
        if name not in HOOKS.values() and not optional:
            raise ValueError(f"hashzoo has no hook {name}{did_you_mean(name, HOOKS.values())}")
    unmarked = [name for name in HOOKS.values() if callable(vars(module).get(name)) and name not in marked]
    if unmarked:
        raise ValueError(f"{unmarked[0]} is not marked with @hookimpl")
    if not marked:
        raise ValueError("it implements no hook (is @hookimpl missing?)")


def _call(manager: pluggy.PluginManager, kind: str) -> tuple[Offer, ...]:
    hook = HOOKS[kind]
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
        if wanted is not str and not all(isinstance(name, str) for name in value):
            raise TypeError(f"{hook}: {field_.name} of '{offer.name}' is {value!r}; its names must be strings")
    for role, encoder in offer.extra.items() if isinstance(offer, Method) else ():
        if not FURTHER.fullmatch(role):
            raise ValueError(f"{hook}: the role {role!r} of '{offer.name}' does not end in _image or _text")
        if not isinstance(encoder, str):
            raise TypeError(f"{hook}: the encoder {role} of '{offer.name}' is {encoder!r}, not a str")
    for target in _targets(offer):
        if not re.fullmatch(r"[\w.]+:\w+", target):
            raise ValueError(
                f"{hook}: the target {target!r} of '{offer.name}' is not of the form 'package.module:Class'"
            )


def _targets(offer: Offer) -> tuple[str, ...]:
    """What an offer names in Python. A head may be empty: the trainer then has modules of its own."""
    named = (offer.target,) if isinstance(offer, Part) else (offer.image_head, offer.text_head)
    return tuple(target for target in named if target or isinstance(offer, Part))


def _describe(error: BaseException) -> str:
    """Our own checks raise ValueError and TypeError with a sentence; of any other error the kind is told too."""
    try:
        text = " ".join(str(error).split())
        plain = isinstance(error, HashzooError) or (type(error) in (ValueError, TypeError) and text)
        text = text if plain else one_line(error)
    except Exception:  # an error that cannot even be shown
        text = type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
