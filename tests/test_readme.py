"""The README keeps its promises: its plugin works as it stands, its links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from helpers import SMALL

from hashzoo.testing import kit

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_plugin_of_the_readme_appears_in_a_bench(tiny, tmp_path, command):
    (about,), (code,) = blocks("toml"), blocks("python")
    assert len(code.strip().splitlines()) <= 10
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(about)
    (module,) = tomllib.loads(about)["project"]["entry-points"]["hashzoo"].values()
    (project / f"{module}.py").write_text(code)
    tiny.install(project)
    outcome = command(
        *("bench", "--method", "mine", "--bits", "16", "--dataset", "scenes", "--encoders", "tiny+bow"),
        *(word for setting in (*SMALL, "trainer.epochs=2") for word in ("--set", setting)),
    )
    assert outcome.code == 0, outcome.err
    assert re.search(r"^ *mine trainer.epochs=2 +\.\d{3} +\.\d{3}", outcome.out, flags=re.MULTILINE)


@pytest.mark.parametrize("page", [README, *sorted((README.parent / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_number_of_checks_is_the_real_one():
    assert f"{len(kit.checks())} checks in all" in TEXT
