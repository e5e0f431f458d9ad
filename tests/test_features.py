"""The cache of features: computed once, never trusted when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hashzoo.data.scenes import Scenes
from hashzoo.data.training import NO_TEXT
from hashzoo.encoders.bow import BagOfWords
from hashzoo.encoders.described import Described
from hashzoo.errors import HashzooError
from hashzoo.features import cache
from hashzoo.features.cache import encode_modality
from hashzoo.features.extraction import CPU_BATCH, Extraction
from hashzoo.storage import arrays
from hashzoo.storage.files import StorageError, cache_dir, read_json, write_json

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


def encoded(data, encoder, card=CARD, outputs=(), frozen=True, **how):
    how = Extraction(**how)
    return encode_modality(data, Described.of(encoder, {**card, **how.card()}), "image", outputs, frozen, how)


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
def test_batches_of_any_size_give_the_same_rows(batch, data, encoder):
    np.testing.assert_allclose(encoded(data, encoder, batch=batch).features, slow(data, encoder), rtol=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_any_number_of_workers_gives_the_same_bytes(frozen, data, encoder, monkeypatch):
    found, threads = [], torch.get_num_threads()
    for workers in (1, 2, 7):
        monkeypatch.setenv("HASHZOO_CACHE", f"cache-{workers}")
        made = encoded(data, encoder, frozen=frozen, workers=workers)
        found.append((made.features.tobytes(), made.inputs.tobytes()))
    assert found[0] == found[1] == found[2]
    assert torch.get_num_threads() == threads


def test_the_last_batch_may_be_a_single_row(encoder):
    data = Scenes(pairs=7 * CPU_BATCH + 1, pixels=16, difficulty=0)
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


def test_named_outputs_lie_side_by_side(data, encoder):
    found = encoded(data, encoder, outputs=("rows",))
    assert found.widths == {"pooled": 48, "rows": 12}
    assert found.features.shape == (130, 60)
    outputs = encoder.forward_outputs(torch.stack([encoder.prepare(data.image(row)) for row in (0, 129)]))
    raw = torch.cat([outputs["pooled"], outputs["rows"]], dim=1)
    np.testing.assert_allclose(raw.detach().numpy(), found.features[[0, 129]], rtol=1e-6)


def test_named_outputs_are_left_out_unless_the_encoder_has_them_all(data, encoder):
    assert encoded(data, encoder, outputs=("rows", "stage1")).widths == {"pooled": 48}


def test_texts(data):
    bow = BagOfWords(size=50)
    bow.fit(data.text(int(row)) for row in data.splits.train)
    found = encode_modality(data, Described.of(bow, {"name": "bow", **bow.card()}), "text")
    np.testing.assert_array_equal(found.features[5], bow.prepare(data.text(5)).numpy())


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_prompts_are_encoded_once_for_all_processes(data, monkeypatch, capsys, stored):
    bow = BagOfWords(size=50)
    bow.fit(data.text(int(row)) for row in data.splits.train)
    strings = ["", "red circle", *(f"circle {number}" for number in range(40))]

    def found(words=strings):
        described = Described.of(bow, {"name": "bow", **bow.card()})
        return encode_modality(data, described, "text", how=Extraction(stored=stored)).tower_inputs(words)

    first = found()
    assert first.dtype == torch.float32
    np.testing.assert_array_equal(first.numpy(), np.stack([bow.prepare(string).numpy() for string in strings]))
    assert not torch.equal(found(strings[::-1]), first)
    assert "differ" not in capsys.readouterr().err
    monkeypatch.setattr(bow, "forward", None)
    assert torch.equal(found(), first)


def test_prompts_of_an_encoder_that_is_trained_along_are_prepared(data):
    bow = BagOfWords(size=50)
    bow.fit(data.text(int(row)) for row in data.splits.train)
    found = encode_modality(data, Described.of(bow, {"name": "bow", **bow.card()}), "text", frozen=False)
    assert found.tower_inputs(["", "red circle"]).dtype == torch.uint8


def test_rows_that_cannot_be_read_are_named_and_all_others_are_kept(data, encoder, monkeypatch, capsys):
    broken = {70: OSError("image file is truncated"), 129: HashzooError("pictures/129.jpg is no readable picture")}

    def image(row):
        if row in broken:
            raise broken[row]
        return Scenes.image(data, row)

    monkeypatch.setattr(data, "image", image)
    data.fingerprint = lambda: "fixed"
    with pytest.raises(
        HashzooError,
        match=r"the image of row 70 of scenes cannot be read .image file is truncated., and 1 more rows like it; what",
    ) as e:
        encoded(data, encoder)
    assert not isinstance(e.value, StorageError)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hashzoo:")]
    assert told[1] == (
        "hashzoo: the image of row 129 of scenes cannot be read (pictures/129.jpg is no readable picture)"
    )
    assert [name.rpartition(".")[2] for name in cached_files()] == ["journal", "part"]

    before = encoder.prepared
    broken.clear()
    np.testing.assert_allclose(encoded(data, encoder).features, slow(data, encoder), rtol=1e-6)
    slowly = len(data)
    assert encoder.prepared - before - slowly == CPU_BATCH + len(data) % CPU_BATCH  # the batches with a broken row
    assert f"going on after {len(data) - CPU_BATCH - 2} images" in capsys.readouterr().err
    assert [name.rpartition(".")[2] for name in cached_files()] == ["json", "npy"]


def test_where_nothing_can_be_read_not_everything_is_tried(encoder, monkeypatch, capsys):
    data = Scenes(pairs=400, pixels=16, difficulty=0)
    data.fingerprint = lambda: "fixed"
    monkeypatch.setattr(data, "image", lambda row: Path(f"{row}.jpg").read_bytes())
    with pytest.raises(HashzooError, match=r"row 0 of scenes .*No such file.*, and 111 more rows like it"):
        encoded(data, encoder)
    assert sum(line.startswith("hashzoo:") for line in capsys.readouterr().err.splitlines()) == 10
    assert cached_files() == []


def test_an_extraction_that_was_killed_goes_on(data, encoder, monkeypatch, capsys):
    whole = np.array(encoded(data, encoder).features)
    monkeypatch.setenv("HASHZOO_CACHE", "killed")
    read = Scenes.image

    def image(self, row):
        if row == 100:
            raise KeyboardInterrupt
        return read(self, row)

    fingerprint = data.fingerprint()
    data.fingerprint = lambda: fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(Scenes, "image", image)
        with pytest.raises(KeyboardInterrupt):
            encoded(data, encoder, workers=1)
    (part,) = (cache_dir() / "features").glob("*.part")
    with open(part, "r+b") as file:  # of what was written before the kill, a page got lost
        file.seek(200)
        file.write(b"lost")
    with open(part.with_suffix(".journal"), "a") as file:
        file.write('{"start": 11')
    before = encoder.prepared
    np.testing.assert_array_equal(encoded(data, encoder, workers=1).features, whole)
    assert encoder.prepared - before == len(data) - 96 + CPU_BATCH
    assert f"going on after {96 - CPU_BATCH} images" in capsys.readouterr().err


def test_float16_is_stored_when_asked_for_and_said_in_the_card(data, encoder):
    whole, half = encoded(data, encoder), encoded(data, encoder, stored="float16")
    assert half.features.dtype == np.float16
    np.testing.assert_array_equal(half.features, whole.features.astype(np.float16))


def test_features_too_large_for_float16_are_not_stored_in_it(data, encoder):
    with torch.no_grad():
        encoder.scale.fill_(1e6)
    with pytest.raises(HashzooError, match=r"which float16 cannot hold; leave out stored=float16"):
        encoded(data, encoder, stored="float16")
    assert encoded(data, encoder).features.max() > 65504


def test_bfloat16_runs_the_network_in_it(data):
    class Linear(BagOfWords):
        def __init__(self, dim=24):
            super().__init__(size=dim)
            self.layer = torch.nn.Linear(dim, dim)

        def forward(self, x):
            return self.layer(super().forward(x))

    encoder = Linear().eval()
    encoder.fit(data.text(int(row)) for row in data.splits.train)
    exact, reduced = (
        encode_modality(data, Described.of(encoder, {"name": how.precision}), "text", how=how).features
        for how in (Extraction(), Extraction(precision="bfloat16"))
    )
    assert reduced.dtype == np.float32
    assert 1e-4 < np.abs(exact - reduced).max() < 0.1


def test_many_rows_of_a_split_are_read_when_they_are_taken(data, encoder, monkeypatch):
    found, split = encoded(data, encoder), data.splits.train
    in_memory = found.inputs_of(split)
    assert type(in_memory) is np.ndarray
    monkeypatch.setattr(cache, "LARGE", 1)
    monkeypatch.setattr(arrays, "LARGE", 1)  # so that pages are let go, too
    files = cached_files()
    mapped = found.inputs_of(split)
    assert isinstance(mapped, arrays.Selected)
    assert mapped.array is found.features
    assert cached_files() == files  # nothing is copied
    some = np.array([5, 0, 5, len(split) - 1])
    np.testing.assert_array_equal(arrays.take(mapped, some), in_memory[some])
    with pytest.raises(IndexError):
        arrays.take(mapped, np.array([len(split)]))
    missing = np.array([3, NO_TEXT, 4])
    blank = np.zeros(48, dtype=np.float32)
    monkeypatch.setattr(type(found), "_blank", lambda *_: blank + 7)
    taken = arrays.take(found.inputs_of(missing), np.array([1, 0]))
    np.testing.assert_array_equal(taken, np.stack([blank + 7, found.features[3]]))


def test_a_batch_that_the_gpu_has_no_memory_for_is_halved(monkeypatch):
    from hashzoo.features import extraction

    sizes = []

    def network(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        return batch * 2

    batch = torch.arange(10)
    torch.testing.assert_close(extraction._on_gpu(network, batch, split=True), batch * 2)
    assert sizes == [10, 5, 2, 3, 5, 2, 3]
    with pytest.raises(torch.OutOfMemoryError):
        extraction._on_gpu(network, batch, split=False)
