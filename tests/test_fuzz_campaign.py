"""The campaign of benchmarks/fuzz.py counts what it feeds, keeps what it finds, and goes on where it was stopped."""

from __future__ import annotations

import importlib.util
import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import fuzzing
import pytest

from hashzoo.errors import HashzooError

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "fuzz.json"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("benchmarks_fuzz", ROOT / "benchmarks" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_limits(monkeypatch):
    """The limits are those of a child of the campaign, not of this process."""
    monkeypatch.setattr(resource, "setrlimit", lambda *given: None)


def read(content):
    if content.startswith(b"bad"):
        raise HashzooError(f"file {content[3:].decode()} is bad; mend it")
    if content == b"odd":
        raise KeyError("x")


def change(content, rng, times):
    return content + rng.randbytes(times)


FORM = fuzzing.Format([b"good"], read, change)


def test_a_part_counts_each_input_once_and_keeps_what_is_found(fuzz, tmp_path):
    part = fuzz.Part(tmp_path / "rows", "fast", 1)
    for content in (b"good", b"good", b"bad1", b"bad22", b"odd", b"odd", b"fine"):
        part.feed(FORM, content)
    part.tell()
    (told,) = fuzz.parts_of(tmp_path / "rows")
    assert (told["inputs"], told["read"]) == (5, 2)
    assert told["refusals"] == {"file  is bad; mend it": 2}
    (where,) = told["findings"]
    assert where.startswith("KeyError at ")
    kept = sorted((tmp_path / "rows" / "findings").iterdir())
    assert [path.suffix for path in kept] == ["", ".txt"]
    assert kept[0].read_bytes() == b"odd"
    assert "KeyError: 'x'" in kept[1].read_text()


def test_the_input_under_way_lies_beside_the_parts(fuzz, tmp_path):
    part = fuzz.Part(tmp_path / "rows", "fast", 1)
    part.feed(FORM, b"a longer one")
    part.feed(FORM, b"short")
    now = (tmp_path / "rows" / "now").read_bytes()
    assert now[8 : 8 + int.from_bytes(now[:8], "little")] == b"short"


def test_parts_are_added_up_and_shown(fuzz, tmp_path, capsys):
    for seed, phase in ((1, "guided"), (2, "fast")):
        part = fuzz.Part(tmp_path / "rows", phase, seed)
        for number in range(10 * seed):
            part.feed(FORM, b"good%d" % number if number % 2 else b"bad%d" % number)
        part.tell()
    (one,) = fuzz.record(tmp_path)["formats"]
    assert (one["inputs"], one["guided"], one["read"], one["kinds_of_refusal"]) == (30, 10, 15, 1)
    assert one["findings"] == []
    fuzz.show({"formats": [one]})
    assert "| rows | 30 | 10 | 50% | 1 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("had", "asked"), [([], ["guided 5", "fast 95"]), ([("guided", 5), ("fast", 60)], ["fast 35"])]
)
def test_a_format_goes_on_until_it_has_had_its_inputs(fuzz, tmp_path, monkeypatch, had, asked):
    place, started = tmp_path / "rows", []

    def fed(words, **given):
        phase, inputs = words[5].removeprefix("--phase="), int(words[6].removeprefix("--inputs="))
        started.append(f"{phase} {inputs}")
        tell(phase, inputs)
        return subprocess.CompletedProcess(words, 0)

    def tell(phase, inputs):
        part = fuzz.Part(place, phase, len(fuzz.parts_of(place)) + 1)
        part.inputs = inputs
        part.tell()

    for phase, inputs in had:
        tell(phase, inputs)
    fuzz.versions()  # which starts git
    monkeypatch.setattr(subprocess, "run", fed)
    given = {"folder": tmp_path, "inputs": 100, "guided": 5, "seconds": 60}
    assert fuzz.run(fuzz.argparse.Namespace(**given), "rows")
    assert started == asked


def test_a_process_that_ends_leaves_its_input_as_a_finding(fuzz, tmp_path, monkeypatch):
    place = tmp_path / "rows"
    part = fuzz.Part(place, "guided", 1)
    part.feed(FORM, b"the last one")
    part.inputs = 100
    part.tell()
    monkeypatch.setattr(subprocess, "run", lambda words, **given: subprocess.CompletedProcess(words, -11))
    given = {"folder": tmp_path, "inputs": 200, "guided": 5, "seconds": 60}
    assert not fuzz.run(fuzz.argparse.Namespace(**given), "rows")
    assert (place / "findings" / "exit-11").read_bytes() == b"the last one"


@pytest.mark.parametrize("change", [fuzzing.change_tar, fuzzing.change_array, fuzzing.change_toml, change])
def test_changes_are_drawn_by_a_seed(change, tmp_path):
    seeds = {fuzzing.change_tar: tar(tmp_path), fuzzing.change_array: array(tmp_path)}
    content = seeds.get(change, b'name = "x"\nbits = [8, 16]\n')
    drawn = [[change(content, random.Random(seed), 2) for seed in range(20)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 10


def tar(folder):
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("a", "b"):
            (folder / name).write_text(name * 100)
            archive.add(folder / name, name)
    return out.getvalue()


def array(folder):
    import numpy as np

    np.save(folder / "x.npy", np.arange(12).reshape(4, 3))
    return (folder / "x.npy").read_bytes()


def test_the_documented_table_is_that_of_the_record():
    words = [sys.executable, ROOT / "benchmarks" / "fuzz.py", "--read", RECORD]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown in (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    formats = json.loads(RECORD.read_text(encoding="utf-8"))["formats"]
    assert all(one["inputs"] > one["read"] > 0 and one["slowest_s"] < fuzzing.SECONDS for one in formats)
