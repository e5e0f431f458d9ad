"""Plugins in every state: what is said of each, and that nothing else suffers from it."""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import signal
import sys
import types
import warnings
from pathlib import Path

import pluggy
import pytest
from helpers import BROKEN, SMALL, forget

from hashzoo import admission, builtin, doctor, plugin, zoo
from hashzoo.errors import HashzooError

# Each package is broken in one way: its state, and what the reason must say.
CASES = {
    "asks_zoo": ("broken", "plugins are looked up while they are being loaded"),
    "bool_api": ("broken", "HASHZOO_API is True, not a whole number; write HASHZOO_API = 1"),
    "entry_to_nothing": ("broken", "No module named 'hashzoo_nowhere'"),
    "entry_to_object": ("broken", 'is no module; write entry_to_object = "hashzoo_entry_to_object"'),
    "exits": ("broken", "SystemExit: 3"),
    "hanging_hook": ("broken", "its hooks took over 0.5 s"),
    "hanging_import": ("broken", "its import took over 0.5 s"),
    "interrupts": ("broken", "it raised KeyboardInterrupt"),
    "long_error": ("broken", "RuntimeError: no end no end"),
    "missing_dependency": ("broken", "No module named 'a_package_that_is_not_installed'"),
    "misspelt_hook": ("broken", "hashzoo has no hook hashzoo_trainer; did you mean hashzoo_trainers?"),
    "name_twice": ("broken", "hashzoo_trainers offers a name twice: a, a"),
    "named_hashzoo": ("broken", "'hashzoo' is the name of the built-in parts"),
    "new_api": ("incompatible", "it was written for plugin API 2, this hashzoo speaks 1"),
    "no_api": ("incompatible", "add HASHZOO_API = 1 to hashzoo_no_api"),
    "no_hook": ("broken", "it implements no hook (is @hookimpl missing?)"),
    "odd_name": ("broken", "hashzoo_trainers offers the name 'A trainer'"),
    "old_api": ("incompatible", "it was written for plugin API 0, this hashzoo speaks 1"),
    "raising_attribute": ("broken", "RuntimeError: no attribute HASHZOO_API"),
    "raising_hook": ("broken", "RuntimeError: the weights are elsewhere"),
    "returns_dict": ("broken", "hashzoo_trainers returned {'a': 'hashzoo_returns_dict.parts:Trainer'}, not a list"),
    "returns_names": ("broken", "hashzoo_trainers returned 'a', not a Part"),
    "returns_nothing": ("broken", "hashzoo_trainers returned None, not a list of Parts"),
    "settings_key": ("broken", "settings of 'a' is {1: 2}; its names must be strings"),
    "stubborn_import": ("broken", "its import took over 0.5 s"),
    "syntax_error": ("broken", "SyntaxError: expected ':' (__init__.py, line 7)"),
    "takes_builtin": ("broken", "it offers method 'random', a name that hashzoo itself uses; choose another"),
    "text_api": ("broken", "HASHZOO_API is '1', not a whole number; write HASHZOO_API = 1"),
    "unmarked_hook": ("broken", "hashzoo_trainers is not marked with @hookimpl"),
    "unprintable_error": ("broken", "Unprintable"),
    "wrong_field": ("broken", "settings of 'a' is None, not a mapping"),
    "wrong_signature": ("broken", "Argument(s) {'registry'} are declared in the hookimpl"),
    "wrong_target": ("broken", "is not of the form 'package.module:Class'"),
}
# Packages with nothing wrong at admission; they have tests of their own below.
ADMITTED = {
    *("changes_process", "first_of_two", "no_entry_point", "odd_objects", "one_of_a_name", "other_of_a_name", "prints"),
    *("second_of_two", "target_to_nothing", "unmet_requirements", "warns"),
}
# What ends the process cannot be told by the process that it ends; see test_plugins_installed.py.
DEADLY = {"ends_process"}


def named(known: zoo.Zoo, name: str) -> zoo.Plugin:
    (found,) = [p for p in known.plugins if p.name == name and p.distribution != "hashzoo"]
    return found


