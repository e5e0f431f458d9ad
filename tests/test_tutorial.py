"""The tutorial works as it stands: its files are written, its commands typed, its outputs compared, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers import SMALL, forget

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
# What a reader waits for and a test need not: pretrained weights and fine pictures.
LIGHT = ("--encoders", "lite0+bow", "--set", "image.weights=random", "--set", "image.pixels=32")
ROWS = re.compile(r"^ *(mine|random|chance|label)\b.* \.\d{3}", flags=re.MULTILINE)


class Reader:
    """Somebody who types what the tutorial says; `folder` is where, `said` what the last command printed."""

    def __init__(self, folder, site, command, monkeypatch):
        self.folder, self.site, self.command, self.monkeypatch = folder, site, command, monkeypatch
        self.said = ""

    def write(self, text: str) -> None:
        path = self.folder / text.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Fewer epochs than a reader gets: nothing here depends on how good the codes are.
        path.write_text(re.sub(r"(epochs: int = )\d+", r"\g<1>4", text), encoding="utf-8")

    def type(self, line: str) -> None:
        words = shlex.split(line)
        if words[0] == "mkdir":
            assert words == ["mkdir", words[1], "&&", "cd", words[1]]
            self.folder /= words[1]
            self.folder.mkdir()
        elif words[0] == "hashzoo":
            self.ask(words[1:])
        elif words == ["python", "-m", "pip", "install", "-e", "."]:
            self.install()
        else:
            assert words[:3] == ["python", "-m", "pytest"], f"the test does not know what {words[0]} does"
            here = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
            # The checks that train have run just before, as a command.
            chosen = [sys.executable, *words[1:], "-k", "plugin or dataset"]
            done = subprocess.run(chosen, cwd=self.folder, env=here, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            assert re.search(r"^\d\d passed", done.stdout, flags=re.MULTILINE), done.stdout

    def install(self) -> None:
        about = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        self.site._register(about["name"], about["version"], about["entry-points"]["hashzoo"])
        self.monkeypatch.syspath_prepend(self.folder / "src")

    def ask(self, words: list[str]) -> None:
        forget(self.folder)
        if words[0] == "bench" and "--encoders" not in words:
            words = [*words, *LIGHT, *(word for setting in SMALL for word in ("--set", setting))]
        outcome = self.command(*words)
        # A refusal is all on stderr; what a command that works says there is progress.
        self.said = outcome.err if outcome.code == 2 else outcome.out
        assert outcome.code in (0, 2), outcome.err

    def read(self, shown: str) -> None:
        """What the page shows as output: of a table the rows, whose numbers are one machine's; all else as it is."""
        if shown.startswith("mAP"):
            assert ROWS.findall(shown) == ROWS.findall(self.said)
            assert ROWS.findall(shown)[:2] == ["mine", "random"]
        elif "checks ran" in shown:
            assert self.said.splitlines()[-1] == shown.strip()
        else:
            assert [line.rstrip() for line in self.said.strip().splitlines()] == shown.strip().splitlines()


@pytest.mark.slow
def test_the_tutorial_works_from_top_to_bottom(site, command, monkeypatch, tmp_path):
    reader = Reader(tmp_path, site, command, monkeypatch)
    for language, text in BLOCKS:
        if language in ("toml", "python"):
            reader.write(text)
        elif language == "sh":
            for line in text.splitlines():
                reader.type(line)
        else:
            assert language == "text"
            reader.read(text)
    assert {path.name for path in (tmp_path / "hashzoo-mine" / "src" / "hashzoo_mine").glob("*.py")} == {
        *("__init__.py", "loss.py", "trainer.py", "encoder.py", "dataset.py")
    }


def test_nothing_of_the_tutorial_is_left_untested():
    fences = PAGE.read_text(encoding="utf-8").count("```")
    assert fences == 2 * len(BLOCKS)
    assert not re.search(r"^ {4}\S", re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
