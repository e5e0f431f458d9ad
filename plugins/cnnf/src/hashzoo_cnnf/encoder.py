"""CNN-F (Chatfield et al., BMVC 2014, table 1), with the weights that MatConvNet publishes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn.functional import relu

from hashzoo.encoders.base import Encoder, MissingWeights
from hashzoo.encoders.pixels import square
from hashzoo.encoders.weights import seeded, weights_card, weights_path
from hashzoo.errors import HashzooError

PIXELS = 224
MD5 = "f666c61dc968c413ef664a7e17b01144"  # of the file that MatConvNet publishes since 1.0-beta17
PATH_HELP = "the file imagenet-vgg-f.mat of MatConvNet"
MEAN_COLOUR = (123.68, 116.779, 103.939)  # of ImageNet; stands in for the average image of untrained weights

# Height, width, channels in and out of the filters, as MatConvNet orders them.
FILTERS = {
    "conv1": (11, 11, 3, 64),
    "conv2": (5, 5, 64, 256),
    "conv3": (3, 3, 256, 256),
    "conv4": (3, 3, 256, 256),
    "conv5": (3, 3, 256, 256),
    "fc6": (6, 6, 256, 4096),
    "fc7": (1, 1, 4096, 4096),
}


class CNNF(Encoder):
    """CNN-F up to fc7 (after its ReLU), 4096 features, without dropout.

    Args:
        weights: the path of MatConvNet's imagenet-vgg-f.mat, or "random": Gaussian filters of
            standard deviation 0.01 and zero biases. "pretrained" asks for that path, since no
            hub carries the file.
    """

    modality = "image"
    dim = 4096
    average: Tensor

    def __init__(self, weights: str = "pretrained"):
        super().__init__()
        if weights == "pretrained":
            raise MissingWeights("cnnf", "no hub carries them; MatConvNet publishes imagenet-vgg-f.mat", PATH_HELP)
        self.weights = weights
        self.files = [] if weights == "random" else [weights_path(weights, "cnnf", PATH_HELP)]
        state = read_mat(self.files[0], md5=MD5) if self.files else None
        with seeded():
            self.conv1 = nn.Conv2d(3, 64, 11, stride=4)
            self.conv2 = nn.Conv2d(64, 256, 5, padding=2)
            self.conv3 = nn.Conv2d(256, 256, 3, padding=1)
            self.conv4 = nn.Conv2d(256, 256, 3, padding=1)
            self.conv5 = nn.Conv2d(256, 256, 3, padding=1)
            self.fc6 = nn.Linear(256 * 6 * 6, 4096)
            self.fc7 = nn.Linear(4096, 4096)
            # The sums of the paper's formula; PyTorch divides alpha by the size.
            self.norm = nn.LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2)
            self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            self.register_buffer("average", torch.tensor(MEAN_COLOUR).view(3, 1, 1).expand(3, PIXELS, PIXELS).clone())
            if state is None:
                self._draw()
        if state is not None:
            self.load_state_dict(state)
        self.eval()

    def prepare(self, item: Image) -> Tensor:
        """An image of any size as (3, 224, 224) uint8; its shape is not kept."""
        return square(item, PIXELS, resize=PIXELS, mode="squash", interpolation="bicubic")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 224, 224) uint8 to (B, 4096) float32."""
        x = x.to(self.average.dtype) - self.average
        x = self.pool(self.norm(relu(self.conv1(x))))
        x = self.pool(self.norm(relu(self.conv2(x))))
        x = relu(self.conv4(relu(self.conv3(x))))
        x = self.pool(relu(self.conv5(x)))
        return relu(self.fc7(relu(self.fc6(x.flatten(1))))).float()

    def card(self) -> dict[str, Any]:
        return {
            "encoder": "cnnf",
            "features": "fc7",
            "pixels": PIXELS,
            "resize": ["squash", PIXELS, "bicubic"],
            "precision": "fp32",
            **weights_card(self, self.weights),
        }

    def _draw(self) -> None:
        for name in FILTERS:
            layer = self.get_submodule(name)
            nn.init.normal_(layer.get_parameter("weight"), std=0.01)
            nn.init.zeros_(layer.get_parameter("bias"))


def read_mat(path: Path, *, md5: str) -> dict[str, Tensor]:
    """The state dict of `CNNF` in a MatConvNet file.

    Files with `meta` (since 1.0-beta17) must have the MD5 `md5`. The files of the releases before
    that hold the same numbers in another layout, and no checksum of theirs was published.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise HashzooError(
            "encoder 'cnnf' reads its file with scipy; type: pip install \"hashzoo-cnnf[mat]\""
        ) from error

    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    wrong = HashzooError(
        f"{path} is not the published imagenet-vgg-f.mat (its MD5 is {found}, not {md5}); fetch the file again"
    )
    try:
        mat = loadmat(path, simplify_cells=True)
        state = _state(mat)
    except Exception as error:  # scipy, numpy and a missing field raise many kinds
        raise wrong from error
    if "meta" in mat and found != md5:
        raise wrong
    return state


def _state(mat: Mapping[str, Any]) -> dict[str, Tensor]:
    layers = {layer["name"]: layer for layer in mat["layers"]}
    state = {}
    for name, shape in FILTERS.items():
        filters, biases = _parameters(layers[name])
        # Height x width x in x out; a full transpose would also swap height and width.
        weight = torch.from_numpy(np.ascontiguousarray(filters.reshape(shape).transpose(3, 2, 0, 1), np.float32))
        state[f"{name}.weight"] = weight if name.startswith("conv") else weight.flatten(1)
        state[f"{name}.bias"] = torch.from_numpy(np.ascontiguousarray(biases, np.float32)).reshape(shape[-1])
    normalisation = mat["meta"]["normalization"] if "meta" in mat else mat["normalization"]
    average = np.asarray(normalisation["averageImage"], dtype=np.float32)
    if average.ndim != 3:
        average = average.reshape(1, 1, 3)  # a mean colour
    average = np.broadcast_to(average, (PIXELS, PIXELS, 3))
    state["average"] = torch.from_numpy(average.transpose(2, 0, 1).copy())
    return state


def _parameters(layer: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Filters and biases: one cell in newer files, two fields in older ones."""
    return tuple(layer["weights"]) if "weights" in layer else (layer["filters"], layer["biases"])
