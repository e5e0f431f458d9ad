"""Many cells: resumed, reused, one failure at a time, and nothing written for a request that is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers import HERE, SMALL, forget

import hashzoo
from hashzoo import processors
from hashzoo.benches import plan
from hashzoo.benches.benchmark import Event, bench
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.storage import files
from hashzoo.storage.files import StorageError, read_json, write_json


def run(methods=("toy",), bits=(8,), *, settings=(), **options):
    return bench(
        methods,
        bits,
        **{"dataset": "scenes", "encoders": "tiny+bow", "settings": [*SMALL, *settings], "threads": 1, **options},
    )


def result_of(outcome, method="toy", bits=8, seed=0):
    (found,) = [r for r in outcome["results"] if (r["method"], r["bits"], r["seed"]) == (method, bits, seed)]
    return found


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_schema_of_a_result(tiny):
    outcome = run(bits=(8, 16))
    assert json.loads(json.dumps(outcome, allow_nan=False)) == outcome
    assert outcome["schema"] == 1
    assert set(outcome["track"]) == {"id", "dataset", "fingerprint", "splits", "rule", "protocol", "counts"}
    assert outcome["track"]["counts"] == {"train": 80, "val": 0, "query": 20, "database": 80, "labels": 22}
    assert [(r["method"], r["bits"]) for r in outcome["results"]] == [
        *(("toy", 8), ("toy", 16), ("random", 8), ("random", 16))
    ]
    for result in outcome["results"]:
        assert result["status"] == "ok"
        assert result["reused"] is False
        assert result["encoders"] == {"image": "tiny", "text": "bow"}
        assert result["seed"] == 0
        assert set(result["plugin"]) == {"name", "distribution", "version", "digest"}
        for direction in ("i2t", "t2i"):
            assert result["floor"] - 0.1 < result["scores"][direction]["map"] <= 1
        assert Path(result["run"], "result.json").is_file()
    assert result_of(outcome)["plugin"]["distribution"] == "hashzoo-tiny"
    assert result_of(outcome, "random")["plugin"]["distribution"] == "hashzoo"


def test_the_second_time_everything_is_reused_and_nothing_is_written(tiny):
    first = run(bits=(8, 16))
    before = everything_in(Path.cwd())
    events = []
    second = run(bits=(8, 16), watch=events.append)
    assert everything_in(Path.cwd()) == before
    assert all(r["reused"] for r in second["results"])
    assert [r | {"reused": False} for r in second["results"]] == first["results"]
    assert [event.kind for event in events] == ["done"] * 4


def test_events_tell_how_far_a_bench_is(tiny):
    events: list[Event] = []
    run(watch=events.append)
    assert [(e.kind, e.number, e.total, e.cell.method) for e in events] == [
        ("start", 1, 2, "toy"),
        ("epoch", 1, 2, "toy"),
        ("epoch", 1, 2, "toy"),
        ("done", 1, 2, "toy"),
        ("start", 2, 2, "random"),
        ("done", 2, 2, "random"),
    ]
    assert events[1].content["epoch"] == 1
    assert events[3].content["status"] == "ok"


def test_a_bench_that_was_killed_goes_on_where_it_was(tiny):
    def kill(event):
        if event.kind == "epoch" and event.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(bits=(8, 16, 24), watch=kill)
    finished = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("result.json")}
    assert len(finished) == 2
    outcome = run(bits=(8, 16, 24))
    assert [r["reused"] for r in outcome["results"]] == [True, True, False, False, False, False]
    assert all(r["status"] == "ok" for r in outcome["results"])
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_a_failed_cell_is_kept_and_the_others_go_on(tiny):
    outcome = run(["fragile"], bits=(16, 32, 64))
    assert [(r["bits"], r["status"]) for r in outcome["results"][:3]] == [(16, "ok"), (32, "failed"), (64, "ok")]
    failed = result_of(outcome, "fragile", 32)
    assert failed["reason"] == "RuntimeError: cannot make 32 bits of [/this]"
    assert failed["reused"] is False
    assert (Path(failed["run"]) / "error.txt").read_text().startswith(failed["reason"])
    again = run(["fragile"], bits=(16, 32, 64))
    assert [r["reused"] for r in again["results"][:3]] == [True, False, True]
    mended = run(["fragile"], bits=(32,), settings=["trainer.bits=31"])
    assert result_of(mended, "fragile", 32)["status"] == "ok"


def test_an_encoder_that_fails_costs_its_cells_only(tiny):
    tiny.install(HERE / "plugins_working" / "faulty")
    outcome = run(encoders="stumbles+bow,tiny+bow")
    states = [(r["encoders"]["image"], r["method"], r["status"]) for r in outcome["results"]]
    assert states == [
        ("stumbles", "toy", "failed"),
        ("stumbles", "random", "failed"),
        ("tiny", "toy", "ok"),
        ("tiny", "random", "ok"),
    ]
    assert "the picture ends too early" in outcome["results"][0]["reason"]


def test_fresh_trains_again(tiny):
    first = run()
    again = run(fresh=True)
    assert not any(r["reused"] for r in again["results"])
    assert [r["run"] for r in again["results"]] == [r["run"] for r in first["results"]]
    assert result_of(again)["scores"] == result_of(first)["scores"]


def test_several_seeds_are_several_runs(tiny):
    outcome = run(seeds=(0, 7))
    assert [(r["method"], r["seed"]) for r in outcome["results"]] == [
        *(("toy", 0), ("toy", 7), ("random", 0), ("random", 7))
    ]
    assert len({r["run"] for r in outcome["results"]}) == 4


@pytest.mark.parametrize("file", ["hashzoo_tiny/parts.py", "hashzoo_tiny/__init__.py", "hashzoo_tiny/constants.json"])
def test_an_edited_plugin_is_not_served_from_an_old_run(file, tiny):
    source = tiny.folder / file
    source.touch()
    first = run()
    os.utime(source, (1, 1))
    forget(tiny.folder)
    assert result_of(run())["reused"] is True
    source.write_text(source.read_text() + "\n# edited\n")
    forget(tiny.folder)
    second = run()
    assert result_of(second)["reused"] is False
    assert result_of(second)["run"] != result_of(first)["run"]
    assert result_of(second)["plugin"]["digest"] != result_of(first)["plugin"]["digest"]
    # Its encoder is used by the floor method too.
    assert result_of(second, "random")["reused"] is False


def test_an_edited_module_that_a_target_names_is_not_served_from_an_old_run(tiny):
    """It lies beside the package of the plugin, whose list of files names it or, when editable, does not."""
    (tiny.folder / "steps.py").write_text(
        "from hashzoo.train import Untrained\n\n\nclass Steps(Untrained):\n    pass\n"
    )
    tiny.write(
        "hashzoo-beside",
        "beside",
        "from hashzoo.plugin import Method, Part, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_trainers():\n    return [Part('steps', 'steps:Steps', '')]\n"
        "@hookimpl\ndef hashzoo_methods():\n    return [Method('beside', 'tiny', 'bow', trainer='steps')]\n",
    )
    first = run(["beside"])
    forget(tiny.folder)
    assert result_of(run(["beside"]), "beside")["reused"] is True
    with open(tiny.folder / "steps.py", "a") as file:
        file.write("# edited\n")
    forget(tiny.folder)
    second = result_of(run(["beside"]), "beside")
    assert second["reused"] is False
    assert second["run"] != result_of(first, "beside")["run"]


def test_another_installed_package_asks_again_and_finds_the_same_runs(tiny):
    run()
    tiny.write(
        "hashzoo-unrelated",
        "unrelated",
        "HASHZOO_API = 1\nfrom hashzoo.plugin import Part, hookimpl\n"
        "@hookimpl\ndef hashzoo_losses():\n    return [Part('unrelated', 'unrelated:Loss', '')]\n",
    )
    assert all(r["reused"] for r in run()["results"])


def test_other_words_for_the_same_content_reuse_the_run(tiny):
    plain = result_of(run())
    typed = result_of(run(settings=["trainer.lr=0.001", "toy.trainer.epochs=2"]))
    assert typed["reused"] is True
    assert typed["run"] == plain["run"]
    # What is shown is what was typed this time.
    assert typed["settings"] == {"trainer.epochs": 2, "trainer.lr": 0.001}
    assert plain["settings"] == {}
    assert result_of(run(settings=["trainer.lr=0.002"]))["reused"] is False


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "{}", '{"evaluator": 1}', '"word"'])
def test_a_damaged_result_is_no_result(content, tiny):
    first = result_of(run())
    path = Path(first["run"]) / "result.json"
    path.write_text(content)
    again = result_of(run())
    assert again["reused"] is False
    assert again["scores"] == first["scores"]
    assert read_json(path)["status"] == "ok"


def test_a_result_that_lacks_a_field_is_no_result(tiny):
    first = result_of(run())
    path = Path(first["run"]) / "result.json"
    for name in ("request", "key", "status", "scores"):
        whole = read_json(path)
        write_json(path, {key: value for key, value in whole.items() if key != name})
        assert result_of(run())["scores"] == first["scores"], name


def test_a_new_evaluator_scores_the_stored_codes_again(tiny, monkeypatch):
    first = result_of(run())
    path = Path(first["run"]) / "result.json"
    older = {direction: scores | {"map": 0.0} for direction, scores in first["scores"].items()}
    write_json(path, read_json(path) | {"evaluator": "an older one", "scores": older})
    again = result_of(run())
    assert again["reused"] is True
    assert again["scores"] == first["scores"]
    assert read_json(path)["evaluator"] == first["evaluator"]


@pytest.mark.parametrize("damage", ["truncated", "deleted"])
def test_codes_that_cannot_be_scored_again_are_trained_again(damage, tiny):
    first = result_of(run())
    folder = Path(first["run"])
    write_json(folder / "result.json", read_json(folder / "result.json") | {"evaluator": "an older one"})
    if damage == "truncated":
        (folder / "codes.npz").write_bytes((folder / "codes.npz").read_bytes()[:-200])
    else:
        (folder / "codes.npz").unlink()
    again = result_of(run())
    assert again["reused"] is False
    assert again["scores"] == first["scores"]


def test_a_reused_bench_needs_no_torch(tiny):
    """In a process of its own, in which importing torch (or what brings it) is an error."""
    code = textwrap.dedent(
        f"""
        import sys
        class Forbid:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {{"torch", "timm", "open_clip", "transformers", "pandas"}} and FORBIDDEN:
                    raise AssertionError(name + " was imported")
        FORBIDDEN = sys.argv[1] == "forbid"
        sys.meta_path.insert(0, Forbid())
        from hashzoo.benches.benchmark import bench
        outcome = bench(["toy"], [8], dataset="scenes", encoders="tiny+bow", settings={list(SMALL)!r})
        print([r["reused"] for r in outcome["results"]], "torch" in sys.modules)
        """
    )
    environment = os.environ | {"PYTHONPATH": f"{tiny.folder}{os.pathsep}{Path(hashzoo.__file__).parent.parent}"}

    def process(word):
        command = [sys.executable, "-c", code, word]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    trained = process("allow")
    assert trained.stdout == "[False, False] True\n", trained.stderr
    reused = process("forbid")
    assert reused.stdout == "[True, True] False\n", reused.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ["tooy"]}, "no method is called 'tooy'; did you mean toy?"),
        ({"methods": []}, "no method was given; name at least one"),
        ({"methods": ["toy", "toy"]}, "method toy is given twice; name each once"),
        ({"bits": []}, "no code length was given"),
        ({"bits": [8, 8]}, "code length 8 is given twice"),
        ({"bits": [0]}, "a code length is a whole number from 1 to 4096, not 0"),
        ({"bits": [-8]}, "not -8"),
        ({"bits": [4097]}, "not 4097"),
        ({"bits": [12.5]}, "a code length is a whole number from 1 to 4096, not 12.5"),
        ({"bits": [True]}, "a code length is a whole number from 1 to 4096, not True"),
        ({"bits": ["16"]}, "a code length is a whole number from 1 to 4096, not '16'"),
        ({"seeds": []}, "no seed was given"),
        ({"seeds": [-1]}, "a seed is a whole number from 0 to 4294967295, not -1"),
        ({"seeds": [0.5]}, "a seed is a whole number from 0 to 4294967295, not 0.5"),
        ({"dataset": "scene"}, "no dataset is called 'scene'; did you mean scenes?"),
        ({"dataset": "scenes/full"}, "data set 'scenes' has no variants; type scenes"),
        ({"encoders": "tiny+boww"}, "no encoder is called 'boww'; did you mean bow?"),
        ({"encoders": "bow+tiny"}, "'bow' encodes texts, not images; write IMAGE+TEXT"),
        ({"device": "gpu"}, "the device is auto, cpu, cuda or cuda:N, not 'gpu'"),
        ({"threads": 0}, "threads are a whole number from 1 to 1024, not 0"),
        ({"threads": -2}, "threads are a whole number from 1 to 1024, not -2"),
        ({"settings": ["trainer.epoch=3"]}, "no method asked for has the setting 'trainer.epoch'"),
        ({"settings": ["toy.trainer.epoch=3"]}, "GradientTrainer has no setting 'trainer.epoch'"),
        ({"settings": ["trainer.epochs=many"]}, "trainer.epochs must be a whole number, not 'many'"),
        ({"settings": ["dataset.pairs=3"]}, "dataset.pairs must be a whole number from 100"),
        ({"settings": ["dataset.pears=3"]}, "did you mean dataset.pairs?"),
        ({"settings": ["fragile.trainer.bits=3"]}, "for a method that was not asked for"),
    ],
)
def test_a_request_that_is_refused_writes_nothing(change, said, tiny):
    request = {"methods": ["toy"], "bits": [8], **change}
    with pytest.raises(HashzooError) as refused:
        run(**request)
    assert said in str(refused.value)
    assert refused.value.exit_code == 2
    assert not Path("runs").exists()


def test_cuda_without_a_gpu_is_refused(tiny):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(HashzooError, match="device cuda was asked for, but torch sees no GPU"):
        run(device="cuda")
    assert not Path("runs").exists()


def test_all_missing_weights_are_told_at_once(tiny, monkeypatch):
    from hashzoo.encoders.base import MissingWeights
    from hashzoo.recipe import Recipe

    def encoder(self, role):
        raise MissingWeights(self.encoders[role], "none here", "a file")

    monkeypatch.setattr(Recipe, "encoder", encoder)
    with pytest.raises(HashzooError, match=r"no weights for 2 encoders:\n  tiny: none here .*\n  bow: none here"):
        run()
    assert not Path("runs").exists()


def test_a_data_set_that_cannot_be_opened_is_one_sentence(tiny):
    tiny.install(HERE / "plugins_working" / "faulty")
    with pytest.raises(
        HashzooError, match="data set 'unreadable' cannot be opened: RuntimeError: the archive is elsewhere"
    ) as e:
        open_dataset("unreadable")
    assert e.value.exit_code == 1
    with pytest.raises(HashzooError, match="1 of 20 query rows are also in 'train'"):
        bench(["toy"], [8], dataset="leaking", encoders="tiny+bow")


def test_queries_with_nothing_relevant_score_nothing(tiny):
    tiny.install(HERE / "plugins_working" / "faulty")
    outcome = bench(["toy"], [8], dataset="unlabelled", encoders="tiny+bow", threads=1)
    assert all(r["status"] == "ok" for r in outcome["results"])
    assert result_of(outcome)["scores"]["i2t"]["map"] == result_of(outcome)["floor"] == 0


def test_a_folder_of_runs_that_cannot_be_written(tiny, monkeypatch):
    Path("runs").write_text("a file stands where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        run()
    assert Path("runs").read_text().startswith("a file")


def test_a_full_disk_ends_the_bench_and_the_next_one_goes_on(tiny, monkeypatch):
    def fsync(handle, real=os.fsync):
        if list(Path("runs").rglob("result.json")):
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        with pytest.raises(StorageError, match="is full; free some space and run again") as full:
            run(bits=(8, 16))
    assert full.value.exit_code == 1
    outcome = run(bits=(8, 16))
    assert [r["reused"] for r in outcome["results"]] == [True, False, False, False]


def test_a_file_that_a_setting_names_is_part_of_the_request(tiny):
    weights = Path("weights.bin")
    weights.write_bytes(b"1")
    identity = plan._file_identity("weights.bin")
    assert identity == [1, weights.stat().st_mtime_ns]
    assert plan._file_identity("no such file") is None
    assert plan._file_identity("\0") is None


def test_threads_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.delenv(processors.PROCESSORS, raising=False)
    assert processors.available_threads() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors.available_threads() == 1
    monkeypatch.setenv(processors.PROCESSORS, "6")
    assert processors.available_threads() == 6
