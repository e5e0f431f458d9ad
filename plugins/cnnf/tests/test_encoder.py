"""CNN-F against loops that follow the paper, and against files of MatConvNet's two layouts."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hashzoo_cnnf import encoder as module
from hashzoo_cnnf.encoder import CNNF, FILTERS
from PIL import Image

from hashzoo.encoders.base import MissingWeights
from hashzoo.errors import HashzooError

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes the synthetic weights file")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches this small only lose by threads, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_mat(path: Path, *, old: bool, average: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A file with the structure of imagenet-vgg-f.mat and weights made here, which are returned.

    The fully connected filters are mostly zeros, so that the file compresses to a few megabytes.
    """
    rng = np.random.default_rng(3)
    weights, layers = {}, []
    for name, shape in FILTERS.items():
        filters = np.zeros(shape, dtype=np.float32)
        if name.startswith("fc"):
            rows = rng.integers(0, shape[-1], 200)
            filters[..., rows] = rng.normal(0, 0.01, (*shape[:-1], 200))
        else:
            filters[:] = rng.normal(0, 0.03, shape)
        biases = rng.normal(0, 0.1, (1, shape[-1])).astype(np.float32)
        weights[name] = filters, biases[0]
        cell = np.empty((1, 2), dtype=object)
        cell[0] = [filters, biases]
        parameters = {"filters": filters, "biases": biases} if old else {"weights": cell}
        layers += [{"type": "conv", "name": name, **parameters}, {"type": "relu", "name": f"relu{name[-1]}"}]
    cells = np.empty((1, len(layers)), dtype=object)
    cells[0] = layers
    normalisation = {"averageImage": average, "imageSize": np.array([[224.0, 224.0, 3.0]])}
    rest = {"normalization": normalisation} if old else {"meta": {"normalization": normalisation}}
    scipy_io.savemat(path, {"layers": cells, **rest}, do_compression=True)
    return weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Path, MD5, weights and average image of a synthetic file in the present layout."""
    path = tmp_path_factory.mktemp("mat") / "imagenet-vgg-f.mat"
    average = np.random.default_rng(4).uniform(90, 130, (224, 224, 3)).astype(np.float32)
    weights = write_mat(path, old=False, average=average)
    return path, hashlib.md5(path.read_bytes()).hexdigest(), weights, average


@pytest.fixture(scope="module")
def loaded(published):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MD5", published[1])
        return CNNF(weights=str(published[0]))


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    return [Image.fromarray(a).resize((230 + 9 * n, 250), Image.Resampling.BICUBIC) for n, a in enumerate(small)]


def convolve_at(image, filters, biases, row, column, stride, padding):
    """All output channels at one place: image (H, W, in), filters (h, w, in, out), by loops over places."""
    total = biases.astype(np.float64).copy()
    for i in range(filters.shape[0]):
        for j in range(filters.shape[1]):
            y, x = row * stride - padding + i, column * stride - padding + j
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                total += image[y, x].astype(np.float64) @ filters[i, j].astype(np.float64)
    return total


def normalise_at(values):
    """x / (2 + 1e-4 * sum of squares over the five nearest channels) ** 0.75, at one place."""
    out = np.empty_like(values)
    for c in range(len(values)):
        window = values[max(0, c - 2) : c + 3]
        out[c] = values[c] / (2 + 1e-4 * (window**2).sum()) ** 0.75
    return out


def pool_at(image, row, column):
    """The largest value of the part of a 3 x 3 window, stride 2, that lies in the image."""
    return image[2 * row : 2 * row + 3, 2 * column : 2 * column + 3].max((0, 1))


def test_the_layers_are_those_of_the_paper(published, loaded):
    """Every layer, at corners and inside, from the values of the layer before it."""
    _, _, weights, average = published
    seen = {}
    for name, layer in loaded.named_children():
        layer.register_forward_hook(lambda _m, i, o, n=name: seen.setdefault(n, []).append((i[0][0], o[0])))
    item = pictures(1)[0]
    with torch.inference_mode():
        features = loaded(loaded.prepare(item)[None])[0].numpy()

    def last(value):
        return value.movedim(0, -1).numpy()

    pixels = np.asarray(item.resize((224, 224), Image.Resampling.BICUBIC)).astype(np.float32) - average
    np.testing.assert_allclose(last(seen["conv1"][0][0]), pixels, atol=1e-4)
    geometry = {"conv1": (4, 0, 54), "conv2": (1, 2, 27), "conv3": (1, 1, 13), "conv4": (1, 1, 13), "conv5": (1, 1, 13)}
    for name, (stride, padding, side) in geometry.items():
        given, out = (last(value) for value in seen[name][0])
        assert out.shape == (side, side, FILTERS[name][-1])
        for row, column in ((0, 0), (0, side - 1), (side - 1, 2), (side // 2, 5)):
            expected = convolve_at(given, *weights[name], row, column, stride, padding)
            np.testing.assert_allclose(out[row, column], expected, rtol=1e-3, atol=1e-3)
    for given, out in seen["norm"]:
        for row, column in ((0, 0), (20, 7)):
            expected = normalise_at(last(given)[row, column].astype(np.float64))
            np.testing.assert_allclose(last(out)[row, column], expected, rtol=1e-5, atol=1e-6)
    assert [out.shape[1:] for _, out in seen["pool"]] == [(27, 27), (13, 13), (6, 6)]
    for given, out in seen["pool"]:
        edge = out.shape[1] - 1
        for row, column in ((0, 0), (edge, edge), (edge, 1)):
            np.testing.assert_array_equal(last(out)[row, column], pool_at(last(given), row, column))
    fc6 = np.einsum("hwi,hwio->o", last(seen["pool"][2][1]), weights["fc6"][0], optimize=True) + weights["fc6"][1]
    np.testing.assert_allclose(seen["fc6"][0][1].numpy(), fc6, rtol=1e-3, atol=1e-4)
    fc7 = np.maximum(fc6, 0) @ weights["fc7"][0][0, 0] + weights["fc7"][1]
    np.testing.assert_allclose(features, np.maximum(fc7, 0), rtol=1e-3, atol=1e-4)
    assert features.std() > 0.01


def test_the_parameters_are_counted_as_in_the_paper(loaded):
    fc8 = 4096 * 1000 + 1000
    assert sum(p.numel() for p in loaded.parameters()) + fc8 == 60_834_536


def test_the_contract_of_an_encoder(loaded):
    state = torch.get_rng_state()
    x = torch.stack([loaded.prepare(picture) for picture in pictures(8)])
    copy = x.clone()
    with torch.inference_mode():
        together, again = loaded(x), loaded(x)
        one_by_one = torch.cat([loaded(row[None]) for row in x])
    assert (x.shape, x.dtype) == ((8, 3, 224, 224), torch.uint8)
    assert (together.shape, together.dtype) == ((8, loaded.dim), torch.float32)
    assert torch.equal(x, copy)
    assert torch.equal(together, again)
    assert (together - one_by_one).abs().max() <= 1e-5 * together.abs().max()
    assert torch.equal(state, torch.get_rng_state())
    assert not any(layer.training for layer in loaded.modules())
    assert json.loads(json.dumps(loaded.card())) == loaded.card()


def test_the_older_layout_holds_the_same_weights(published, loaded, tmp_path):
    """Without a known MD5, and here with a mean colour in the place of the average image."""
    write_mat(tmp_path / "old.mat", old=True, average=np.array([[[120.0, 110.0, 100.0]]], dtype=np.float32))
    state = CNNF(weights=str(tmp_path / "old.mat")).state_dict()
    for name, value in loaded.state_dict().items():
        assert name == "average" or torch.equal(state[name], value)
    assert state["average"].shape == (3, 224, 224)
    assert state["average"][:, 7, 9].tolist() == [120, 110, 100]


def test_a_file_that_is_not_the_published_one_is_refused(published, tmp_path):
    with pytest.raises(HashzooError, match=r"not f666c61dc968c413ef664a7e17b01144\); fetch the file again"):
        CNNF(weights=str(published[0]))
    (tmp_path / "cut.mat").write_bytes(published[0].read_bytes()[:100_000])
    with pytest.raises(HashzooError, match="fetch the file again"):
        CNNF(weights=str(tmp_path / "cut.mat"))


@pytest.mark.parametrize("weights", ["pretrained", "absent.mat"])
def test_without_a_file_the_answer_says_what_to_give(weights):
    with pytest.raises(MissingWeights, match=r"imagenet-vgg-f\.mat.*weights=random"):
        CNNF(weights=weights)


def test_random_weights_are_reproducible_and_say_so(loaded):
    state = torch.get_rng_state()
    first = CNNF(weights="random")
    second = CNNF(weights="random").card()
    assert torch.equal(state, torch.get_rng_state())
    assert first.card() == second
    assert second["weights"] == "random"
    assert second["digest"] != loaded.card()["weights"]
    assert abs(first.fc7.weight.std().item() - 0.01) < 1e-4
    assert not first.fc7.bias.any()
    assert [round(v, 3) for v in first.average[:, 0, 0].tolist()] == [123.68, 116.779, 103.939]


def test_the_plugin_registers_the_encoder():
    plugin = importlib.import_module("hashzoo_cnnf")
    (part,) = plugin.hashzoo_encoders()
    assert plugin.HASHZOO_API == 1
    path, _, name = part.target.partition(":")
    assert getattr(importlib.import_module(path), name) is CNNF
