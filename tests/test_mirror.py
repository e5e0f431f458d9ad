"""Runs at an address: reused and shown by every machine, complete there or absent, and never written over."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from helpers import HERE, SMALL

from hashzoo.benches import mirror
from hashzoo.benches.benchmark import bench
from hashzoo.benches.mirror import Mirror, place_of
from hashzoo.benches.records import files_of
from hashzoo.errors import HashzooError
from hashzoo.report import collect
from hashzoo.runners import worker
from hashzoo.storage.files import read_json, write_json
from hashzoo.storage.remote import Remote

fsspec = pytest.importorskip("fsspec", reason="pip install 'hashzoo[remote]'")
ADDRESS = "memory://lab/runs"
ASKED = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL, "runs": ADDRESS}


@pytest.fixture(autouse=True)
def memory(memory_files):
    """What is at the address, by name."""
    return memory_files


@pytest.fixture
def another_machine(tmp_path, monkeypatch):
    """Call it, and all that follows is done by a machine with an empty cache, in an empty folder."""

    def go(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        monkeypatch.setenv("HASHZOO_CACHE", str(folder / "cache"))
        monkeypatch.chdir(folder)

    return go


def names(memory, ending=""):
    return sorted(name.removeprefix("/lab/runs/") for name in memory if name.endswith(ending))


def run_of(found, method="toy"):
    return next(Path(result["run"]) for result in found["results"] if result["method"] == method)


def test_a_second_machine_takes_what_the_first_has_trained(tiny, memory, another_machine, command):
    first = bench(["toy"], [8, 16], **ASKED)
    assert {result["status"] for result in first["results"]} == {"ok"}
    assert len(names(memory, "/result.json")) == len(names(memory, "/model.safetensors")) == 4
    assert names(memory, "track.json") == [f"{first['track']['id']}/track.json"]
    shown = command("report", "--runs", ADDRESS)
    before = dict.fromkeys(memory) | {name: file.getvalue() for name, file in memory.items()}

    another_machine("second")
    assert command("report", ADDRESS).out == shown.out
    second = bench(["toy"], [8, 16], **ASKED)
    own = {"run", "reused"}
    for one, other in zip(first["results"], second["results"], strict=True):
        assert other["reused"]
        assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in other.items() if k not in own}
        assert Path(other["run"]).is_relative_to(os.environ["HASHZOO_CACHE"])
        assert not Path(other["run"], "model.safetensors").exists()  # nobody has asked for it
    assert command("report", "--runs", ADDRESS).out == shown.out
    assert {name: file.getvalue() for name, file in memory.items()} == before
    assert not Path("runs").exists()


def test_what_is_asked_for_in_other_words_is_fetched_and_nothing_else(tiny, memory, another_machine, monkeypatch):
    bench(["toy"], [8, 16], **ASKED, seeds=[0, 1])
    another_machine("second")
    one = bench(["toy"], [8], **ASKED)
    assert all(result["reused"] for result in one["results"])
    assert len(list(place_of(ADDRESS)[0].glob("*/*/*/result.json"))) == 2

    another_machine("third")
    monkeypatch.setattr("hashzoo.benches.plan.environment", functools.cache(lambda: "a package that changes no codes"))
    again = bench(["toy"], [8], **ASKED)
    assert [result["reused"] for result in again["results"]] == [True, True]
    assert [result["key"] for result in again["results"]] == [result["key"] for result in one["results"]]


@pytest.mark.parametrize("after", [0, 3, 5])
def test_a_push_that_is_ended_leaves_no_run(after, tiny, memory, another_machine, monkeypatch):
    put, done = Remote.put, []

    def ended(self, files):
        for name, path in files.items():
            if "/toy/" in name and len(done) == after:
                raise KeyboardInterrupt
            done.append(name) if "/toy/" in name else None
            put(self, {name: path})

    monkeypatch.setattr(Remote, "put", ended)
    with pytest.raises(KeyboardInterrupt):
        bench(["toy"], [8], **ASKED)
    assert len([name for name in names(memory) if "/toy/" in name]) == after
    assert not names(memory, "result.json")
    monkeypatch.setattr(Remote, "put", put)
    there = dict(memory)
    again = bench(["toy"], [8], **ASKED)  # the machine has the run, and pushes it
    assert [result["reused"] for result in again["results"]] == [True, False]
    whole = {name: memory[name].getvalue() for name in memory if name.endswith(("codes.npz", "model.safetensors"))}
    assert len(whole) == 4
    another_machine("second")  # which sees what was left, and has no use for it
    memory.clear()
    memory.update(there)
    assert [result["reused"] for result in bench(["toy"], [8], **ASKED)["results"]] == [False, False]
    assert {name: memory[name].getvalue() for name in whole} == whole


def test_damaged_runs_are_told_and_trained_again(tiny, memory, another_machine, capsys, command):
    damage = {
        "codes.npz": (b"cut off", "is not the file that the run wrote"),
        "model.safetensors": (b"cut off", "is not the file that the run wrote"),
        "result.json": (b"{", "cannot be read as JSON"),
        "run.json": (b"[]", "is damaged"),
        "per_query.npz": (None, "is not the file that the run wrote"),
    }
    bits = [8 * (number + 1) for number in range(len(damage))]
    first = bench(["toy"], bits, **ASKED)["results"]
    runs = ["/".join(Path(result["run"]).parts[-3:]) for result in first if result["method"] == "toy"]
    same = [name for name in memory if name.endswith(("codes.npz", "model.safetensors", "per_query.npz"))]
    whole = {name: memory[name].getvalue() for name in same}
    for run, (name, (content, _)) in zip(runs, damage.items(), strict=True):
        if content is None:
            del memory[f"/lab/runs/{run}/{name}"]
        else:
            fsspec.filesystem("memory").pipe_file(f"/lab/runs/{run}/{name}", content)
    said = [f"{ADDRESS}/{run}/{name} {words}" for run, (name, (_, words)) in zip(runs, damage.items(), strict=True)]
    another_machine("second")
    told = command("report", ADDRESS)
    assert all(words in told.err for words in said)
    assert "toy" not in told.out
    second = bench(["toy"], bits, **ASKED)["results"]
    assert [result["reused"] for result in second] == [result["method"] == "random" for result in second]
    told = capsys.readouterr().err
    assert all(words in told for words in said)
    assert {name: memory[name].getvalue() for name in same} == whole
    assert "toy" in command("report", ADDRESS).out


def test_who_is_second_takes_the_run_of_who_was_first(tiny, memory, another_machine, monkeypatch):
    first = bench(["toy"], [8], **ASKED)
    there = {name: memory.pop(name) for name in list(memory)}
    another_machine("second")
    train = mirror.Mirror.push

    def late(self, folder):
        memory.update(there)
        return train(self, folder)

    monkeypatch.setattr(Mirror, "push", late)
    second = bench(["toy"], [8], **ASKED)
    assert {name: file.getvalue() for name, file in memory.items()} == {n: f.getvalue() for n, f in there.items()}
    for one, other in zip(first["results"], second["results"], strict=True):
        assert other["seconds"] == one["seconds"]  # no two trainings take the same time
        assert Path(other["run"], "result.json").read_bytes() == Path(one["run"], "result.json").read_bytes()


def test_failed_runs_are_shown_and_trained_again(tiny, memory, another_machine, command):
    tiny.install(HERE / "plugins_working" / "faulty")
    failed = bench(["quits", "toy"], [8], **ASKED)["results"][0]
    assert failed["status"] == "failed"
    left = [name.rpartition("/")[2] for name in names(memory) if "/quits/" in name]
    assert left == ["error.txt", "run.json", "train.jsonl"]
    another_machine("second")
    assert failed["reason"] in " ".join(command("report", ADDRESS).out.split())
    again = bench(["quits"], [8], **ASKED)["results"][0]
    assert (again["status"], again["reused"]) == ("failed", False)


def test_a_run_that_is_only_here_is_not_in_the_report(tiny, memory, command):
    found = bench(["toy"], [8, 16], **ASKED)
    run = run_of(found)
    del memory[f"/lab/runs/{'/'.join(run.parts[-3:])}/result.json"]
    shown = json.loads(command("report", ADDRESS, "--json").out)
    assert len(shown["tracks"][0]["results"]) == 3
    again = bench(["toy"], [8, 16], **ASKED)
    assert all(result["reused"] for result in again["results"])
    assert len(json.loads(command("report", ADDRESS, "--json").out)["tracks"][0]["results"]) == 4


def test_ages_are_those_of_the_address(tiny, memory, another_machine, command):
    bench(["toy"], [8], **ASKED)
    times = []
    for machine in ("second", "third"):
        command("report", ADDRESS)
        folder = place_of(ADDRESS)[0]
        times.append({p.relative_to(folder): p.stat().st_mtime for p in folder.glob("*/*/*/r*.json")})
        another_machine(machine)
    assert times[0] == times[1]
    assert len(times[0]) == 4


def test_a_worker_on_a_machine_that_shares_no_folder_pushes_what_it_made(tiny, tmp_path, monkeypatch):
    """Not to memory://, where nothing is a file."""

    class Elsewhere:
        """Gives each task to a worker whose cache is another folder, as a node of a cluster has it."""

        name, jobs = "elsewhere", 1

        @contextlib.contextmanager
        def workers(self, kind):
            self.orders = worker.orders_for(kind, {"HASHZOO_CACHE": str(tmp_path / "elsewhere")})
            yield self

        def gpu(self, device):
            return False

        def do(self, tasks, tell, held=False):
            for number, task in tasks.items():
                with pytest.MonkeyPatch.context() as there:
                    there.setenv("HASHZOO_CACHE", str(tmp_path / "elsewhere"))
                    answer = worker.obey(self.orders, json.dumps(dict(task.words)), lambda line: None)
                tell("done", number, worker.result_of(answer))

    monkeypatch.setattr("hashzoo.runners.choose_runner", lambda *_: Elsewhere())
    asked = ASKED | {"runs": f"file://{tmp_path}/lab/runs"}
    found = bench(["toy"], [8], **asked)
    assert not any(result["reused"] for result in found["results"])
    for result in found["results"]:
        assert Path(result["run"]).is_relative_to(tmp_path / "cache")
        assert Path(result["run"], "per_query.npz").exists()
        there = tmp_path / "lab" / "runs" / Path(*Path(result["run"]).parts[-3:])
        assert (there / "codes.npz").read_bytes() == Path(result["run"], "codes.npz").read_bytes()
    assert list((tmp_path / "elsewhere" / "mirrors").glob("*/*/*/*/model.safetensors"))
    shown = collect(tmp_path / "lab" / "runs")  # it is a runs folder like any other
    assert [r["scores"] for r in shown[0]["results"]] == [r["scores"] for r in found["results"]]


