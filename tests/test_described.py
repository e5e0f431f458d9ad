"""Cards that are remembered: an encoder whose features are all cached is not built, and never taken for another."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import SMALL

from hashzoo import zoo
from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench
from hashzoo.encoders.bow import BagOfWords
from hashzoo.encoders.described import Described, recalled, remember
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset, train_data
from hashzoo.recipe import build
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import cache_dir

CARD = {"name": "mine", "weights": "0123"}
HEAVY = ("timm", "torchvision", "open_clip", "transformers", "sentence_transformers", "torch._dynamo", "sympy")
CELL = """
import json, sys
from hashzoo import bench
found = bench(["toy"], [16], dataset="scenes", encoders="timm:resnet10t+bow", settings=json.loads(sys.argv[1]))
print(json.dumps([found["results"][0]["status"], sorted(set(json.loads(sys.argv[2])) & set(sys.modules))]))
"""


def workbench(*settings: str, pair=("tiny", "bow")):
    assignments = parse_assignments((*SMALL, *settings), ["toy"])
    data = open_dataset("scenes", assignments)
    track = Track.of(data, train_data(assignments))
    recipe = build(zoo.load(), "toy", dict(zip(("image", "text"), pair, strict=True)), assignments)
    return Workbench(data, track, torch.device("cpu"), threads=1), recipe


def notes() -> list[str]:
    return sorted(path.name for path in (cache_dir() / "encoders").glob("*.json"))


def test_a_cell_on_cached_features_imports_no_library_of_networks_and_no_compiler(tiny):
    from hashzoo import bench

    settings = [*SMALL, "image.weights=random", "image.pixels=32", "trainer.epochs=1"]
    found = bench(["toy"], [8], dataset="scenes", encoders="timm:resnet10t+bow", settings=settings)
    assert found["results"][0]["status"] == "ok"
    done = subprocess.run(
        [sys.executable, "-c", CELL, json.dumps(settings), json.dumps(HEAVY)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["ok", []]


def test_what_is_remembered_says_the_same_and_builds_the_same(tiny):
    bench, recipe = workbench("text.size=50", "text.min_count=1")
    first = bench.described(recipe, "text")
    assert len(notes()) == 1
    bench, recipe = workbench("text.size=50", "text.min_count=1")
    second = bench.described(recipe, "text")
    assert (second.card, second.dim, second.outputs, second.looks_up) == (first.card, 50, {}, False)
    assert "encoder" not in vars(second)
    assert second.encoder.words == first.encoder.words


def test_other_settings_other_training_rows_and_other_data_are_not_taken_for_it(tiny):
    cards = []
    for settings in ((), ("text.min_count=1",), ("train_data.size=30",), ("dataset.seed=1",), ("text.stored=float16",)):
        bench, recipe = workbench(*settings)
        cards.append(bench.described(recipe, "text").card)
        assert len(notes()) == len(cards)
    assert len({json.dumps(card) for card in cards}) == 5


def test_an_encoder_that_does_not_name_its_files_is_built_in_every_process(tiny):
    for _ in range(2):
        bench, recipe = workbench()
        assert bench.described(recipe, "image").encoder.gain == 1.0
    assert notes() == []


def test_changed_files_are_not_what_was_remembered(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    weights, other = folder / "weights", folder / "other"
    weights.write_text("1")
    preimage = {"encoder": "mine", "settings": {"weights": "weights"}}

    def build() -> Described:
        raise AssertionError("not asked for")

    assert recalled(preimage, build) is None
    remember(preimage, Described.of(BagOfWords(size=7), CARD), [weights, folder])
    found = recalled(preimage, build)
    assert found is not None
    assert (found.card, found.dim) == (CARD, 7)
    assert recalled(preimage | {"encoder": "yours"}, build) is None
    other.write_text("a file that was not there")
    assert recalled(preimage, build) is None
    other.unlink()
    remember(preimage, Described.of(BagOfWords(size=7), CARD), [weights])
    assert recalled(preimage, build) is not None
    weights.write_text("22")
    assert recalled(preimage, build) is None
    weights.unlink()
    assert recalled(preimage, build) is None


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"preimage": 3, "files": 4}'])
def test_damaged_notes_count_as_none(tmp_path, damage):
    remember({"a": 1}, Described.of(BagOfWords(), CARD), [])
    (cache_dir() / "encoders" / notes()[0]).write_text(damage)
    assert recalled({"a": 1}, lambda: Described.of(BagOfWords(), CARD)) is None


def test_what_is_built_must_be_what_was_remembered(tmp_path):
    remember({"a": 1}, Described.of(BagOfWords(), CARD), [])
    same = recalled({"a": 1}, lambda: Described.of(BagOfWords(size=9), dict(CARD)))
    assert same is not None
    assert same.encoder.dim == 9
    other = recalled({"a": 1}, lambda: Described.of(BagOfWords(), CARD | {"weights": "4567"}))
    assert other is not None
    with pytest.raises(HashzooError, match="not what it was"):
        _ = other.encoder
    assert recalled({"a": 1}, lambda: Described.of(BagOfWords(), CARD)) is None
