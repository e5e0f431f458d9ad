"""docs/online.md: its contract is the live one, its example works, its counter-example is caught."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from test_plugin_docs import PAGE, signature

from hashzoo import OnlineTrainer
from hashzoo.admission import HOOKS
from hashzoo.data.stream import Stream
from hashzoo.testing import kit

TEXT = (PAGE.parent / "online.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python (right|wrong)=(\w+):(\w+) ?(\w*)\n(.*?)```", TEXT, flags=re.DOTALL)


def test_every_member_of_an_online_trainer_is_there_with_its_live_signature():
    written = dict(re.findall(r"^\| `(\w+)(\([^`]*\) -> [^`]+)` \|", TEXT.replace("\\|", "|"), flags=re.MULTILINE))
    members = vars(OnlineTrainer).items()
    assert written == {name: signature(member) for name, member in members if callable(member) and name[0] != "_"}
    for name, value in members:
        if name[0] != "_" and not callable(value):
            assert re.search(rf"^\| `{name}` \|.*{value}", TEXT, flags=re.MULTILINE), name


def test_every_option_of_a_stream_is_there_with_its_default():
    options = {"by": "chunks-by"}
    for field in fields(Stream):
        name = options.get(field.name, field.name.replace("_", "-"))
        assert re.search(rf"^\| `--{name}` \|.*\| `?{field.default}`? \|$", TEXT, flags=re.MULTILINE), name


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{verdict}-{name}" for verdict, _, name, _, _ in EXAMPLES])
def test_the_right_example_conforms_and_the_wrong_one_is_caught(example, site, monkeypatch, tmp_path_factory):
    verdict, kind, name, caught_by, code = example
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path_factory.getbasetemp() / "kit-cache"))
    plugin = f"docs_{name.lower()}"
    hooks = (
        f"from hashzoo.plugin import Part, hookimpl\n\nHASHZOO_API = 1\n\n\n@hookimpl\ndef {HOOKS[kind]}():\n"
        f"    return [Part('{name.lower()}', '{plugin}.parts:{name}', 'an example')]\n"
    )
    site.write(f"hashzoo-{plugin}", plugin, hooks, code if verdict == "right" else f"{EXAMPLES[0][4]}\n\n{code}")
    monkeypatch.setenv("HASHZOO_ONLY", plugin)
    report = kit.check_plugin(plugin)
    failed = [finding for finding in report.findings if finding.outcome == "failed"]
    assert [finding.name for finding in failed] == ([caught_by] if verdict == "wrong" else []), failed
    assert f"online:{name.lower()}" in {finding.subject for finding in report.findings}
