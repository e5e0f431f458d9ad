"""A real Ray cluster of two nodes on this machine. One is killed in the middle of a bench; the other goes on alone."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import SMALL
from test_encode import files_of, folder_of_pictures
from test_runners_parts import MORTAL, cached
from test_runners_parts import PLUGIN as MORTAL_PLUGIN

import hashzoo
from hashzoo.errors import HashzooError
from hashzoo.runners import ray_tasks

LIMIT = 240  # seconds for all of it; two free processors take a quarter of that
WAITS = '''
import os, time
from pathlib import Path
import ray
from hashzoo import Trainer

class Waits(Trainer):
    """On the node that is to be killed it trains until it is; on the other one until that has a cell, too."""
    def fit(self, job):
        job.log(epoch=1, loss=0.5)
        if ray.is_initialized():
            if job.bits == 24:
                os._exit(9)
            doomed = ray.get_runtime_context().get_node_id() == Path("doomed").read_text()
            if doomed:
                Path("caught").touch()
            while doomed or not Path("caught").exists():
                time.sleep(0.1)
        return job.towers()
'''
PLUGIN = """
from hashzoo.plugin import Method, Part, hookimpl
HASHZOO_API = 1

@hookimpl
def hashzoo_trainers():
    return [Part("waits", "hashzoo_waits.parts:Waits", "trains until it is killed")]

@hookimpl
def hashzoo_methods():
    return [Method("waits", "tiny", "bow", trainer="waits", settings={"text.size": 64, "image_head.hidden": 0})]
"""
SCRIPT = f"""
import json, os, threading, time
from pathlib import Path
from hashzoo.source import environment
environment()  # as a process has it that has not imported Ray
import ray
from ray.cluster_utils import Cluster
from hashzoo.inference import encoding
from hashzoo.storage import arrays
from hashzoo.benches.benchmark import bench
from hashzoo.errors import HashzooError
from hashzoo.features.export import export
from hashzoo.inference.filling import encode
from hashzoo.opening import open_dataset
from hashzoo.runners import ray_data, ray_tasks
from hashzoo.settings import parse_assignments

