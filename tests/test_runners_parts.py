"""Features and collections are the same bytes, whoever made their parts; a part whose worker is lost is made again."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL
from test_encode import files_of, folder_of_pictures

from hashzoo.benches.benchmark import bench
from hashzoo.errors import HashzooError
from hashzoo.features.export import export
from hashzoo.inference import encoding
from hashzoo.inference.filling import encode
from hashzoo.runners import parts, processes
from hashzoo.storage import arrays
from hashzoo.storage.files import cache_dir

MORTAL = '''
import os, signal
from pathlib import Path
import numpy as np
import torch
from hashzoo import Encoder

class Mortal(Encoder):
    """The mean colour. A file `kill` ends one worker, once; one picture, kept in a file `poison`, ends every one."""
    modality, dim = "image", 3

    def prepare(self, item):
        if Path("kill").exists() and os.getpid() != int(Path("kill").read_text()):
            Path("kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if Path("poison").exists() and Path("poison").read_bytes() == item.tobytes():
            os._exit(9)
        return torch.from_numpy(np.asarray(item, dtype=np.float32).mean((0, 1)))

    def forward(self, x):
        return x / 255

    def card(self):
        return {"encoder": "mortal"}
'''
PLUGIN = """
from hashzoo.plugin import Method, Part, hookimpl
HASHZOO_API = 1

@hookimpl
def hashzoo_encoders():
    return [Part("mortal", "hashzoo_mortal.parts:Mortal", "ends its worker when it is told to")]