def test_every_package_has_a_case():
    assert {path.name for path in BROKEN.iterdir()} == set(CASES) | ADMITTED | DEADLY


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_broken_plugin_is_named_and_harms_no_other(case, tiny, command, monkeypatch, impatient):
    tiny.install(BROKEN / case)
    name = "hashzoo" if case == "named_hashzoo" else case
    monkeypatch.setenv("HASHZOO_ONLY", f"tiny,{name}")
    state, reason = CASES[case]
    if reason.endswith("took over 0.5 s"):
        impatient()

    outcome = command("plugins", "--json")
    listed = json.loads(outcome.out)["plugins"]
    (entry,) = [p for p in listed if p["distribution"] == f"hashzoo-{case.replace('_', '-')}"]
    assert (entry["name"], entry["version"], entry["state"]) == (name, "1.0", state)
    assert reason in entry["reason"]
    assert not any(entry["offers"].values())
    assert "\n" not in entry["reason"]
    assert len(entry["reason"]) < 400
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


def test_a_hook_of_a_later_hashzoo_may_be_marked_optional(site, command, monkeypatch):
    code = (
        "from hashzoo.plugin import Part, hookimpl\n\nHASHZOO_API = 1\n\n"
        "@hookimpl(optionalhook=True)\ndef hashzoo_captioners():\n    return ['of a later version']\n\n"
        "@hookimpl\ndef hashzoo_losses():\n    return [Part('both', 'hashzoo.losses:Pairwise', 'for two versions')]\n"
    )
    site.write("hashzoo-ahead", "ahead", code)
    monkeypatch.setenv("HASHZOO_ONLY", "ahead")
    assert named(zoo.load(), "ahead").names("loss") == ["both"]
    assert command("plugins").code == 0


def test_a_deprecated_hook_works_and_says_what_to_use_instead(tiny, command, monkeypatch):
    class Aging(plugin.Hooks):
        pass

    told = "hashzoo_trainers is deprecated; use hashzoo_teachers instead"
    old = vars(plugin.Hooks)["hashzoo_trainers"]
    renewed = types.FunctionType(old.__code__, old.__globals__, old.__name__)
    Aging.hashzoo_trainers = pluggy.HookspecMarker(plugin.GROUP)(renewed, warn_on_impl=DeprecationWarning(told))
    monkeypatch.setattr(admission, "Hooks", Aging)
    monkeypatch.setattr(doctor, "_probe", lambda *_, **__: "")  # of torch, which takes seconds
    monkeypatch.setenv("HASHZOO_ONLY", "tiny")
    outcome = command("plugins")
    assert outcome.code == 0
    assert f"hashzoo: plugin 'tiny' (hashzoo-tiny 1.0): {told}" in outcome.err
    assert told in outcome.out
    assert named(zoo.load(), "tiny").names("trainer") == ["fragile"]
    assert any(f.level == "note" and told in f.message for f in doctor.examine())


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
    site.write("hashzoo-b", "same_too", code)
    (entries,) = site.folder.glob("hashzoo_b-1.0.dist-info/entry_points.txt")
    entries.write_text("[hashzoo]\nsame = same_too\n")
    with pytest.raises(HashzooError) as refused:
        zoo.load().find("loss", "shared")
    assert str(refused.value) == "loss 'shared' is offered by hashzoo-a 1.0 and hashzoo-b 1.0: uninstall one"


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
    monkeypatch.setenv("HASHZOO_ONLY", "tiny")
    assert zoo.load().plugins
    tiny.install(BROKEN / "exits")
    monkeypatch.setenv("HASHZOO_ONLY", "tiny,exits")
    said = sentence("plugins", code=1)
    assert said == "hashzoo: plugin 'exits' cannot be used (HASHZOO_STRICT=1 makes this fatal)"


@pytest.mark.parametrize("variable", ["HASHZOO_ONLY", "HASHZOO_BLOCK"])
def test_a_variable_that_names_no_plugin_is_told(variable, tiny, monkeypatch, command):
    monkeypatch.setenv(variable, "tinny")
    remark = f"{variable} names 'tinny', which is no installed plugin; did you mean tiny?"
    outcome = command("plugins")
    assert (outcome.code, outcome.err) == (0, f"hashzoo: {remark}\n")
    assert zoo.load().remarks == (remark,)
    monkeypatch.setenv("HASHZOO_STRICT", "1")
    zoo.load.cache_clear()
    strict = command("plugins")
    assert (strict.code, strict.out) == (1, "")
    assert strict.err.splitlines()[-1] == f"hashzoo: {remark} (HASHZOO_STRICT=1 makes this fatal)"