def test_shares_of_two_machines_are_one_table(tiny, memory, another_machine):
    asked = ASKED | {"seeds": [0, 1]}
    shares = []
    for number in (1, 2):
        another_machine(f"machine {number}")
        shares += bench(["toy"], [8, 16], **asked, shard=f"{number}/2")["results"]
    another_machine("a laptop")
    whole = bench(["toy"], [8, 16], **asked)
    assert all(result["reused"] for result in whole["results"])
    assert sorted(result["key"] for result in shares) == sorted(result["key"] for result in whole["results"])


def test_a_run_by_its_address_comes_with_its_towers(tiny, memory, another_machine, command, sentence):
    run = run_of(bench(["toy"], [8], **ASKED))
    towers = (run / "model.safetensors").read_bytes()
    named = f"{ADDRESS}/{'/'.join(run.parts[-3:])}"
    evaluated = json.loads(command("eval", run, "--json").out)["results"][0]
    another_machine("second")
    found = json.loads(command("eval", named, "--json").out)["results"][0]
    assert found["scores"] == evaluated["scores"]
    assert Path(found["run"], "model.safetensors").read_bytes() == towers
    repeated = command("bench", "--from", named, "--json")
    assert (repeated.code, json.loads(repeated.out)["same"]) == (0, True)
    assert "is no finished run" in sentence("eval", f"{named[:-1]}x")
    assert "names no run" in sentence("eval", f"{ADDRESS}/../../x/y")