NODE = {{"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}}
ASKED = {{"dataset": "scenes", "encoders": "tiny+bow", "settings": {list(SMALL)!r}}}

def started():
    # Ray waits 30 seconds for its own processes, which a busy machine may not give them.
    for tries in (1, 2, 3):
        try:
            return Cluster(initialize_head=True, head_node_args=NODE)
        except Exception:
            if tries == 3:
                raise

class Board(ray_tasks.Board):
    # Its process ends the first time that a worker asks it.
    def begin(self, turn, number, token):
        if not Path("board").exists():
            Path("board").touch()
            os._exit(9)
        return super().begin(turn, number, token)

def kill(cluster, node):
    while not Path("caught").exists():
        time.sleep(0.2)
    time.sleep(1)
    cluster.remove_node(node, allow_graceful=False)

def features(folder, where):
    export("scenes", "mortal+bow", Path(folder), settings={list(SMALL)!r}, batch_size=8, **where)

def parts(where, suffix):
    # What is said of a part that ends every worker; then one worker is killed for features, and one for codes.
    arrays.PART, encoding.PART, encoding.GROUP = 20, 3, 6
    os.environ["HASHZOO_CACHE"] = "cache " + suffix
    said = ""
    if where:
        image = open_dataset("scenes", parse_assignments({list(SMALL)!r}, [])).image(30)
        Path("poison").write_bytes(image.tobytes())
        try:
            features("features " + suffix, where)
        except HashzooError as error:
            said = str(error)
        Path("poison").unlink()
    Path("kill").write_text(str(os.getpid()))
    features("features " + suffix, where)
    killed = not Path("kill").exists()
    run = Path("the run").read_text()
    Path("kill").write_text(str(os.getpid()))
    _, filled = encode(run, "codes " + suffix, {{"images": "pictures"}}, **where)
    return said, killed and not Path("kill").exists(), filled.added, list(filled.left_out)

def main():
    data = ASKED | {{"encoders": "mortal+bow", "threads": 1}}
    made = bench(["toy"], [16], **data, runs="first", runner="local")
    Path("the run").write_text(made["results"][0]["run"])
    cluster = started()
    second = cluster.add_node(**NODE)
    Path("doomed").write_text(second.node_id)
    on_cluster = ASKED | {{"runner": "ray", "ray_address": cluster.address}}
    threading.Thread(target=kill, args=(cluster, second), daemon=True).start()
    ray_tasks.TRIES = ray_data.TRIES = 2
    ray_tasks.Board = Board
    events = []
    together = bench(["waits"], [8, 16, 24], **on_cluster, jobs=None, runs="together", watch=events.append)
    ray_tasks.PATIENCE = 0
    try:
        bench(["waits"], [8], **on_cluster, threads=64, runs="large")
        refused = ""
    except HashzooError as error:
        refused = str(error)
    ray_tasks.PATIENCE = 60
    alone = bench(["waits"], [8, 16], **ASKED, runs="alone")  # before the parts, which have caches of their own
    # As a program does that has called ray.init: all parts are of one job, whose workers are used again.
    ray.init(cluster.address, log_to_driver=False)
    by_ray = parts({{"runner": "ray"}}, "ray")
    assert ray.is_initialized()
    ray.shutdown()
    cluster.shutdown()
    parts({{}}, "alone")
    told = [[event.kind, event.number, event.content] for event in events]
    Path("found.json").write_text(json.dumps([together, alone, told, refused, by_ray]))

if __name__ == "__main__":
    main()
"""


def test_a_gpu_is_given_by_ray_and_not_named():
    runner = ray_tasks.RayTasks(None, "")
    assert [runner.gpu(device) for device in ("cpu", "cuda")] == [False, True]
    with pytest.raises(HashzooError, match="type --device cuda, not cuda:1"):
        runner.gpu("cuda:1")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:99999"])
def test_where_nobody_listens_is_told_at_once(address):
    with pytest.raises(HashzooError, match="cannot be reached at .* ray start --head"), ray_tasks._connected(address):
        pass


def test_a_task_that_is_told_twice_was_begun_once():
    board = ray_tasks.Board()
    assert [board.begin(1, 0, token) for token in ("a", "a", "b")] == [1, 1, 2]
    assert board.begin(2, 0, "a") == 1


@pytest.mark.slow
def test_a_node_is_killed_and_its_cell_is_trained_on_the_other(tiny, tmp_path):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'hashzoo[ray]'")
    tiny.write("hashzoo-waits", "hashzoo_waits", PLUGIN, WAITS)
    tiny.write("hashzoo-mortal", "hashzoo_mortal", MORTAL_PLUGIN, MORTAL)
    (folder_of_pictures(tmp_path / "pictures", 8) / "5-broken.jpg").write_bytes(b"no picture")
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(tiny.folder), str(Path(hashzoo.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    with open("said.txt", "w") as said:
        started = subprocess.Popen(
            [sys.executable, "script.py"], env=environment, stdout=said, stderr=said, start_new_session=True
        )
        try:
            code = started.wait(LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):  # where all went well nothing of it is left
                os.killpg(started.pid, signal.SIGKILL)
    assert code == 0, Path("said.txt").read_text()[-4000:]
    together, alone, told, refused, by_ray = json.loads(Path("found.json").read_text())
    failed = [result for result in together["results"] if result["status"] != "ok"]
    assert [(r["method"], r["bits"], r["reason"]) for r in failed] == [
        ("waits", 24, "its worker was lost 2 times (WorkerCrashedError), often for lack of memory")
    ]
    assert Path(failed[0]["run"], "error.txt").read_text() == failed[0]["reason"]
    same = [result for result in together["results"] if result["bits"] != 24]
    assert [(r["method"], r["bits"]) for r in same] == [(m, b) for m in ("waits", "random") for b in (8, 16)]
    for one, other in zip(same, alone["results"], strict=True):
        own = {"seconds", "run", "reused"}
        assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in other.items() if k not in own}
        for name in ("codes.npz", "per_query.npz", "model.safetensors"):
            assert Path(one["run"], name).read_bytes() == Path(other["run"], name).read_bytes()
    assert sorted(number for kind, number, _ in told if kind == "done") == [1, 2, 3, 4, 5, 6]
    lost = {number for kind, number, _ in told if kind == "lost"}
    # It ends its workers, and one was on the node that was killed; what is over between two looks is not told.
    assert lost <= {1, 2, 3}
    assert len(lost & {1, 2}) <= 1
    assert any(kind == "epoch" and number in (1, 2) for kind, number, _ in told)
    assert "64 CPUs" in refused

    assert Path("board").exists()
    said, killed, added, left_out = by_ray
    assert said.startswith(
        "row 30 of mortal features of scenes: its worker was lost 2 times (WorkerCrashedError), often"
    )
    assert "like it" not in said  # all other parts were made
    assert (killed, added, left_out) == (True, 8, ["5-broken.jpg"])
    for kind in ("features", "codes"):
        assert files_of(Path(f"{kind} ray")) == files_of(Path(f"{kind} alone"))
    assert cached("cache ray") == cached("cache alone")
    assert Path("said.txt").read_text().count("the worker was lost (its worker or its node is gone); done again") >= 1
