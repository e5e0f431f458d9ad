"""PIL images to square uint8 tensors, pixel for pixel as torchvision's Resize and CenterCrop do it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hashzoo.errors import HashzooError


def check_pixels(pixels: int, encoder: str) -> int:
    """`pixels` if it can be the side of an image, else an error."""
    if isinstance(pixels, bool) or not isinstance(pixels, int) or not 16 <= pixels <= 4096:
        raise HashzooError(f"pixels of encoder '{encoder}' must be a whole number from 16 to 4096, not {pixels!r}")
    return pixels


def square(image: Image.Image, pixels: int, *, resize: int, mode: str, interpolation: str) -> Tensor:
    """Resize, then cut the centre: a (3, pixels, pixels) uint8 tensor, RGB.

    Args:
        image: any size, any mode; it is not changed.
        resize: the length of the side after resizing, at least `pixels`.
        mode: "shortest" (the shorter side becomes `resize`, the shape stays) or "squash" (both sides do).
        interpolation: a name of `PIL.Image.Resampling` in lower case, such as "bicubic".
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    width, height = image.size
    if mode == "squash":
        size = (resize, resize)
    else:
        short, long = sorted((width, height))
        longer = int(resize * long / short)
        size = (resize, longer) if width <= height else (longer, resize)
    if size != (width, height):
        image = image.resize(size, Image.Resampling[interpolation.upper()])
    left, top = (round((side - pixels) / 2) for side in size)
    image = image.crop((left, top, left + pixels, top + pixels))
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


class Normalise(nn.Module):
    """(B, 3, H, W) uint8 to (x / 255 - mean) / std, float32; the constants are no part of the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.mean.dtype) / 255 - self.mean) / self.std

    def card(self) -> dict[str, list[float]]:
        """Mean and standard deviation a channel, to six digits."""
        return {name: [round(v, 6) for v in getattr(self, name).flatten().tolist()] for name in ("mean", "std")}
