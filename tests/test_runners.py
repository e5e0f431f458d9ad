"""Cells side by side give what cells one after the other give; a worker that is lost loses its cell, for a moment."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import HERE, SMALL

from hashzoo import runners
from hashzoo.benches.benchmark import Request, _plans, bench
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.processors import PROCESSORS
from hashzoo.report import collect, make_table
from hashzoo.runners import Kind, cells, processes, worker
from hashzoo.settings import parse_assignments

DEADLY = '''
import os, signal
from pathlib import Path
from hashzoo import Trainer

class Deadly(Trainer):
    """Ends its process at 8 bits, always; at others it is killed in the middle of its first training."""
    def fit(self, job):
        print("a method that prints")
        job.log(epoch=1, loss=0.5)
        if job.bits == 8:
            os._exit(9)
        mark = Path("killed")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return job.towers()
'''
DEADLY_PLUGIN = """
from hashzoo.plugin import Method, Part, hookimpl
HASHZOO_API = 1

@hookimpl
def hashzoo_trainers():
    return [Part("deadly", "hashzoo_deadly.parts:Deadly", "ends its process")]

@hookimpl
def hashzoo_methods():
    return [Method("deadly", "tiny", "bow", trainer="deadly", settings={"text.size": 64})]
"""


def run(jobs, runs="runs", methods=("toy",), bits=(8, 16), **options):
    asked = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL, "runs": runs, **options}
    return bench(methods, bits, jobs=jobs, **asked)


def same_files(one, other):
    for name in ("codes.npz", "per_query.npz", "model.safetensors"):
        assert Path(one["run"], name).read_bytes() == Path(other["run"], name).read_bytes()


def table_of(found):
    """The table without its seconds."""
    table = make_table(found)
    return replace(table, rows=tuple(replace(row, seconds="") for row in table.rows))


def test_two_processes_make_the_bytes_and_the_table_that_one_makes(tiny, capfd):
    tiny.install(HERE / "plugins_broken" / "exits")
    seen = []
    swept = {"sweep": {"trainer.epochs": [1, 2], "image_head.hidden": [0, 8]}}
    together = run(2, "together", bits=(8,), **swept, watch=seen.append)
    assert capfd.readouterr().err.count("plugin 'exits'") == 1  # told once: no worker tries it again
    alone = run(1, "alone", bits=(8,), **swept)
    assert table_of(together) == table_of(alone)
    for one, other in zip(together["results"], alone["results"], strict=True):
        assert one["key"] == other["key"]
        same_files(one, other)
    assert (seen[0].kind, seen[0].content) == ("workers", {"runner": "processes", "workers": 2, "cells": 5})
    assert sorted(event.number for event in seen if event.kind == "done") == [1, 2, 3, 4, 5]
    assert {event.number for event in seen if event.kind == "epoch"} == {1, 2, 3, 4}
    again = run(2, "together", bits=(8,), **swept)
    assert all(result["reused"] for result in again["results"])
    assert make_table(again) == make_table(together)


def test_cells_that_are_alike_are_trained_once(tiny):
    seen = []
    words = {"sweep": {"trainer.lr": ["0.01", "1e-2"]}}
    found = run(None, bits=(8,), runner="local", **words, watch=seen.append)
    assert [result["method"] for result in found["results"]] == ["toy", "random"]
    assert [event.number for event in seen if event.kind == "start"] == [1, 3]
    assert sorted(event.number for event in seen if event.kind == "done") == [1, 2, 3]


def test_a_worker_that_is_killed_loses_its_cell_and_no_other(tiny, monkeypatch, capfd):
    """One cell ends its process always, one is killed in the middle of its first training, one raises an error."""
    tiny.write("hashzoo-deadly", "hashzoo_deadly", DEADLY_PLUGIN, DEADLY)
    monkeypatch.setattr(processes, "TRIES", 2)
    seen = []
    found = run(2, methods=("deadly", "fragile"), bits=(8, 32), watch=seen.append)
    assert [(one["method"], one["bits"], one["status"], one.get("reason")) for one in found["results"]] == [
        ("deadly", 8, "failed", "its worker process was lost 2 times, ended with exit code 9"),
        ("deadly", 32, "ok", None),
        ("fragile", 8, "ok", None),
        ("fragile", 32, "failed", "RuntimeError: cannot make 32 bits of [/this]"),
        ("random", 8, "ok", None),
        ("random", 32, "ok", None),
    ]
    assert sorted(event.number for event in seen if event.kind == "done") == [1, 2, 3, 4, 5, 6]
    lost = [(event.number, event.content["times"], event.content["reason"]) for event in seen if event.kind == "lost"]
    assert sorted(lost) == [
        (1, 1, "ended with exit code 9"),
        (1, 2, "ended with exit code 9"),
        (2, 1, "ended by SIGKILL, often for lack of memory"),
    ]
    failed = found["results"][0]
    assert Path(failed["run"], "error.txt").read_text() == failed["reason"]
    (shown,) = collect(Path("runs"))
    assert failed["reason"] in {result.get("reason") for result in shown["results"]}
    printed = capfd.readouterr()
    assert "a method that prints" in printed.err
    assert printed.out == ""


def test_a_worker_goes_on_with_what_is_kin_to_its_last_task_and_keeps_away_from_the_others():
    """Tasks "method seed", which two workers finish in turn."""
    tasks = [f"{method} {seed}" for method in "ab" for _ in range(2) for seed in range(2)]
    pool = processes._Pool("", 2)
    pool._kin = {number: tuple(task.split()) for number, task in enumerate(tasks)}
    pool._waiting, pool._lost = deque(pool._kin), Counter()
    pool._workers = [SimpleNamespace(kin=()), SimpleNamespace(kin=())]
    done = {0: [], 1: []}
    for turn in range(len(tasks)):
        one = pool._workers[turn % 2]
        number = pool._next(one)
        one.kin = pool._kin[number]
        done[turn % 2].append(tasks[number])
    assert done == {0: ["a 0", "a 0", "a 1", "a 1"], 1: ["b 0", "b 0", "b 1", "b 1"]}
    # One that was lost, and those that are kin to none, go first come, first served.
    pool._waiting, pool._lost = deque([3, 0, 1]), Counter([3])
    pool._workers[0].kin = ("a", "0")
    assert pool._next(pool._workers[0]) == 3
    pool._kin = {7: (), 8: ()}
    pool._waiting = deque(pool._kin)
    assert [pool._next(one) for one in pool._workers] == [7, 8]


def test_what_stops_a_bench_stops_it_in_a_worker(tiny):
    """A disk that is full, here a folder that is a file, is no fault of one cell."""
    (track,) = {Path(r["run"]).parents[1] for r in run(1, methods=("random",))["results"]}
    (track / "toy").write_text("in the way")
    with pytest.raises(HashzooError, match="toy.* cannot be written"):
        run(1, runner="processes")
    assert not multiprocessing.active_children()


def test_few_cells_and_trained_encoders_stay_in_this_process(tiny, monkeypatch):
    monkeypatch.setattr(runners, "available_threads", lambda: 8)
    made = []
    monkeypatch.setattr(cells, "train", lambda runner, *rest, **more: made.append((runner.name, runner.jobs)))
    for options in ({"bits": (8,)}, {}, {"bits": (8,), "runner": "processes"}, {"runner": "local"}):
        with pytest.raises(KeyError):  # nothing was trained, so there is no result to collect
            run(None, **{"bits": (8, 16, 24), **options})
    assert made == [("local", 1), ("processes", 3), ("processes", 2), ("local", 1)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--runner", "proceses"], "no runner is called 'proceses'; did you mean processes?"),
        (["--runner", "local", "--jobs", "2"], "leave --jobs out, or type --runner processes"),
        (["--ray-address", "auto"], "type --runner ray --ray-address auto"),
        (["--runner", "ray"], "run: pip install 'hashzoo[ray]'"),
    ],
)
def test_what_is_refused(options, said, tiny, sentence, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    assert said in sentence("bench", "--method", "toy", *options)
    assert not Path("runs").exists()


def test_a_data_set_that_is_an_object_is_trained_here(tiny):
    data = open_dataset("scenes", parse_assignments(SMALL, [], ["dataset"]))
    with pytest.raises(HashzooError, match="as an object; leave jobs and runner out"):
        bench(["toy"], [8], dataset=data, encoders="tiny+bow", runner="processes")


def test_a_system_without_room_for_a_worker_is_one_sentence(tiny, monkeypatch):
    def start(self):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(processes.SpawnProcess, "start", start)
    with pytest.raises(HashzooError, match=r"cannot be started \(Resource temp.*unavailable\); give fewer --jobs") as e:
        run(1, bits=(8,), runner="processes")
    assert e.value.exit_code == 1


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows sends no SIGINT to others")
def test_a_worker_leaves_an_interrupt_to_the_command_from_its_first_moment(tmp_path, capfd):
    one = processes._Worker.start(json.dumps({"environment": {}}))
    try:
        for _ in range(12):
            os.kill(one.process.pid, signal.SIGINT)
            time.sleep(0.05)
        assert one.process.is_alive()
    finally:
        one.end()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert "KeyboardInterrupt" not in capfd.readouterr().err


def test_workers_that_cannot_be_started_are_one_sentence(tiny, monkeypatch):
    monkeypatch.setattr(processes, "_serve", len)  # which refuses what a worker is given
    with pytest.raises(HashzooError, match=r"cannot be started \(ended with exit code 1\).* __name__ == '__main__'"):
        run(1, bits=(8,), runner="processes")


@pytest.mark.parametrize(
    "asked", [{"folds": 2}, {"stream": Stream(chunk=30)}, {"sweep": {"dataset.pixels": ["16", "24"]}}]
)
def test_a_worker_makes_the_plans_that_the_bench_has(asked, tiny, monkeypatch):
    for name in ("HASHZOO_BLOCK", PROCESSORS):  # which a worker sets, in a process of its own
        monkeypatch.setenv(name, "")
    settings = ["dataset.pairs=100", "dataset.difficulty=0"]
    request = Request(["toy"], [8, 16], "scenes", "tiny+bow", settings=settings, **asked)
    plans = _plans(request, None)
    kind = Kind("hashzoo.runners.cells:Cells", {"plans": [cells._words_of(plan) for plan in plans]}, lambda: 1 / 0)
    made = worker.doer_of(worker.orders_for(kind, {}))
    for number, plan in enumerate(plans):
        other = made.plan_of(number)
        assert other.track.id == plan.track.id
        assert [other.request(cell) for cell in other.cells] == [plan.request(cell) for cell in plan.cells]
        assert [cells.cell_of(json.loads(json.dumps(asdict(cell)))) for cell in plan.cells] == plan.cells


def test_a_node_that_cannot_make_the_same_runs_says_so(tmp_path):
    track = SimpleNamespace(id="track")
    plan = SimpleNamespace(runs=tmp_path, mirror=None, track=track, request=lambda cell: "other")
    cells.check_same(SimpleNamespace(mirror="of an address", request=lambda cell: "this"), None, "this")
    with pytest.raises(HashzooError, match="does not see the runs folder .* give --runs a folder that all nodes share"):
        cells.check_same(plan, None, "this")
    (tmp_path / "track").mkdir()
    (tmp_path / "track" / "track.json").touch()
    with pytest.raises(HashzooError, match="other packages, plugins or files .* install the same on both"):
        cells.check_same(plan, None, "this")
    with pytest.raises(HashzooError, match="has no folder /nowhere; type the command in a folder that all nodes share"):
        worker.doer_of(json.dumps({"folder": "/nowhere"}))


@pytest.mark.slow
def test_workers_end_with_a_bench_that_is_killed(tiny, tmp_path):
    command = (
        "import sys; from hashzoo.benches.benchmark import bench\n"
        f"bench(['toy'], [8, 16], dataset='scenes', encoders='tiny+bow', jobs=2, "
        f"settings={[*SMALL, 'trainer.epochs=100000']!r})"
    )
    script = tmp_path / "script.py"
    script.write_text(f"if __name__ == '__main__':\n    {command.replace(chr(10), chr(10) + '    ')}\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tiny.folder), *sys.path])}
    started = subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while len(list(Path("runs").glob("*/toy/*/train.jsonl"))) < 2 and time.monotonic() < deadline:
            assert started.poll() is None
            time.sleep(0.2)
        started.send_signal(signal.SIGKILL)
        started.wait()
        deadline = time.monotonic() + 60
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
