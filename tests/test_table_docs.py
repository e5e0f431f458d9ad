"""docs/datasets.md, "Your own data": its table is read, its commands and its Python work as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from hashzoo.data.table import Table
from hashzoo.settings import keywords

PAGE = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## Your own data\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE).group(1)


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", SECTION, flags=re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(autouse=True)
def photos(tiny, tmp_path):
    (tmp_path / "photos.csv").write_text(block("csv"))
    (tmp_path / "photos").mkdir()
    for row in range(6):
        Image.new("RGB", (8, 8), (40 * row, 0, 0)).save(tmp_path / "photos" / f"{row}.png")
    (tmp_path / "leaky.json").write_text('{"train": [0, 1, 2, 3], "query": [0, 4, 5]}')


@pytest.mark.parametrize("line", block("sh").splitlines())
def test_its_commands_work(line, command):
    outcome = command(*shlex.split(line)[1:])
    assert outcome.code == 0, outcome


def test_its_leak_is_refused_and_marked(command):
    words = shlex.split(block("sh leaks"))[1:]
    assert command(*words[:-1]).code == 2
    assert "! overlap: 1 of 3 query rows are also in 'train'" in command(*words).out


def test_its_python_works():
    names: dict[str, object] = {}
    exec(block("python"), names)
    assert names["result"]["track"]["dataset"] == "photos"


def test_it_lists_every_setting():
    listed = set(re.findall(r"`(?:dataset)?\.(\w+)`", SECTION))
    assert set(keywords(Table)) <= listed
