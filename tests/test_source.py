"""An edited plugin has another digest; one that was only touched, moved or looked at has not."""

from __future__ import annotations

import email
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest
from helpers import HERE, forget

from hashzoo import source, zoo
from hashzoo.benches import plan
from hashzoo.benches.track import evaluator_digest
from hashzoo.benches.workbench import core_digest
from hashzoo.errors import HashzooError

TWO_PARTS = (
    "from hashzoo.plugin import Part, hookimpl\nHASHZOO_API = 1\n"
    "@hookimpl\ndef hashzoo_losses():\n    return [Part('mine', '{}:Loss', '')]\n"
)


def digest_of(site, name) -> str:
    """The digest that a new process would see."""
    forget(site.folder)
    (found,) = [p for p in zoo.load().plugins if p.name == name]
    assert found.state == "ok", found.reason
    return found.source_digest()


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("parts.py", True),
        ("__init__.py", True),
        ("constants.json", True),
        ("inner/new.py", True),
        ("inner/constants.yaml", True),
        ("__pycache__/parts.cpython-399.pyc", False),
        ("parts.pyc", False),
        (".parts.py.swp", False),
        (".ipynb_checkpoints/parts.py", False),
        ("parts.py~", False),
    ],
)
def test_what_counts_as_source(path, counts, tiny):
    before = digest_of(tiny, "tiny")
    file = tiny.folder / "hashzoo_tiny" / path
    file.parent.mkdir(exist_ok=True)
    with open(file, "a") as out:
        out.write("\n")
    assert (digest_of(tiny, "tiny") != before) is counts


def test_a_touched_or_moved_plugin_keeps_its_digest(tiny):
    before = digest_of(tiny, "tiny")
    os.utime(tiny.folder / "hashzoo_tiny" / "parts.py", (1, 1))
    assert digest_of(tiny, "tiny") == before
    elsewhere = tiny.folder.with_name("elsewhere")
    forget(tiny.folder)
    tiny.folder.rename(elsewhere)
    sys.path.insert(0, str(elsewhere))
    try:
        assert digest_of(type(tiny)(elsewhere), "tiny") == before
    finally:
        sys.path.remove(str(elsewhere))
        forget(elsewhere)


@pytest.mark.parametrize("named", [True, False])
def test_a_second_module_of_the_distribution_counts(named, site):
    """Also one that no target names: the list of files of the installation does."""
    project = site.folder.with_name("project")
    (project / "hashzoo_two").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "hashzoo-two"\nversion = "1.0"\n[project.entry-points.hashzoo]\ntwo = "hashzoo_two"\n'
    )
    target = "two_more" if named else "hashzoo_two"
    (project / "hashzoo_two" / "__init__.py").write_text(TWO_PARTS.format(target))
    (project / "two_more.py").write_text("a = 1\n")
    site.install(project)
    if named:  # as of an editable installation, which lists no sources
        (site.folder / "hashzoo_two-1.0.dist-info" / "RECORD").write_text("")
    before = digest_of(site, "two")
    (site.folder / "two_more.py").write_text("a = 2\n")
    assert digest_of(site, "two") != before


def test_what_the_builder_noted_down_counts(site):
    """An editable installation lists no sources, but setuptools notes the top-level modules down."""
    site.write("hashzoo-noted", "noted", TWO_PARTS.format("noted"))
    info = site.folder / "hashzoo_noted-1.0.dist-info"
    (info / "top_level.txt").write_text("noted\nnoted_too\nnamespace_without_file\n")
    (info / "RECORD").write_text("__editable___hashzoo_noted_1_0_finder.py,,\n__editable__.hashzoo_noted-1.0.pth,,\n")
    (site.folder / "noted_too.py").write_text("")
    before = digest_of(site, "noted")
    (site.folder / "__editable___hashzoo_noted_1_0_finder.py").write_text("MAPPING = '/home/a'\n")
    assert digest_of(site, "noted") == before
    (site.folder / "noted_too.py").write_text("a = 2\n")
    assert digest_of(site, "noted") != before


def test_finding_the_source_imports_nothing(site):
    site.write("hashzoo-lazy", "lazy", TWO_PARTS.format("heavy_package.parts"))
    (site.folder / "heavy_package").mkdir()
    (site.folder / "heavy_package" / "__init__.py").write_text("raise ImportError\n")
    before = digest_of(site, "lazy")
    assert "heavy_package" not in sys.modules
    (site.folder / "heavy_package" / "parts.py").write_text("")
    assert digest_of(site, "lazy") != before


