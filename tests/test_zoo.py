"""Plugins in every state: what is said of each, and that nothing else suffers from it."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from helpers import HERE, SMALL, forget

from hashzoo import builtin, plugin, zoo
from hashzoo.errors import HashzooError

BROKEN = HERE / "plugins_broken"
# Each package is broken in one way: its state, and what the reason must say.
CASES = {
    "entry_to_nothing": ("broken", "No module named 'hashzoo_nowhere'"),
    "entry_to_object": ("broken", 'is no module; write entry_to_object = "hashzoo_entry_to_object"'),
    "exits": ("broken", "SystemExit: 3"),
    "missing_dependency": ("broken", "No module named 'a_package_that_is_not_installed'"),
    "misspelt_hook": ("broken", "hashzoo has no hook hashzoo_trainer; did you mean hashzoo_trainers?"),
    "name_twice": ("broken", "hashzoo_trainers offers a name twice: a, a"),
    "named_hashzoo": ("broken", "'hashzoo' is the name of the built-in parts"),
    "new_api": ("incompatible", "it was written for plugin API 2, this hashzoo speaks 1"),
    "no_api": ("incompatible", "add HASHZOO_API = 1 to hashzoo_no_api"),
    "no_hook": ("broken", "it implements no hook (is @hookimpl missing?)"),
    "odd_name": ("broken", "hashzoo_trainers offers the name 'A trainer'"),
    "old_api": ("incompatible", "it was written for plugin API 0, this hashzoo speaks 1"),
    "raising_hook": ("broken", "RuntimeError: the weights are elsewhere"),
    "returns_dict": ("broken", "hashzoo_trainers returned {'a': 'hashzoo_returns_dict.parts:Trainer'}, not a list"),
    "returns_names": ("broken", "hashzoo_trainers returned 'a', not a Part"),
    "returns_nothing": ("broken", "hashzoo_trainers returned None, not a list of Parts"),
    "syntax_error": ("broken", "SyntaxError: expected ':' (__init__.py, line 7)"),
    "takes_builtin": ("broken", "it offers method 'random', a name that hashzoo itself uses; choose another"),
    "unmarked_hook": ("broken", "hashzoo_trainers is not marked with @hookimpl"),
    "wrong_field": ("broken", "settings of 'a' is None, not a mapping"),
    "wrong_signature": ("broken", "Argument(s) {'registry'} are declared in the hookimpl"),
    "wrong_target": ("broken", "is not of the form 'package.module:Class'"),
}
# Packages with nothing wrong at admission; they have tests of their own below.
ADMITTED = {"first_of_two", "no_entry_point", "prints", "second_of_two", "target_to_nothing"}


def named(known: zoo.Zoo, name: str) -> zoo.Plugin:
    (found,) = [p for p in known.plugins if p.name == name and p.distribution != "hashzoo"]
    return found


def test_every_package_has_a_case():
    assert {path.name for path in BROKEN.iterdir()} == set(CASES) | ADMITTED


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_broken_plugin_is_named_and_harms_no_other(case, tiny, command, monkeypatch):
    tiny.install(BROKEN / case)
    name = "hashzoo" if case == "named_hashzoo" else case
    monkeypatch.setenv("HASHZOO_ONLY", f"tiny,{name}")
    state, reason = CASES[case]

    outcome = command("plugins", "--json")
    listed = json.loads(outcome.out)["plugins"]
    (entry,) = [p for p in listed if p["distribution"] == f"hashzoo-{case.replace('_', '-')}"]
    assert (entry["name"], entry["version"], entry["state"]) == (name, "1.0", state)
    assert reason in entry["reason"]
    assert not any(entry["offers"].values())
    assert "\n" not in entry["reason"]
    assert outcome.code == 1
    assert f"plugin '{name}'" in outcome.err
    assert reason in outcome.err

    known = zoo.load()
    assert named(known, "tiny").state == "ok"
    assert known.find("method", "toy")[0].name == "tiny"
    assert known.find("method", "random")[0].distribution == "hashzoo"


def test_the_table_of_plugins_names_state_and_reason(tiny, command):
    tiny.install(BROKEN / "misspelt_hook")
    outcome = command("plugins")
    assert outcome.code == 1
    line = next(line for line in outcome.out.splitlines() if line.strip().startswith("misspelt_hook"))
    assert "broken" in line
    assert "hashzoo-misspelt-hook 1.0" in line
    assert "did you mean hashzoo_trainers?" in line


def test_plugins_is_content_when_all_are_in_order(tiny, command, monkeypatch):
    monkeypatch.setenv("HASHZOO_ONLY", "tiny")
    outcome = command("plugins")
    assert (outcome.code, outcome.err) == (0, "")
    assert "method: toy, fragile" in outcome.out


def test_asking_for_a_broken_plugin_gives_its_reason(tiny, sentence):
    tiny.install(BROKEN / "missing_dependency")
    said = sentence("bench", "--method", "missing_dependency", "--dataset", "scenes")
    assert said.startswith(
        "hashzoo: no method is called 'missing_dependency'; the plugin 'missing_dependency' is broken"
    )
    assert "a_package_that_is_not_installed" in said


def test_an_unknown_name_points_to_plugins_that_cannot_be_used(tiny, sentence):
    tiny.install(BROKEN / "exits")
    said = sentence("bench", "--method", "tooy", "--dataset", "scenes")
    assert "no method is called 'tooy'; did you mean toy? (not usable: exits; see `hashzoo plugins`)" in said


def test_a_bench_of_other_methods_works_beside_a_broken_plugin(tiny, command):
    for case in ("syntax_error", "exits", "raising_hook", "new_api"):
        tiny.install(BROKEN / case)
    settings = [part for text in SMALL for part in ("--set", text)]
    outcome = command(
        *("bench", "--method", "random", "--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8", "--json"),
        *settings,
    )
    assert outcome.code == 0
    assert json.loads(outcome.out)["results"][0]["status"] == "ok"
    assert "plugin 'syntax_error'" in outcome.err


def test_the_name_of_a_plugin_is_answered_with_its_methods(tiny, sentence):
    said = sentence("bench", "--method", "tiny", "--dataset", "scenes")
    assert said == "hashzoo: no method is called 'tiny'; 'tiny' is a plugin, its methods are: toy, fragile"


@pytest.mark.parametrize("name", ["absent", "quits", "number"])
def test_a_target_that_cannot_be_imported_is_the_fault_of_its_plugin(name, tiny, sentence):
    tiny.install(BROKEN / "target_to_nothing")
    module = {"absent": "parts"}.get(name, name)
    said = sentence("bench", "--method", name, "--encoders", "tiny+bow", "--dataset", "scenes", code=1)
    assert said.startswith(
        "hashzoo: plugin 'target_to_nothing' (hashzoo-target-to-nothing 1.0) names "
        f"hashzoo_target_to_nothing.{module}:Trainer, which cannot be imported"
    )


def test_what_a_plugin_prints_never_reaches_stdout(tiny, command, monkeypatch):
    tiny.install(BROKEN / "prints")
    tiny.write(
        "hashzoo-speaks",
        "speaks",
        "from hashzoo.plugin import Method, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_methods():\n    return [Method('speaks', 'tiny', 'bow', trainer='loud')]\n",
    )
    assert json.loads(command("plugins", "--json").out)["schema"] == 1
    forget(tiny.folder)
    settings = [part for text in SMALL for part in ("--set", text)]
    outcome = command(
        *("bench", "--method", "speaks", "--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8"),
        *("--json", *settings),
    )
    assert next(r["status"] for r in json.loads(outcome.out)["results"]) == "ok", outcome.err
    for place in ("import", "hook", "target", "training"):
        assert f"hello from the {place}" in outcome.err


def test_a_name_that_two_packages_offer_is_nobodys(tiny, command):
    tiny.install(BROKEN / "first_of_two")
    tiny.install(BROKEN / "second_of_two")
    outcome = command("plugins", "--json")
    assert outcome.code == 1
    (clash,) = json.loads(outcome.out)["clashes"]
    assert clash == (
        "trainer 'contested' is offered by hashzoo-first-of-two 1.0 and hashzoo-second-of-two 1.0: neither can be used"
    )
    assert clash in command("plugins").err
    known = zoo.load()
    with pytest.raises(HashzooError, match="uninstall one, or type HASHZOO_BLOCK=first_of_two before the command"):
        known.find("trainer", "contested")
    assert known.find("trainer", "first")[0].name == "first_of_two"
    assert known.names("trainer").count("contested") == 1


def test_blocking_one_of_two_settles_a_clash(site, monkeypatch):
    site.install(BROKEN / "first_of_two")
    site.install(BROKEN / "second_of_two")
    monkeypatch.setenv("HASHZOO_BLOCK", "first_of_two")
    assert zoo.load().find("trainer", "contested")[0].name == "second_of_two"


def test_two_plugins_of_one_name_cannot_be_told_apart_by_blocking(site):
    code = (
        "from hashzoo.plugin import Part, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_losses():\n    return [Part('shared', 'm:Loss', '')]\n"
    )
    site.write("hashzoo-a", "same", code)
    site._register("hashzoo-b", "2.0", {"same": "same"})
    with pytest.raises(HashzooError) as refused:
        zoo.load().find("loss", "shared")
    assert str(refused.value) == "loss 'shared' is offered by hashzoo-a 1.0 and hashzoo-b 2.0: uninstall one"


def test_only_and_block(tiny, monkeypatch, command):
    tiny.install(BROKEN / "syntax_error")
    monkeypatch.setenv("HASHZOO_ONLY", "tiny, other")
    known = zoo.load()
    assert named(known, "tiny").state == "ok"
    blocked = named(known, "syntax_error")
    assert (blocked.state, blocked.reason) == ("blocked", "by HASHZOO_ONLY")
    assert command("plugins").code == 0

    monkeypatch.setenv("HASHZOO_BLOCK", "tiny")
    zoo.load.cache_clear()
    blocked = named(zoo.load(), "tiny")
    assert (blocked.state, blocked.reason) == ("blocked", "by HASHZOO_BLOCK")
    with pytest.raises(HashzooError, match="the plugin 'tiny' is blocked: by HASHZOO_BLOCK"):
        zoo.load().find("method", "tiny")


def test_a_blocked_plugin_is_not_imported(site, monkeypatch):
    site.install(BROKEN / "prints")
    monkeypatch.setenv("HASHZOO_BLOCK", "prints")
    zoo.load()
    assert "hashzoo_prints" not in sys.modules


def test_strict_makes_a_broken_plugin_fatal(tiny, monkeypatch, sentence):
    monkeypatch.setenv("HASHZOO_STRICT", "1")
    monkeypatch.setenv("HASHZOO_ONLY", "tiny,exits,first_of_two,second_of_two")
    assert zoo.load().plugins
    tiny.install(BROKEN / "exits")
    said = sentence("plugins", code=1)
    assert said == "hashzoo: plugin 'exits' cannot be used, and HASHZOO_STRICT=1 makes that fatal"


def test_strict_makes_a_clash_fatal(site, monkeypatch):
    monkeypatch.setenv("HASHZOO_STRICT", "1")
    site.install(BROKEN / "first_of_two")
    site.install(BROKEN / "second_of_two")
    with pytest.raises(HashzooError, match="trainer 'contested' is offered by") as refused:
        zoo.load()
    assert refused.value.exit_code == 1


def test_an_edited_plugin_has_another_digest(tiny):
    before = named(zoo.load(), "tiny").source_digest()
    forget(tiny.folder)
    assert named(zoo.load(), "tiny").source_digest() == before
    parts = tiny.folder / "hashzoo_tiny" / "parts.py"
    parts.write_text(parts.read_text() + "\n")
    forget(tiny.folder)
    assert named(zoo.load(), "tiny").source_digest() != before


def test_hooks_in_a_module_of_a_package_are_digested_with_the_package(site):
    """What the hooks name lies beside them: `my_package.plugin` names `my_package.loss:Loss`."""
    package = site.folder / "namespace" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "loss.py").write_text("a = 1\n")
    (package / "plugin.py").write_text(
        "from hashzoo.plugin import Part, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_losses():\n    return [Part('mine', 'namespace.my_package.loss:Loss', '')]\n"
    )
    site._register("hashzoo-mine", "1.0", {"mine": "namespace.my_package.plugin"})
    before = named(zoo.load(), "mine").source_digest()
    (package / "loss.py").write_text("a = 2\n")
    forget(site.folder)
    changed = named(zoo.load(), "mine").source_digest()
    assert changed != before
    (site.folder / "namespace" / "another_distribution.py").write_text("")
    forget(site.folder)
    assert named(zoo.load(), "mine").source_digest() == changed


def test_a_plugin_may_be_a_single_module(site):
    (site.folder / "one_file.py").write_text(
        "from hashzoo.plugin import Part, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_losses():\n    return iter([Part('one', 'one_file:Loss', '')])\n"
    )
    site._register("hashzoo-one", "1.0", {"one": "one_file"})
    found = named(zoo.load(), "one")
    assert found.state == "ok"
    assert len(found.source_digest()) == 64


def test_the_source_of_an_unknown_module_is_an_error():
    with pytest.raises(HashzooError, match="the source of 'no_such_module' cannot be found"):
        zoo.source_digest("no_such_module")


def test_every_hook_is_one_documented_sentence_and_is_read():
    hooks = {name: value for name, value in vars(plugin.Hooks).items() if name.startswith("hashzoo_")}
    assert set(hooks) == set(zoo._HOOKS.values())
    for name, hook in hooks.items():
        document = hook.__doc__ or ""
        assert document.endswith("."), name
        assert document.count(". ") == 0, name
        assert "\n" not in document, name
        with pytest.raises(NotImplementedError):
            hook(plugin.Hooks())


def test_the_targets_of_the_core_exist():
    for name in ("hashzoo_datasets", "hashzoo_encoders", "hashzoo_losses", "hashzoo_trainers"):
        for part in getattr(builtin, name)():
            module, _, attribute = part.target.partition(":")
            source = Path(builtin.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
            tree = ast.parse(source.read_text())
            assert attribute in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}, part