"""
ASKED = {"settings": ["dataset.pairs=100", "dataset.pixels=16", "dataset.difficulty=0"], "batch_size": 8}


@pytest.fixture
def mortal(tiny, monkeypatch):
    tiny.write("hashzoo-mortal", "hashzoo_mortal", PLUGIN, MORTAL)
    monkeypatch.setattr(arrays, "PART", 20)  # 24 rows, then
    return tiny


def cached(folder: str | None = None) -> dict[str, bytes]:
    """What the cache holds of features."""
    place = (Path(folder) if folder else cache_dir()) / "features"
    return {path.name: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def kill_a_worker() -> None:
    import os

    Path("kill").write_text(str(os.getpid()))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_worker_processes_make_the_features_that_one_process_makes(mortal, tmp_path, monkeypatch, capsys):
    """One worker is killed; then one row ends every worker; then all is well, and what was made is not made again."""
    from hashzoo.opening import open_dataset
    from hashzoo.settings import parse_assignments

    export("scenes", "mortal+bow", tmp_path / "alone", **ASKED)
    whole = cached()
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "second"))
    monkeypatch.setattr(processes, "TRIES", 2)
    monkeypatch.setattr(parts, "TRIES", 2)
    Path("poison").write_bytes(open_dataset("scenes", parse_assignments(ASKED["settings"], [])).image(30).tobytes())
    with pytest.raises(HashzooError) as error:
        export("scenes", "mortal+bow", tmp_path / "two", **ASKED, runner="processes", jobs=2)
    lost = "row 30 of mortal features of scenes: its worker process was lost 2 times, ended with exit code 9"
    assert str(error.value).startswith(f"{lost}; what is computed is kept")
    assert error.value.exit_code == 1
    said = capsys.readouterr().err
    assert said.count("hashzoo: images 24 to 47: the worker was lost (ended with exit code 9)") == 2
    assert said.count(f"hashzoo: {lost}") == 1
    assert sorted(name.rpartition(".")[2] for name in cached()) == ["journal", "part"]
    Path("poison").unlink()
    kill_a_worker()
    export("scenes", "mortal+bow", tmp_path / "two", **ASKED, runner="processes", jobs=2)
    said = capsys.readouterr().err
    assert "going on after 76 images that are there already" in said
    assert "images 24 to 47: the worker was lost (ended by SIGKILL, often for lack of memory); done again" in said
    assert cached() == whole
    assert files_of(tmp_path / "two") == files_of(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_worker_processes_make_the_run_and_the_collection_that_one_process_makes(mortal, tmp_path, monkeypatch):
    asked = {"dataset": "scenes", "encoders": "mortal+bow", "settings": SMALL, "threads": 1}
    alone = bench(["toy"], [16], **asked, runs="alone", runner="local")
    first = cached()
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "second"))
    kill_a_worker()
    together = bench(["toy"], [16], **asked, runs="together", runner="processes", jobs=2)
    assert {name: cached()[name] for name in first} == first
    run, other = (Path(found["results"][0]["run"]) for found in (together, alone))
    assert (run / "codes.npz").read_bytes() == (other / "codes.npz").read_bytes()

    monkeypatch.setattr(encoding, "PART", 3)
    monkeypatch.setattr(encoding, "GROUP", 6)
    pictures = {"images": str(folder_of_pictures(tmp_path / "pictures", 8))}
    (tmp_path / "pictures" / "5-broken.jpg").write_bytes(b"no picture")
    encode(run, "codes alone", pictures)
    kill_a_worker()
    filled = encode(run, "codes", pictures, runner="processes", jobs=2)[1]
    assert (filled.added, list(filled.left_out)) == (8, ["5-broken.jpg"])
    assert not Path("kill").exists()
    assert files_of(Path("codes")) == files_of(Path("codes alone"))


def test_shares_of_features_are_the_whole(mortal, tmp_path, command, monkeypatch, sentence):
    asked = ["features", "export", "--dataset", "scenes", "--encoders", "mortal+bow", "--batch-size", "8"]
    asked += [f"--set={text}" for text in ASKED["settings"]]
    export("scenes", "mortal+bow", tmp_path / "alone", **ASKED)
    whole = cached()
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "second"))
    rows = []
    for number in (1, 2, 3):
        told = json.loads(command(*asked, "--out", "whole", "--shard", f"{number}/3", "--json").out)
        assert told["shard"] == {"number": number, "of": 3}
        assert told["of_rows"] == 100
        rows.append(told["rows"]["image"])
        assert not Path("whole").exists()
    assert rows == [48, 28, 24]
    again = command(*asked, "--out", "whole", "--shard", "2/3")
    assert again.out.startswith("share 2/3 is in the cache; when all shares are, the same command without --shard ")
    with monkeypatch.context() as patch:
        patch.setattr("hashzoo.features.extraction.readable", None)  # nothing is computed again
        assert command(*asked, "--out", "whole").code == 0
    assert cached() == whole
    assert files_of(Path("whole")) == files_of(tmp_path / "alone")
    np.testing.assert_array_equal(np.load("whole/image.npy"), np.load(tmp_path / "alone" / "image.npy"))
    late = command(*asked, "--out", "late", "--shard", "1/3")
    assert (late.code, cached()) == (0, whole)
    assert "a share is written as 2/8" in sentence(*asked, "--out", "more", "--shard", "8")
    assert "leave --jobs out" in sentence(*asked, "--out", "more", "--runner", "local", "--jobs", "2")


def test_parts_that_make_no_sense_are_made_again(mortal, tmp_path):
    export("scenes", "mortal", tmp_path / "alone", **ASKED)
    whole = cached()
    (array,) = (cache_dir() / "features").glob("*.npy")
    array.unlink()
    folder = array.with_suffix(".parts")
    folder.mkdir()
    (folder / "0-24.npz").write_bytes(b"nothing")
    arrays.write_arrays(folder / "24-48.npz", {"rows": np.array([[90, 120]]), "values": np.ones((30, 3), np.float32)})
    arrays.write_arrays(folder / "48-72.npz", {"values": np.ones((30, 3), np.float32)})
    export("scenes", "mortal", tmp_path / "again", **ASKED)
    assert cached() == whole


@pytest.mark.parametrize("words", [("encode", "run", "--out", "codes"), ("features", "export", "--out", "archive")])
def test_what_is_refused_is_what_bench_refuses(words, tiny, sentence, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    assert "no runner is called 'proceses'; did you mean processes?" in sentence(*words, "--runner", "proceses")
    assert "type --runner ray --ray-address auto" in sentence(*words, "--ray-address", "auto")
    assert "run: pip install 'hashzoo[ray]'" in sentence(*words, "--runner", "ray")
    assert "shares of 8 are 1/8 to 8/8" in sentence(*words, "--shard", "9/8")


def test_a_node_with_other_packages_or_another_cache_says_so(tiny):
    from types import SimpleNamespace

    wanted = arrays.Wanted({"rows": 10}, 4, "numbers", "images")
    workbench = SimpleNamespace(wanted=lambda *_: (wanted, None))
    with pytest.raises(HashzooError, match="other packages, plugins or files .* other features; install the same"):
        parts.make_part(workbench, None, "image", {"threads": 1, "key": "another"}, lambda line: None)

    class Elsewhere:
        def do(self, tasks, tell, held=False):
            tell("done", 0, {"faults": [], "written": "/elsewhere/0-10.npz", "node": "far"})

    spread = parts.Spread(Elsewhere(), {}, processes_task())
    with pytest.raises(parts.Unshared, match="far wrote features to /elsewhere/0-10.npz.*HASHZOO_CACHE to a folder"):
        parts.make_array(wanted, spread)


def processes_task():
    from hashzoo.runners import Task

    return Task({})
