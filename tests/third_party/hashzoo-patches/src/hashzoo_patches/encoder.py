"""Soft counts of colour patches, over a spatial pyramid.

Coates, Lee and Ng: "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011: patches are
normalised, whitened and compared with k-means centroids by the "triangle" activation. Pyramid: Lazebnik, Schmid and
Ponce, CVPR 2006.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from hashzoo import Encoder, HashzooError
from hashzoo.encoders.base import MissingWeights, state_digest
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, unfold

SIDE = 6  # pixels of a patch
WIDTH = 3 * SIDE * SIDE  # values of a patch
CENTROIDS = 96
GRIDS = {"whole": 1, "pooled": 2, "grid": 4}  # cells a side, by output


class Patches(Encoder):
    """Triangle activations of a codebook of 6x6 colour patches, averaged over quadrants: features (B, 4 * 96).

    Further outputs: "whole" (B, 96), the average over the picture, and "grid" (B, 16 * 96), over 4x4 cells.

    Args:
        weights: "pretrained" (the codebook in this package), a path to a .safetensors file that
            scripts/learn_codebook.py wrote, or "random".
        pixels: side of the square that a picture is resized to.
        stride: pixels between neighbouring patches.
    """

    modality = "image"
    dim = CENTROIDS * GRIDS["pooled"] ** 2
    outputs = {name: CENTROIDS * side**2 for name, side in GRIDS.items() if name != "pooled"}  # noqa: RUF012

    mean: Tensor  # (WIDTH,) of normalised patches
    whitening: Tensor  # (WIDTH, WIDTH), symmetric

    def __init__(self, weights: str = "pretrained", pixels: int = 48, stride: int = 2):
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride must be 1 or more, not {stride}")
        if pixels < SIDE + 3 * stride:
            raise ValueError(f"pixels must be {SIDE + 3 * stride} or more at stride {stride}, not {pixels}")
        self.pixels, self.stride, self.random = pixels, stride, weights == "random"
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("whitening", torch.eye(WIDTH))
        self.centroids = nn.Parameter(torch.randn(CENTROIDS, WIDTH, generator=torch.Generator().manual_seed(0)))
        if weights == "pretrained":
            with as_file(files("hashzoo_patches") / "codebook.safetensors") as path:
                self._load(path)
        elif weights != "random":
            self._load(Path(weights))

    def _load(self, path: Path) -> None:
        """Read mean, whitening and centroids."""
        if not path.is_file():
            raise MissingWeights(
                "patches", f"there is no file {path}", "a .safetensors file of scripts/learn_codebook.py"
            )
        try:
            self.load_state_dict(load_file(path))
        except (RuntimeError, SafetensorError) as error:
            raise HashzooError(f"{path} is not a codebook of scripts/learn_codebook.py: {error}") from error

    def prepare(self, item: Image.Image) -> Tensor:
        """An RGB picture as (3, pixels, pixels) uint8."""
        small = item.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR, reducing_gap=3.0)
        return torch.from_numpy(np.array(small).transpose(2, 0, 1).copy())

    def activations(self, x: Tensor) -> Tensor:
        """Triangle activations (B, 96, rows, columns) of prepared pictures (B, 3, pixels, pixels)."""
        patches = normalise(unfold(x.float() / 255, SIDE, stride=self.stride).transpose(1, 2))  # (B, patches, WIDTH)
        distances = torch.cdist((patches - self.mean) @ self.whitening, self.centroids.expand(len(x), -1, -1))
        near = (distances.mean(dim=2, keepdim=True) - distances).relu()
        side = (self.pixels - SIDE) // self.stride + 1
        return near.transpose(1, 2).unflatten(2, (side, side))

    def forward_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Averages over the cells of each grid: "pooled" (B, 384), "whole" (B, 96) and "grid" (B, 1536)."""
        near = self.activations(x)
        return {name: adaptive_avg_pool2d(near, side).flatten(1) for name, side in GRIDS.items()}

    def forward(self, x: Tensor) -> Tensor:
        """The pooled features, (B, 384)."""
        return adaptive_avg_pool2d(self.activations(x), GRIDS["pooled"]).flatten(1)

    def card(self) -> dict[str, object]:
        """Sizes, and a digest of the codebook; random weights are named as such, which tables show."""
        digest = state_digest(self)
        weights = {"weights": "random", "digest": digest} if self.random else {"weights": digest}
        return {"encoder": "patches", "pixels": self.pixels, "stride": self.stride, **weights}


def normalise(patches: Tensor) -> Tensor:
    """Patches (..., WIDTH) in 0..1 without brightness and contrast; Coates et al. add 10 to the variance of 0..255."""
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 10 / 255**2).sqrt()
