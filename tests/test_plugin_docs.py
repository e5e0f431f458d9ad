"""docs/plugin.md: its signatures are the live ones, its examples work, its counter-examples are caught."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest

from hashzoo import Dataset, Encoder, Loss, Method, Part, Trainer
from hashzoo.admission import HOOKS
from hashzoo.plugin import Hooks
from hashzoo.search import Index
from hashzoo.testing import kit

PAGE = Path(__file__).parents[1] / "docs" / "plugin.md"
TEXT = PAGE.read_text(encoding="utf-8")
CONTRACTS = {"Data set": Dataset, "Encoder": Encoder, "Loss": Loss, "Trainer": Trainer, "Index": Index}
EXAMPLES = re.findall(r"```python (right|wrong)=(\w+):(\w+) ?(\w*)\n(.*?)```", TEXT, flags=re.DOTALL)


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE).group(1)


def signature(function: object) -> str:
    """As the page writes it: without self, and the names that the source has."""
    found = inspect.signature(function)
    parameters = [p for name, p in found.parameters.items() if name not in ("self", "cls")]
    return str(found.replace(parameters=parameters)).replace("'", "")


def test_every_hook_is_there_with_its_live_signature_and_sentence():
    hooks = {name: hook for name, hook in vars(Hooks).items() if name.startswith("hashzoo_")}
    documented = re.findall(r"^\| `(hashzoo_\w+)(\(.*?)` \| (.*) \|$", section("Hooks"), flags=re.MULTILINE)
    assert documented == [(name, signature(hook), inspect.getdoc(hook)) for name, hook in hooks.items()]


@pytest.mark.parametrize("declared", [Part, Method])
def test_what_hooks_return_is_there_with_its_live_signature(declared):
    written = re.search(rf"`{declared.__name__}(\(name.*?\))`", section("Hooks")).group(1)
    live = str(inspect.signature(declared)).removesuffix(" -> None")
    assert written.replace("'", "") == live.replace("'", "")


@pytest.mark.parametrize("title", CONTRACTS)
def test_every_method_of_a_contract_is_there_with_its_live_signature(title):
    contract = CONTRACTS[title]
    written = dict(re.findall(r"`(\w+)(\([^`]*\) -> [^`]+)`", section(title).replace("\\|", "|")))
    assert written
    for name, parameters in written.items():
        assert parameters == signature(getattr(contract, name)), name
    required = set(contract.__abstractmethods__ if hasattr(contract, "__abstractmethods__") else ())
    own = {name for name, value in vars(contract).items() if inspect.isfunction(value) and name[0] != "_"}
    assert (required | own) - {"check"} <= set(written), f"missing in the page: {(required | own) - set(written)}"


def test_the_page_of_checks_lists_every_one_with_what_it_demands():
    """To renew it: RENEW_GOLDEN=1 python -m pytest tests/test_plugin_docs.py"""
    lines = [
        "# Checks",
        "",
        "What `hashzoo plugins check NAME` and `parametrize_plugin` demand, by kind: [the contracts](plugin.md).",
    ]
    for kind in ("plugin", *HOOKS, "online"):
        found = kit.checks(kind)
        if found:
            lines += ["", f"## {kind}", "", "| check | tier | demand |", "|---|---|---|"]
            lines += [f"| `{known.name}` | {known.tier} | {demand(known)} |" for known in found]
    lines += [
        "",
        f"{len(kit.checks())} checks. A trainer that no method of its plugin uses is checked as a method.",
    ]
    page = PAGE.parent / "checks.md"
    if os.environ.get("RENEW_GOLDEN") == "1":
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert page.read_text(encoding="utf-8").splitlines() == lines


def demand(known: kit.Check) -> str:
    return " ".join(inspect.getdoc(known.run).split()).replace("|", "\\|")


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{verdict}-{name}" for verdict, _, name, _, _ in EXAMPLES])
def test_right_examples_conform_and_wrong_ones_are_caught(example, site, monkeypatch, tmp_path_factory):
    verdict, kind, name, caught_by, code = example
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path_factory.getbasetemp() / "kit-cache"))
    right = {k: earlier for v, k, _, _, earlier in EXAMPLES if v == "right"}
    plugin = f"docs_{name.lower()}"
    hooks = (
        f"from hashzoo.plugin import Part, hookimpl\n\nHASHZOO_API = 1\n\n\n@hookimpl\ndef {HOOKS[kind]}():\n"
        f"    return [Part('{name.lower()}', '{plugin}.parts:{name}', 'an example')]\n"
    )
    site.write(f"hashzoo-{plugin}", plugin, hooks, code if verdict == "right" else f"{right[kind]}\n\n{code}")
    monkeypatch.setenv("HASHZOO_ONLY", plugin)
    report = kit.check_plugin(plugin)
    failed = [finding for finding in report.findings if finding.outcome == "failed"]
    assert [finding.name for finding in failed] == ([caught_by] if verdict == "wrong" else []), failed


def test_there_are_examples_of_every_contract():
    kinds = {kind for _, kind, _, _, _ in EXAMPLES}
    assert kinds == {"dataset", "encoder", "loss", "trainer", "index"}
    for kind in kinds:
        assert next(verdict for verdict, of, _, _, _ in EXAMPLES if of == kind) == "right"
