"""Learn the codebook that the package ships: k-means on whitened 6x6 colour patches of scenes that are drawn here.

    python scripts/learn_codebook.py src/hashzoo_patches/codebook.safetensors

The scenes are drawn by this script, not taken from a data set, so that no query row can leak into the weights.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch.nn.functional import unfold

from hashzoo_patches.encoder import CENTROIDS, SIDE, normalise

SCENES, PIXELS, PATCHES, STEPS, FLOOR = 400, 48, 40_000, 30, 0.1


def draw_scene(random: np.random.Generator) -> Image.Image:
    """A vertical gradient, a horizon in half of the scenes, one to five plain shapes and a little noise."""
    top, bottom = random.uniform(0, 255, (2, 3))
    share = np.linspace(0, 1, PIXELS)[:, None, None]
    picture = Image.fromarray(np.broadcast_to((1 - share) * top + share * bottom, (PIXELS, PIXELS, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    if random.random() < 0.5:
        draw.rectangle((0, random.integers(PIXELS // 3, PIXELS), PIXELS, PIXELS), fill=colour(random))
    for _ in range(random.integers(1, 6)):
        x, y = random.integers(-4, PIXELS - 8, 2)
        wide, high = random.integers(6, 24, 2)
        box = (x, y, x + wide, y + high)
        match random.integers(4):
            case 0:
                draw.ellipse(box, fill=colour(random))
            case 1:
                draw.rectangle(box, fill=colour(random), outline=colour(random))
            case 2:
                draw.polygon([(x, y + high), (x + wide // 2, y), (x + wide, y + high)], fill=colour(random))
            case 3:
                draw.line(box, fill=colour(random), width=int(random.integers(1, 4)))
    return Image.fromarray(
        (np.asarray(picture) + random.normal(0, 4, (PIXELS, PIXELS, 3))).clip(0, 255).astype(np.uint8)
    )


def colour(random: np.random.Generator) -> tuple[int, ...]:
    """Any RGB colour."""
    return tuple(random.integers(0, 256, 3).tolist())


def whitening(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (108,) and symmetric ZCA matrix (108, 108) of normalised patches (n, 108)."""
    mean = patches.mean(dim=0)
    values, vectors = torch.linalg.eigh((patches - mean).T.cov())
    return mean, vectors / (values + FLOOR).sqrt() @ vectors.T


def k_means(points: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Centroids (count, width) of points (n, width) by Lloyd's steps; an empty cluster restarts at a random point."""
    centroids = points[torch.randperm(len(points), generator=generator)[:count]]
    for _ in range(STEPS):
        nearest = torch.cdist(points, centroids).argmin(dim=1)
        sizes = nearest.bincount(minlength=count)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        fresh = points[torch.randint(len(points), (count,), generator=generator)]
        centroids = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], fresh)
    return centroids


def main(path: Path) -> None:
    """Draw, sample, whiten, cluster and save."""
    random, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    scenes = np.stack([np.asarray(draw_scene(random)) for _ in range(SCENES)])
    pixels = torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 255
    patches = unfold(pixels, SIDE, stride=2).transpose(1, 2).flatten(0, 1)  # (scenes * 484, 108)
    patches = normalise(patches[torch.randperm(len(patches), generator=generator)[:PATCHES]])
    mean, white = whitening(patches)
    centroids = k_means((patches - mean) @ white, CENTROIDS, generator)
    save_file({"mean": mean, "whitening": white.contiguous(), "centroids": centroids.contiguous()}, path)
    print(f"{path}: {CENTROIDS} centroids of {len(patches):,} patches, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
