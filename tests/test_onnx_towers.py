"""Towers as ONNX files: onnxruntime gives the codes of the run, without torch, and what does not is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import SMALL
from torch import nn

from hashzoo.benches.benchmark import bench
from hashzoo.codes import Codes, load_codes, pack
from hashzoo.errors import HashzooError
from hashzoo.features import export
from hashzoo.inference import onnx_towers
from hashzoo.inference.model import load_model
from hashzoo.inference.onnx_towers import export_towers
from hashzoo.opening import open_dataset
from hashzoo.search import Collection
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import read_json

PAGE = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")


def a_run(method: str = "toy", *settings: str, encoders: str = "tiny+bow") -> Path:
    made = bench([method], [16], dataset="scenes", encoders=encoders, settings=[*SMALL, *settings], threads=1)
    (result,) = (result for result in made["results"] if result["method"] == method)
    assert result["status"] == "ok", result
    return Path(result["run"])


@pytest.fixture
def run(tiny) -> Path:
    return a_run()


def scenes():
    return open_dataset("scenes", parse_assignments(SMALL, []))


def without_torch(code: str) -> str:
    """Run code in a process in which torch cannot be imported; what it prints."""
    block = "import sys\nsys.modules['torch'] = None\nsys.modules['hashzoo'] = None\n"
    done = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(kind: str) -> str:
    (block,) = re.findall(rf"```python {kind}\n(.*?)```", PAGE, flags=re.DOTALL)
    return block


def test_the_example_makes_the_codes_of_the_run_without_torch(run, tmp_path):
    made = export_towers(run, tmp_path / "towers")
    assert made["opset"] == 18
    assert set(made["towers"]) == {"image", "text"}
    text = made["towers"]["text"]
    assert (text["file"], text["input"], text["shape"]) == ("text.onnx", "features", [64])
    assert (text["compared"], text["differing_bits"]) == ("rows of scenes", 0)
    assert text["largest_difference"] < 1e-5
    export.export("scenes", "tiny+bow", tmp_path / "features", settings=[*SMALL, "text.size=64"])
    without_torch(example("onnx") + "np.save('codes.npy', codes)")
    splits, wanted = scenes().splits, load_codes(run / "codes.npz")
    for split in ("query", "database"):
        rows = np.load("codes.npy")[getattr(splits, split)]
        assert np.array_equal(rows, wanted[f"text_{split}"].data)
    assert text["rows"] == len(splits.query) + len(splits.database)


def test_a_file_says_what_it_is(run, tmp_path):
    export_towers(run, tmp_path / "towers")
    session = onnxruntime.InferenceSession(str(tmp_path / "towers" / "image.onnx"))
    about = json.loads(session.get_modelmeta().custom_metadata_map["hashzoo"])
    assert about == {
        **{"format": 1, "method": "toy", "modality": "image", "with_encoder": False, "bits": 16},
        **{"encoder": read_json(run / "run.json")["encoders"]["image"], "widths": {"pooled": 48}},
    }
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("features", "tensor(float)", ["batch", 48])]
    assert [(o.name, o.type) for o in session.get_outputs()] == [("outputs", "tensor(float)")]
    (opset,) = onnx.load(tmp_path / "towers" / "image.onnx").opset_import
    assert opset.version == onnx_towers.OPSET
    assert session.run(None, {"features": np.zeros((1, 48), np.float32)})[0].shape == (1, 16)
    assert f"The opset is {onnx_towers.OPSET}." in PAGE


@pytest.mark.parametrize("settings", [(), ("image.frozen=false", "text.frozen=false", "trainer.encoder_lr=0.1")])
@pytest.mark.parametrize("with_encoder", [False, True])
def test_towers_of_frozen_and_of_trained_encoders(tiny, tmp_path, settings, with_encoder):
    run, data = a_run("toy", *settings), scenes()
    made = export_towers(run, tmp_path / "towers", with_encoder=with_encoder)
    model, wanted = load_model(run, device="cpu"), load_codes(run / "codes.npz")
    for role in ("image", "text"):
        assert made["towers"][role]["input"] == ("items" if with_encoder else "features")
        items = torch.stack([model.prepare(role, getattr(data, role)(row)) for row in data.splits.query.tolist()])
        values = items if with_encoder else model.features(role, items).float()
        session = onnxruntime.InferenceSession(str(tmp_path / "towers" / f"{role}.onnx"))
        (outputs,) = session.run(None, {made["towers"][role]["input"]: values.numpy()})
        assert np.array_equal(pack(outputs).data, wanted[f"{role}_query"].data)


def test_the_model_of_a_collection_is_compared_on_fixed_items(run, tmp_path, monkeypatch):
    Collection.create(tmp_path / "codes", 16, model=load_model(run).files())
    monkeypatch.chdir(tmp_path)
    made = export_towers("codes", "towers")
    assert {role: tower["compared"] for role, tower in made["towers"].items()} == dict.fromkeys(
        ("image", "text"), "fixed items"
    )
    export_towers(run, "others")
    for name in ("image.onnx", "text.onnx"):
        assert (tmp_path / "towers" / name).read_bytes() == (tmp_path / "others" / name).read_bytes()


class Wild(nn.Module):
    """So steep that the last digit of its input decides a value of any size."""

    def forward(self, x):
        return torch.sin(1e9 * x[:, :16].exp())


class Unknown(nn.Module):
    """ONNX has no such operator."""

    def forward(self, x):
        return torch.linalg.matrix_exp(x[:, :16, None] * x[:, None, :16])[:, 0]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Wild(), r"the image tower gives other codes in onnxruntime: \d+\.\d+% of the bits differ"),
        (Unknown(), r"the image tower of 'toy' cannot be exported: \w+"),
    ],
)
def test_a_tower_that_gives_other_codes_is_refused_and_leaves_nothing(run, tmp_path, monkeypatch, network, said):
    monkeypatch.setattr(onnx_towers.Model, "tower", lambda model, role: network)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(HashzooError, match=said):
        export_towers(run, tmp_path / "towers")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_bits_may_differ_where_values_are_next_to_zero(run, tmp_path, monkeypatch):
    """One bit in a hundred thousand, and a value of 1e-5."""
    inputs = torch.zeros((10_000, 16))
    graph = tmp_path / "zeros.onnx"
    onnx_towers._write(nn.Identity(), inputs[:2], graph, "x", {}, "it")
    wanted = np.zeros((10_000, 16), dtype=np.float32)
    wanted[5, 3] = 1e-5
    assert onnx_towers._compare(graph, "x", inputs, wanted, "it")[0] == 1
    for wrong in ((5, 3, 1e-3), (slice(2), slice(None), 1e-5)):
        off = np.zeros_like(wanted)
        off[wrong[:2]] = wrong[2]
        with pytest.raises(HashzooError, match="gives other codes"):
            onnx_towers._compare(graph, "x", inputs, off, "it")


def test_what_cannot_be_asked_for_is_one_sentence(run, tmp_path, command, sentence, monkeypatch):
    outcome = command("export", run, "--onnx", tmp_path / "towers")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'towers'}\n")
    assert "text.onnx takes features of shape (64,); on" in outcome.err
    assert "0 bits differ from torch's" in outcome.err
    assert json.loads(command("export", run, "--onnx", tmp_path / "more", "--json").out)["schema"] == 1
    assert "towers exists already; give a new folder" in sentence("export", run, "--onnx", tmp_path / "towers")
    assert "neither a run nor a collection" in sentence("export", tmp_path, "--onnx", tmp_path / "none")
    other = a_run("toy", "image.stored=float16")
    assert "less than float32; leave out --with-encoder" in sentence(
        *("export", other, "--onnx", tmp_path / "none", "--with-encoder")
    )
    assert command("export", other, "--onnx", tmp_path / "half").code == 0
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "onnxruntime", None)
        assert 'pip install "hashzoo[onnx]"' in sentence("export", run, "--onnx", tmp_path / "none")


def test_towers_of_given_features_have_no_encoder(tiny, tmp_path):
    export.export("scenes", "tiny", tmp_path / "archive", settings=SMALL)
    run = a_run("toy", encoders=f"archive:{tmp_path / 'archive'}+bow")
    assert export_towers(run, tmp_path / "towers")["towers"]["image"]["shape"] == [48]
    with pytest.raises(HashzooError, match="takes image features that were given; leave out --with-encoder"):
        export_towers(run, tmp_path / "none", with_encoder=True)


@pytest.mark.slow
def test_lite0_and_minilm_from_pixels_and_words(tmp_path, command):
    run = a_run("dcmh", "trainer.epochs=1", encoders="lite")
    made = export_towers(run, tmp_path / "towers", with_encoder=True)
    assert [tower["shape"] for tower in made["towers"].values()] == [[3, 128, 128], [128]]
    without_torch(example("minilm") + "np.save('outputs.npy', outputs)")
    texts = ["a red car in front of a house", "two dogs on the beach"]
    codes, values = load_model(run, device="cpu").encode_texts(texts)
    outputs = np.load("outputs.npy")
    assert np.abs(outputs - values).max() < 1e-4
    assert isinstance(codes, Codes)
    assert np.array_equal(pack(outputs).data, codes.data)
    assert os.path.getsize(tmp_path / "towers" / "text.onnx") > 80e6
