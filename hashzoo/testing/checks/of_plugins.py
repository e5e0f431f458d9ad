"""Checks of a plugin as a whole: what it says about itself, and what importing it does."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hashzoo import zoo
from hashzoo.admission import Offer
from hashzoo.plugin import Method
from hashzoo.recipe import GIVEN
from hashzoo.settings import SECTIONS, keywords
from hashzoo.testing.kit import Subject, check
from hashzoo.zoo import resolve_target

HEAVY = ("torch", "timm", "transformers", "open_clip", "numba", "pandas", "matplotlib", "tensorflow", "jax")
PROBE_SECONDS = 120
SUMMARY = 120  # characters: one line of a wide terminal

PROBE = Path(__file__).parent.parent / "import_probe.py"


def not_admitted(subject: Subject) -> str:
    """Why the checks after admission do not apply."""
    return "" if subject.plugin.state == "ok" else f"the plugin is {subject.plugin.state}"


@functools.lru_cache(maxsize=1)
def probe(module: str) -> dict[str, Any]:
    """Import a plugin's module and call its hooks in a fresh process; what happened there."""
    here = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-P", str(PROBE), module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, env=here)
    assert done.returncode == 0, f"{module} cannot be imported in a process of its own: {done.stderr.strip()[-300:]}"
    return json.loads(done.stdout.splitlines()[-1])


@check("plugin")
def check_it_is_admitted(subject: Subject) -> None:
    """hashzoo loads the plugin: `hashzoo plugins` shows it as ok."""
    state = subject.plugin.state
    assert state != "broken", f"it is broken: {subject.plugin.reason}"
    assert state != "blocked", f"it is blocked {subject.plugin.reason}; unset the variable and check it again"


@check("plugin")
def check_api_number_is_current(subject: Subject) -> None:
    """The module says HASHZOO_API = 1."""
    assert subject.plugin.state != "incompatible", subject.plugin.reason


@check("plugin", unless=not_admitted)
def check_it_offers_something(subject: Subject) -> None:
    """At least one hook returns at least one thing: a plugin without any has nothing that could be checked."""
    assert any(subject.plugin.offers.values()), "its hooks return empty lists"


@check("plugin", unless=not_admitted)
def check_import_is_light(subject: Subject) -> None:
    """Importing the module and calling its hooks loads no torch: `hashzoo --help` would pay for it."""
    heavy = [name for name in HEAVY if name in probe(subject.plugin.module)["modules"]]
    assert not heavy, (
        f"importing {subject.plugin.module} imports {', '.join(heavy)}; import them in the target's module"
    )


@check("plugin", unless=not_admitted)
def check_import_prints_nothing(subject: Subject) -> None:
    """Importing the module and calling its hooks prints nothing."""
    printed = probe(subject.plugin.module)["printed"].strip()
    assert not printed, f"importing {subject.plugin.module} prints {printed[:80]!r}"


@check("plugin", unless=not_admitted)
def check_import_changes_no_global_state(subject: Subject) -> None:
    """Importing the module leaves random states, environment, search path, folder and signal handlers alone."""
    changed = probe(subject.plugin.module)["changed"]
    assert not changed, f"importing {subject.plugin.module} changes {' and '.join(changed)}"


@check("plugin", unless=not_admitted)
def check_hooks_return_the_same_twice(subject: Subject) -> None:
    """A hook that is called again returns equal values."""
    assert probe(subject.plugin.module)["repeated"], "a hook returns other values when it is called a second time"


@check("plugin", unless=not_admitted)
def check_summaries_are_one_line(subject: Subject) -> None:
    """Everything that is offered says in one line what it is."""
    for _, offer in _offers(subject):
        said = offer.summary
        assert said.strip(), f"'{offer.name}' has no summary"
        assert len(said.splitlines()) == 1, f"the summary of '{offer.name}' has {len(said.splitlines())} lines"
        assert len(said) <= SUMMARY, f"the summary of '{offer.name}' is longer than a line: {said}"


@check("plugin", unless=not_admitted)
def check_targets_resolve(subject: Subject) -> None:
    """Every target and every head can be imported and called."""
    for _, offer in _offers(subject):
        for path in (offer.image_head, offer.text_head) if isinstance(offer, Method) else (offer.target,):
            if path:
                resolve_target(subject.plugin, path)


@check("plugin", unless=not_admitted)
def check_recipe_names_resolve(subject: Subject) -> None:
    """The encoders, the loss and the trainer that a method names are installed."""
    for method in _methods(subject):
        for encoder in (method.image, method.text, *method.extra.values()):
            subject.zoo.find("encoder", encoder.partition(":")[0])
        subject.zoo.find("trainer", method.trainer)
        if method.loss:
            subject.zoo.find("loss", method.loss)


@check("plugin", unless=not_admitted)
def check_settings_are_constructor_keywords(subject: Subject) -> None:
    """What a method sets is a keyword, with a default, of the class that it is for."""
    for method in _methods(subject):
        targets = {"image_head": method.image_head, "text_head": method.text_head}
        for path in method.settings:
            section, _, key = path.partition(".")
            sections = (*SECTIONS, *method.extra)
            assert section in sections, f"'{method.name}' sets '{path}'; its section is none of {', '.join(sections)}"
            if section in ("image", "text") and key == "frozen":
                continue
            if section in targets:
                assert targets[section], f"'{method.name}' sets '{path}' and names no {section}"
                target = resolve_target(subject.plugin, targets[section])
            else:
                kind = section if section in ("loss", "trainer") else "encoder"
                name = method.extra[section] if section in method.extra else getattr(method, section)
                owner, part = subject.zoo.find(kind, name.partition(":")[0])
                target = resolve_target(owner, part.target)
            known = keywords(target, GIVEN.get("image" if section in method.extra else section, ()))
            assert key in known, (
                f"'{method.name}' sets '{path}', but {target.__name__} takes {', '.join(known) or 'nothing'}"
            )


def _offers(subject: Subject) -> Iterator[tuple[str, Offer]]:
    for kind in zoo.KINDS:
        for offer in subject.plugin.offers.get(kind, ()):
            yield kind, offer


def _methods(subject: Subject) -> list[Method]:
    return [offer for _, offer in _offers(subject) if isinstance(offer, Method)]