def test_no_plugin_at_all_can_be_asked_for(tiny, monkeypatch, command):
    monkeypatch.setenv("HASHZOO_ONLY", "hashzoo")
    assert command("plugins").err == ""
    assert {p.state for p in zoo.load().plugins[1:]} == {"blocked"}


def test_strict_makes_a_clash_fatal(site, monkeypatch):
    monkeypatch.setenv("HASHZOO_STRICT", "1")
    site.install(BROKEN / "first_of_two")
    site.install(BROKEN / "second_of_two")
    with pytest.raises(HashzooError, match="trainer 'contested' is offered by") as refused:
        zoo.load()
    assert refused.value.exit_code == 1


def test_what_a_plugin_changes_in_the_process(tiny, command, monkeypatch):
    """Put back is what would change what the user typed; the rest is for the conformance check to find."""
    tiny.install(BROKEN / "changes_process")
    monkeypatch.setenv("HASHZOO_ONLY", "tiny,changes_process")
    monkeypatch.setenv("HASHZOO_TEST_CHANGED", "0")
    monkeypatch.setattr(sys, "path", [*sys.path])
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGALRM
    before, folder = [signal.getsignal(number) for number in numbers], Path.cwd()
    random.seed("not what the plugin seeds them with")
    state = random.getstate()
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        assert command("plugins").code == 0
        assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert named(zoo.load(), "changes_process").state == "ok"
    assert [signal.getsignal(number) for number in numbers] == before
    assert Path.cwd() == folder
    assert os.environ["HASHZOO_TEST_CHANGED"] == "1"
    assert random.getstate() != state
    assert "/hashzoo-changes-process" in sys.path


def test_a_warning_at_import_is_no_fault_unless_warnings_are_errors(tiny, monkeypatch):
    tiny.install(BROKEN / "warns")
    monkeypatch.setenv("HASHZOO_ONLY", "tiny,warns")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert named(zoo.load(), "warns").state == "ok"
        forget(tiny.folder)
        warnings.simplefilter("error")
        assert named(zoo.load(), "warns").reason == "DeprecationWarning: this plugin is old"


def test_objects_that_answer_to_any_attribute_are_no_hooks(site):
    site.install(BROKEN / "odd_objects")
    assert named(zoo.load(), "odd_objects").names("trainer") == ["fine"]


def test_two_packages_with_one_entry_point_name_are_both_listed(tiny, command, monkeypatch):
    tiny.install(BROKEN / "one_of_a_name")
    tiny.install(BROKEN / "other_of_a_name")
    monkeypatch.setenv("HASHZOO_ONLY", "tiny,shared_name")
    outcome = command("plugins", "--json")
    listed = json.loads(outcome.out)
    assert outcome.code == 1
    assert [p["distribution"] for p in listed["plugins"] if p["name"] == "shared_name"] == [
        *("hashzoo-one-of-a-name", "hashzoo-other-of-a-name")
    ]
    assert len(listed["clashes"]) == 1


def test_a_distribution_that_was_left_twice_is_one_plugin(tiny):
    """An interrupted update leaves ~ashzoo_tiny beside hashzoo_tiny."""
    shutil.copytree(tiny.folder / "hashzoo_tiny-1.0.dist-info", tiny.folder / "~ashzoo_tiny-1.0.dist-info")
    forget(tiny.folder)
    assert named(zoo.load(), "tiny").state == "ok"
    assert zoo.load().clashes() == []


def test_damaged_entry_points_of_a_stranger_harm_nobody(tiny, command):
    tiny._register("stranger", "1.0", {"a": "b"})
    (tiny.folder / "stranger-1.0.dist-info" / "entry_points.txt").write_text("[console_scripts]\nno equals sign\n")
    forget(tiny.folder)
    outcome = command("plugins")
    assert outcome.err.startswith("hashzoo: the entry points of stranger cannot be read (")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith("; run: pip install --force-reinstall stranger\n")
    assert zoo.load().find("method", "toy")[0].name == "tiny"


def test_every_hook_is_one_documented_sentence_and_is_read():
    hooks = {name: value for name, value in vars(plugin.Hooks).items() if name.startswith("hashzoo_")}
    assert set(hooks) == set(admission.HOOKS.values())
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