def test_targets_that_do_not_exist_are_told_when_they_are_used(site):
    site.install(HERE / "plugins_broken" / "target_to_nothing")
    assert len(digest_of(site, "target_to_nothing")) == 64


def test_a_package_inside_a_namespace_is_digested_alone(site):
    """What the hooks name lies beside them: `my_package.plugin` names `my_package.loss:Loss`."""
    package = site.folder / "namespace" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "loss.py").write_text("a = 1\n")
    (package / "plugin.py").write_text(TWO_PARTS.format("namespace.my_package.loss"))
    site._register("hashzoo-mine", "1.0", {"mine": "namespace.my_package.plugin"})
    before = digest_of(site, "mine")
    (package / "loss.py").write_text("a = 2\n")
    changed = digest_of(site, "mine")
    assert changed != before
    (site.folder / "namespace" / "another_distribution.py").write_text("")
    assert digest_of(site, "mine") == changed


def test_a_plugin_may_be_a_single_module(site):
    file = site.folder / "one_file.py"
    file.write_text(TWO_PARTS.format("one_file"))
    site._register("hashzoo-one", "1.0", {"one": "one_file"})
    before = digest_of(site, "one")
    file.write_text(file.read_text() + "# edited\n")
    assert digest_of(site, "one") != before


def test_a_file_that_cannot_be_read_stops_nobody(tiny, monkeypatch):
    def refuse(*arguments):
        raise PermissionError

    before = digest_of(tiny, "tiny")
    monkeypatch.setattr(source, "file_digest", refuse)
    assert digest_of(tiny, "tiny") != before


def test_the_source_of_an_unknown_module_is_an_error():
    with pytest.raises(HashzooError, match="the source of 'no_such_module' cannot be found"):
        zoo.source_digest("no_such_module")


def test_only_some_files_of_a_package(site):
    package = site.folder / "some"
    package.mkdir()
    for name in ("__init__.py", "a.py", "b.py"):
        (package / name).write_text("")
    before = source.source_digest("some", "a.py")
    (package / "b.py").write_text("b = 1\n")
    forget(site.folder)
    assert source.source_digest("some", "a.py") == before
    (package / "a.py").write_text("a = 1\n")
    forget(site.folder)
    assert source.source_digest("some", "a.py") != before
    assert Path(package, "a.py").exists()


def test_hashzoos_own_source_is_no_part_of_a_plugins():
    """Methods name its heads by default, and the run keeps the digest of the core beside."""
    assert source.plugin_digest("hashzoo-none", ["hashzoo.model"]) == source.plugin_digest("hashzoo-none", [])


def test_every_file_that_digests_are_to_cover_is_there(monkeypatch):
    """A pattern that names no file, as after a module was moved, would leave its code out without a word."""
    covered = []
    monkeypatch.setattr(zoo, "source_digest", lambda name, *only: covered.extend(only) or "")
    for digests in (core_digest, evaluator_digest, lambda: plan.sources.__wrapped__(zoo.load())):
        before = len(covered)
        digests()
        assert len(covered) > before
    root = Path(source.__file__).parent
    assert [pattern for pattern in covered if not any(root.glob(pattern))] == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n\nName: of the description\nVersion: 7\n"),
        ("METADATA", "Metadata-Version: 2.1\r\nversion:1.0\r\nNAME:\tmine\r\n\r\nVersion: 7\r\n"),
        ("PKG-INFO", "Name: mine\nVersion: 1.0\nVersion: 2.0"),
        ("METADATA", "Summary: of nobody\n Name: mine\n"),
        ("METADATA", ""),
    ],
)
def test_name_and_version_are_what_a_parser_finds(file, text, tmp_path):
    (tmp_path / "a.dist-info").mkdir()
    (tmp_path / "a.dist-info" / file).write_bytes(text.encode())
    (found,) = metadata.distributions(path=[str(tmp_path)])
    fields = email.message_from_string(text)
    assert source._name_and_version(found) == f"{fields['Name']}=={fields['Version']}"


def test_what_a_package_brings_along_is_no_part_of_the_environment(tmp_path, monkeypatch):
    source.environment.cache_clear()
    before = source.environment()
    for place, counts in (("package/vendored", False), ("site", True)):
        about = tmp_path / place / "extra-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
        (tmp_path / "package" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path / place)
        source.environment.cache_clear()
        assert (source.environment() != before) is counts
    source.environment.cache_clear()