def test_what_is_refused(tiny, memory, sentence, tmp_path):
    asked = ("bench", "--method", "toy", "--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8")
    assert "finished runs at memory://lab/runs are not written over" in sentence(*asked, "--runs", ADDRESS, "--fresh")
    assert "holds no finished run; run hashzoo bench --runs memory://lab" in sentence("report", ADDRESS)
    assert "names no folder" in sentence(*asked, "--runs", "memory://")
    assert "cannot be opened (ValueError: Protocol not known: nowhere)" in sentence(*asked, "--runs", "nowhere://a/b")
    with pytest.raises(HashzooError, match="give s3://a/b as text"):
        bench(["toy"], [8], **ASKED | {"runs": Path("s3://a/b")})
    assert not memory


def test_names_that_hashzoo_does_not_give_are_left_out(tiny, memory, another_machine, command, tmp_path):
    found = bench(["toy"], [8], **ASKED)
    files = fsspec.filesystem("memory")
    track, method, run = run_of(found).parts[-3:]
    start = f"/lab/runs/{track}/{method}"
    for place in (f"{start}/..", f"{start}/{run}\\x", f"/lab/runs/.track/{method}/{run}", f"{start}/{run}/deeper"):
        for name in ("run.json", "result.json"):
            files.store[f"{place}/{name}"] = files.store[f"{start}/{run}/{name}"]
    files.pipe_file(f"{start}/{run}/run.sh", b"no file of a run")
    # A key that is a path must not become the name of a lock.
    evil = f"{start}/{run[:-8]}deadbeef"
    about = json.loads(files.cat_file(f"{start}/{run}/run.json")) | {"key": "../../../deadbeef"}
    files.pipe_file(f"{evil}/run.json", json.dumps(about).encode())
    files.pipe_file(f"{evil}/result.json", files.cat_file(f"{start}/{run}/result.json"))
    another_machine("second")
    assert "belongs to another run" in command("report", ADDRESS).err
    fetched = {path.name for path in place_of(ADDRESS)[0].rglob("*") if path.is_file()}
    assert fetched - {"labels.npz", "dataset.json", "track.json"} <= {*mirror.FILES, "result.json", ".lock"} | {
        path for path in fetched if path.endswith(".lock")
    }
    assert len(list(place_of(ADDRESS)[0].glob("*/*/*/run.json"))) == 2


def test_runs_that_were_scored_by_another_evaluator_are_scored_again_here(tiny, memory, another_machine):
    found = bench(["toy"], [8], **ASKED)
    another_machine("second")
    shutil.rmtree(place_of(ADDRESS)[0], ignore_errors=True)
    assert all(result["reused"] for result in bench(["toy"], [8], **ASKED)["results"])
    folder = place_of(ADDRESS)[0].joinpath(*run_of(found).parts[-3:])
    write_json(folder / "result.json", read_json(folder / "result.json") | {"evaluator": "0" * 64})
    there = {name: file.getvalue() for name, file in memory.items()}
    again = bench(["toy"], [8], **ASKED)
    assert all(result["reused"] for result in again["results"])
    assert read_json(folder / "result.json")["evaluator"] != "0" * 64
    assert set(files_of(folder)) < set(read_json(folder / "result.json")["files"])  # the towers' are still known
    assert {name: file.getvalue() for name, file in memory.items()} == there


def test_an_address_without_its_package_is_one_sentence(sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    said = sentence("report", "s3://lab/runs")
    assert said.endswith("s3://lab/runs needs a package that is not installed; run: pip install 'hashzoo[remote]'")
