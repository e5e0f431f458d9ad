"""VGG-16 and VGG-19: the fc7 features of many cross-modal hashing papers."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from hashzoo.encoders.timm import TimmEncoder


class VGG16(TimmEncoder):
    """VGG-16 up to fc7 after its ReLU (Simonyan & Zisserman, ICLR 2015), 4096 features.

    The weights are those that torchvision trained (timm's `vgg16.tv_in1k`), with their preprocessing: shorter
    side to 256, bilinear, centre 224, mean and standard deviation of ImageNet. Papers that took the authors'
    Caffe weights differ a little in both.

    Args:
        weights: "pretrained" (from the hub or its cache), a file with the state dict in timm's or in
            torchvision's names, or "random".
        pixels: side of the square input; 0 takes 224.
    """

    known_as = "vgg16"
    path_help = "a .safetensors or .pth file with the state dict of this model, by timm or by torchvision"
    tag = "vgg16.tv_in1k"

    def __init__(self, weights: str = "pretrained", pixels: int = 0):
        super().__init__(self.tag, weights=weights, pixels=pixels)

    def _read(self, path: Path) -> dict[str, Tensor]:
        return _in_names_of_timm(super()._read(path))


class VGG19(VGG16):
    """VGG-19 up to fc7, otherwise as `VGG16` (timm's `vgg19.tv_in1k`)."""

    known_as = "vgg19"
    tag = "vgg19.tv_in1k"


def _in_names_of_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's fully connected layers are convolutions in timm; other names stay as they are."""
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    renamed = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer in ("classifier.0", "classifier.3") and kind == "weight":
            side = 7 if layer == "classifier.0" else 1
            value = value.reshape(len(value), -1, side, side)
        renamed[f"{names.get(layer, layer)}.{kind}"] = value
    return renamed
