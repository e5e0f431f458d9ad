"""The campaign of benchmarks/fuzz.py counts what it feeds, keeps what it finds, and goes on where it was stopped."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import fuzz_changes
import fuzzing
import numba
import pyarrow
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


@pytest.fixture
def campaign(fuzz, tmp_path):
    """A campaign of 100 inputs of each format, 5 of them guided."""
    return fuzz.argparse.Namespace(folder=tmp_path, inputs=100, guided=5, seconds=60, phase="fast", formats=["rows"])


def told(fuzz, campaign, name, phase, inputs):
    part = fuzz.Part(campaign.folder / name, phase, len(fuzz.parts_of(campaign.folder / name)) + 1)
    part.inputs = inputs
    part.tell()


def test_formats_go_on_until_they_have_had_their_inputs(fuzz, campaign, monkeypatch):
    started = []

    def fed(words, **given):
        phase = next(word.removeprefix("--phase=") for word in words if word.startswith("--phase="))
        for name in words[2 : words.index("--folder")]:
            left = fuzz.missing(campaign, name)[phase]
            started.append(f"{phase} {name} {left}")
            told(fuzz, campaign, name, phase, left)
        return subprocess.CompletedProcess(words, 0)

    told(fuzz, campaign, "rows", "guided", 5)
    told(fuzz, campaign, "rows", "fast", 60)
    monkeypatch.setattr(subprocess, "run", fed)
    assert fuzz.run(campaign, ["rows", "zip"])
    assert started == ["guided zip 5", "fast rows 35", "fast zip 95"]
    assert fuzz.run(campaign, ["rows", "zip"])
    assert len(started) == 3


@pytest.mark.parametrize("ends", [False, True])
def test_a_format_is_fed_in_a_fork_and_the_input_that_ends_it_is_kept(fuzz, campaign, monkeypatch, ends):
    def read(content):
        if ends:
            os.kill(os.getpid(), signal.SIGKILL)

    form = fuzzing.Format([b"good"], read, change)
    monkeypatch.setattr(fuzz, "ready", lambda *names: {"rows": form})
    monkeypatch.setattr(fuzz.faulthandler, "enable", lambda: None)
    monkeypatch.setattr(numba, "set_num_threads", lambda count: None)
    monkeypatch.setattr(pyarrow, "set_cpu_count", lambda count: None)
    (campaign.folder / "fast.log").write_bytes(b"")
    fork, timers = os.fork, []

    def timed():
        process = fork()
        if process:
            timers.append(threading.Timer(60, os.kill, (process, signal.SIGKILL)))
            timers[-1].start()
        return process

    monkeypatch.setattr(os, "fork", timed)
    with warnings.catch_warnings():
        assert fuzz.child(campaign) == ends
    for timer in timers:
        timer.cancel()
    parts = fuzz.parts_of(campaign.folder / "rows")
    assert [part["inputs"] for part in parts] == ([] if ends else [100])
    assert {path.name for path in campaign.folder.glob("rows/findings/*")} == (
        {"exit-9", "exit-9.txt"} if ends else set()
    )


@pytest.mark.parametrize("kind", ["json", "json_lines", "toml", "lines", "array", "tar", "bytes"])
def test_changes_are_drawn_by_a_seed(kind, tmp_path):
    texts = {"json": b'{"a": 1, "b": [2, "c"]}', "json_lines": b'{"a": 1}\n{"b": "c"}\n'}
    made = {"tar": tar, "array": array}
    content = made[kind](tmp_path) if kind in made else texts.get(kind, b'name = "x"\nbits = [8, 16]\n')
    change_once = getattr(fuzz_changes, f"change_{kind}")
    drawn = [[change_once(content, random.Random(seed), 2) for seed in range(20)] for _ in range(2)]
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
    assert all(one["inputs"] >= one["read"] > 0 and one["slowest_s"] < fuzzing.SECONDS for one in formats)
