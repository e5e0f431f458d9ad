"""The cache of features: computed once, never trusted when damaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hashzoo import features
from hashzoo.data.scenes import Scenes
from hashzoo.encoders.bow import BagOfWords
from hashzoo.errors import HashzooError
from hashzoo.features import BATCH, cached_array, encode_modality
from hashzoo.storage import StorageError, cache_dir, read_json, write_json

CARD = {"name": "tiny", "encoder": "tiny", "gain": 1.0}


@pytest.fixture
def data() -> Scenes:
    return Scenes(pairs=130, pixels=16, difficulty=0)


@pytest.fixture
def encoder(tiny):
    from hashzoo_tiny.parts import Tiny

    class Counting(Tiny):
        prepared = 0

        def prepare(self, item):
            Counting.prepared += 1
            return super().prepare(item)

    return Counting().eval()


def encoded(data, encoder, card=CARD, outputs=(), frozen=True):
    return encode_modality(data, encoder, card, "image", outputs, frozen)


def slow(data, encoder):
    with torch.no_grad():
        return torch.cat([encoder(encoder.prepare(data.image(row))[None]) for row in range(len(data))]).numpy()


def cached_files():
    return sorted(path.name for path in (cache_dir() / "features").iterdir())


def test_features_are_computed_once(data, encoder, capsys):
    first = encoded(data, encoder)
    assert encoder.prepared == len(data)
    assert "tiny features of scenes: 130 images in" in capsys.readouterr().err
    second = encoded(data, encoder)
    assert encoder.prepared == len(data)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(first.features, second.features)
    assert isinstance(second.features, np.memmap)
    assert second.features.dtype == np.float32
    assert second.inputs is second.features
    np.testing.assert_allclose(second.features, slow(data, encoder), rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 64, 65, 130, 131, 1000])
def test_batches_of_any_size_give_the_same_rows(batch, data, encoder, monkeypatch):
    monkeypatch.setattr(features, "BATCH", batch)
    np.testing.assert_allclose(encoded(data, encoder).features, slow(data, encoder), rtol=1e-6)


def test_the_last_batch_may_be_a_single_row(encoder):
    data = Scenes(pairs=2 * BATCH + 1, pixels=16, difficulty=0)
    assert len(encoded(data, encoder).features) == len(data)


@pytest.mark.parametrize("damage", ["truncated", "bit", "emptied", "deleted", "sidecar"])
def test_a_damaged_file_is_computed_again_with_one_line(damage, data, encoder, capsys):
    whole = np.array(encoded(data, encoder).features)
    (path,) = (cache_dir() / "features").glob("*.npy")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "deleted":
        path.unlink()
    else:
        write_json(path.with_suffix(".json"), {"preimage": {}, "size": len(content)})
    capsys.readouterr()
    np.testing.assert_array_equal(encoded(data, encoder).features, whole)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hashzoo:")]
    assert len(said) == 1
    assert f"{path} is damaged (" in said[0]
    assert said[0].endswith("; computing it again")
    assert encoder.prepared == 2 * len(data)
    encoded(data, encoder)
    assert encoder.prepared == 2 * len(data)
    assert len(cached_files()) == 2


def test_the_one_field_that_differs_is_named(data, encoder, capsys):
    encoded(data, encoder)
    capsys.readouterr()
    encoded(data, encoder, CARD | {"gain": 2.0})
    line = capsys.readouterr().err.splitlines()[0]
    assert line == "hashzoo: cached features differ in encoder.gain (1.0 there, 2.0 here)"


def test_nothing_is_said_when_more_than_one_field_differs_or_a_sidecar_cannot_be_read(data, encoder, capsys):
    encoded(data, encoder)
    (cache_dir() / "features" / "0.json").write_text("{")
    (cache_dir() / "features" / "1.json").write_text("[]")
    capsys.readouterr()
    encoded(data, encoder, CARD | {"gain": 2.0, "name": "other"})
    assert "differ" not in capsys.readouterr().err


def test_the_preimage_is_stored_beside_the_features(data, encoder):
    encoded(data, encoder)
    (sidecar,) = (cache_dir() / "features").glob("*.json")
    preimage = read_json(sidecar)["preimage"]
    assert preimage == {
        "kind": "features",
        "encoder": CARD,
        "outputs": ["pooled"],
        "dataset": "scenes",
        "content": data.fingerprint(),
        "role": "image",
        "rows": 130,
    }


def test_prepared_items_are_cached_for_an_encoder_that_is_trained_along(data, encoder):
    found = encoded(data, encoder, frozen=False)
    assert found.inputs.shape == (130, 3, 4, 4)
    assert found.inputs.dtype == np.uint8
    np.testing.assert_array_equal(found.inputs[7], encoder.prepare(data.image(7)).numpy())
    copy = found.trainable_encoder()
    assert copy is not encoder
    assert all(p.requires_grad for p in copy.parameters())
    with torch.no_grad():
        copy.scale.zero_()
    assert found.trainable_encoder().scale.min() == 1
    assert found.tower_inputs([data.image(3)]).shape == (1, 3, 4, 4)


def test_named_outputs_lie_side_by_side(data, encoder):
    found = encoded(data, encoder, outputs=("rows",))
    assert found.widths == {"pooled": 48, "rows": 12}
    assert found.features.shape == (130, 60)
    raw = found.tower_inputs([data.image(row) for row in (0, 129)])
    np.testing.assert_allclose(raw.numpy(), found.features[[0, 129]], rtol=1e-6)


def test_named_outputs_are_left_out_unless_the_encoder_has_them_all(data, encoder):
    assert encoded(data, encoder, outputs=("rows", "stage1")).widths == {"pooled": 48}


def test_texts(data):
    bow = BagOfWords(size=50)
    bow.fit(data.text(int(row)) for row in data.splits.train)
    found = encode_modality(data, bow, {"name": "bow", **bow.card()}, "text", (), True)
    np.testing.assert_array_equal(found.features[5], bow.prepare(data.text(5)).numpy())
    assert found.tower_inputs(["", "red circle"]).shape == (2, 50)


def test_a_picture_that_cannot_be_read_is_no_fault_of_the_disk(data, encoder, monkeypatch):
    def image(row):
        if row == 70:
            raise OSError("image file is truncated")
        return Scenes.image(data, row)

    monkeypatch.setattr(data, "image", image)
    data.fingerprint = lambda: "fixed"
    with pytest.raises(
        HashzooError, match=r"the image of row 70 of scenes cannot be read .image file is truncated"
    ) as e:
        encoded(data, encoder)
    assert not isinstance(e.value, StorageError)
    assert cached_files() == []


def test_an_interrupted_computation_leaves_nothing(data, encoder):
    def batches():
        yield np.zeros((2, 3), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_array({"rows": 4}, batches, "x", "rows")
    assert cached_files() == []
