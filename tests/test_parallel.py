"""Cells side by side give what cells one after the other give, and their faults are told in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import HERE, SMALL

from hashzoo import benchmark, parallel
from hashzoo.benchmark import bench
from hashzoo.errors import HashzooError

DEADLY = '''
import os
from hashzoo import Trainer

class Deadly(Trainer):
    """Ends its process, as the system does when memory is short."""
    def fit(self, job):
        os._exit(9)
'''
DEADLY_PLUGIN = """
from hashzoo.plugin import Method, Part, hookimpl
HASHZOO_API = 1

@hookimpl
def hashzoo_trainers():
    return [Part("deadly", "hashzoo_deadly.parts:Deadly", "ends its process")]

@hookimpl
def hashzoo_methods():
    return [Method("deadly", "tiny", "bow", trainer="deadly")]
"""


def run(jobs, runs="runs", methods=("toy",), bits=(8, 16), **options):
    asked = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL, "runs": runs, **options}
    return bench(methods, bits, jobs=jobs, **asked)


def test_two_processes_make_the_bytes_that_one_makes(tiny, capfd):
    tiny.install(HERE / "plugins_broken" / "exits")
    seen = []
    together = run(2, "together", watch=seen.append)["results"]
    assert capfd.readouterr().err.count("plugin 'exits'") == 1  # told once: no worker tries it again
    alone = run(1, "alone")["results"]
    assert [(r["method"], r["bits"]) for r in together] == [(r["method"], r["bits"]) for r in alone]
    for one, other in zip(together, alone, strict=True):
        assert one["key"] == other["key"]
        for name in ("codes.npz", "per_query.npz", "model.safetensors"):
            assert Path(one["run"], name).read_bytes() == Path(other["run"], name).read_bytes()
    assert seen[0].content == {"jobs": 2, "cells": 4}
    assert sorted(event.number for event in seen[1:]) == [1, 2, 3, 4]
    again = run(2, "together")
    assert all(result["reused"] for result in again["results"])


def test_a_cell_that_fails_in_a_worker_is_kept_and_the_others_go_on(tiny):
    outcome = run(2, methods=("fragile",), bits=(16, 32))
    assert [(r["method"], r["bits"], r["status"]) for r in outcome["results"]] == [
        ("fragile", 16, "ok"),
        ("fragile", 32, "failed"),
        ("random", 16, "ok"),
        ("random", 32, "ok"),
    ]


def test_a_worker_that_dies_is_one_sentence(tiny):
    tiny.write("hashzoo-deadly", "hashzoo_deadly", DEADLY_PLUGIN, DEADLY)
    with pytest.raises(HashzooError, match="ended from outside, often for lack of memory") as refused:
        run(2, methods=("deadly",))
    assert refused.value.exit_code == 1


def test_few_cells_and_trained_encoders_stay_in_this_process(tiny, monkeypatch):
    monkeypatch.setattr(benchmark, "available_threads", lambda: 8)
    monkeypatch.setattr(parallel, "train", lambda *a: pytest.fail("no worker was needed"))
    run(None, bits=(8,))
    jobs = []
    monkeypatch.setattr(parallel, "train", lambda plans, tasks, fresh, n, done: jobs.append(n))
    with pytest.raises(KeyError):  # nothing was trained, so there is no result to collect
        run(None, "many", bits=(8, 16, 24))
    assert jobs == [3]


@pytest.mark.slow
def test_workers_end_with_a_bench_that_is_killed(tiny, tmp_path):
    command = (
        "import sys; from hashzoo.benchmark import bench\n"
        f"bench(['toy'], [8, 16], dataset='scenes', encoders='tiny+bow', jobs=2, "
        f"settings={[*SMALL, 'trainer.epochs=100000']!r})"
    )
    script = tmp_path / "script.py"
    script.write_text(f"if __name__ == '__main__':\n    {command.replace(chr(10), chr(10) + '    ')}\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tiny.folder), *sys.path])}
    started = subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while len(list(Path("runs").glob("*/toy/*/train.jsonl"))) < 2 and time.monotonic() < deadline:
            assert started.poll() is None
            time.sleep(0.2)
        started.send_signal(signal.SIGKILL)
        started.wait()
        while _group(started.pid) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not _group(started.pid)
    finally:
        if _group(started.pid):
            os.killpg(started.pid, signal.SIGKILL)


def _group(leader: int) -> bool:
    """Whether a process group still has a process that runs."""
    states = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout.split("\n")
    found = [line.split() for line in states if line.strip()]
    return any(int(group) == leader and not state.startswith("Z") for group, state in found)
