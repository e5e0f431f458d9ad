"""`wiki`: read from its MATLAB file, and trained on the features that it brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import SHARED
from scipy.io import savemat

from hashzoo.data import wiki
from hashzoo.data.wiki import FILE, Wiki

REAL = SHARED / FILE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of the true layout: topics that tell the class, picture features that tell a little of it."""
    noise = np.random.default_rng(0)
    arrays = {}
    for split, rows in (("tr", 2173), ("te", 693)):
        labels = np.eye(10, dtype=np.uint8)[np.arange(rows) % 10]
        arrays[f"L_{split}"] = labels
        arrays[f"T_{split}"] = noise.dirichlet(np.ones(10), rows) + labels
        arrays[f"I_{split}"] = noise.random((rows, 128)) + 0.3 * labels @ np.ones((10, 128)) * np.arange(128)
    folder = tmp_path / "source"
    folder.mkdir()
    savemat(folder / FILE, arrays | {"sampleInds": np.arange(2173)[None]})
    return folder


def test_it_is_prepared_from_a_folder_or_the_file(source, command):
    for path in (source, source / FILE):
        assert command("datasets", "prepare", "wiki", "--from", path).code == 0
    data = Wiki()
    assert [len(rows) for rows in (data.splits.train, data.splits.query, data.splits.database)] == [2173, 693, 2173]
    assert {role: array.shape for role, array in data.features.items()} == {"image": (2866, 128), "text": (2866, 10)}
    assert command("datasets", "prepare", "wiki").code == 0
    assert "text features: 10 numbers each" in command("datasets", "show", "wiki").out


def test_methods_train_on_its_features(source, command):
    command("datasets", "prepare", "wiki", "--from", source)
    outcome = command(
        *("bench", "--dataset", "wiki", "--method", "random", "--bits", "16", "--encoders", "lite,given"),
    )
    assert outcome.code == 0, outcome.err
    assert "mAP on wiki, given" in outcome.out


def test_without_its_file_it_says_what_to_type(sentence):
    said = sentence("bench", "--dataset", "wiki", "--method", "random")
    assert "type hashzoo datasets prepare wiki --from FOLDER" in said
    assert "type hashzoo datasets prepare wiki --from FOLDER" in sentence("datasets", "prepare", "wiki")


def test_another_file_is_refused(tmp_path, sentence):
    savemat(tmp_path / FILE, {"I_tr": np.ones((5, 128))})
    assert "has (5, 128) as I_tr where (2173, 128) belongs" in sentence(
        "datasets", "prepare", "wiki", "--from", tmp_path
    )
    (tmp_path / FILE).write_bytes(b"no matlab file")
    assert "is no readable MATLAB file" in sentence("datasets", "prepare", "wiki", "--from", tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason=f"{FILE} is not on this machine")
def test_the_real_file_has_the_counts_of_its_authors(command):
    Wiki.prepare(SHARED)
    data = Wiki()
    counts = data.labels[data.splits.train].sum(axis=0)
    assert dict(zip(wiki.CLASSES, counts.tolist(), strict=True)) == {
        **{"art": 138, "biology": 272, "geography": 244, "history": 248, "literature": 202},
        **{"media": 178, "music": 186, "royalty": 144, "sport": 214, "warfare": 347},
    }
    assert command("datasets", "verify", "wiki").code == 0
