from importlib.resources import files

import pytest
import torch
from hashzoo import HashzooError
from hashzoo.encoders.base import MissingWeights
from PIL import Image

from hashzoo_patches.encoder import Patches, normalise


def test_a_path_gives_the_weights_of_that_file(tmp_path):
    path = tmp_path / "copy.safetensors"
    path.write_bytes((files("hashzoo_patches") / "codebook.safetensors").read_bytes())
    assert Patches(weights=str(path)).card() == Patches().card() != Patches(weights="random").card()


def test_a_missing_file_and_another_file_are_refused(tmp_path):
    with pytest.raises(MissingWeights, match="no file"):
        Patches(weights=str(tmp_path / "none.safetensors"))
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(HashzooError, match="not a codebook"):
        Patches(weights=str(path))


def test_brightness_changes_nothing():
    patches = torch.rand(5, 108) / 2
    assert torch.allclose(normalise(patches), normalise(patches + 0.3), atol=1e-5)


def test_quadrants_average_to_the_whole():
    encoder = Patches()
    outputs = encoder.forward_outputs(encoder.prepare(Image.radial_gradient("L").convert("RGB"))[None])
    quadrants = outputs["pooled"].unflatten(1, (-1, 4)).mean(dim=2)
    assert torch.allclose(quadrants, outputs["whole"], atol=1e-4)
