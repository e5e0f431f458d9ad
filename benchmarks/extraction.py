"""How fast are features of photographs computed? A plain loop and hashzoo's extraction, in turn in one run.

    python benchmarks/extraction.py [--quick] [--json]

The pictures are drawn here: photo-like JPEGs of 500 x 375 pixels. The network is EfficientNet-Lite0 with untrained
weights (`lite0`), at the size that is usual here and at that of its training. The plain loop is what a script does:
PIL opens, resizes and cuts one picture after the other, batches of 64 in float32, all threads inside the network. Ours
is `encode_modality` from the files to the finished array in the cache. Rates are wall time, the best of several runs
taken in turn, so that neighbours on the machine disturb both sides alike; `cpu ms` is processor time a picture.
`prepare` is ours without a network: that it is far above ours says that decoding is not what limits. `difference` is
the largest between the features of the two sides, as a share of the largest feature; bfloat16 changes them by much
more, which is why it has to be asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what is timed is the checkout that this file stands in
# Threads that spin while they wait would make the plain loop many times slower wherever neighbours are busy.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from PIL import Image

from hashzoo.data import Dataset, Splits
from hashzoo.data.pictures import open_picture
from hashzoo.encoders.described import Described
from hashzoo.encoders.lite0 import Lite0
from hashzoo.features.cache import encode_modality
from hashzoo.features.extraction import Extraction, blocks
from hashzoo.processors import available_threads

DRAWN = 64  # pictures on disk, which are read again and again
PLAIN_BATCH = 64


def draw(folder: Path) -> list[Path]:
    """Large soft forms, finer ones on them, and the noise of a sensor: about 75 kB each, as photographs have."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(DRAWN):
        picture = np.zeros((375, 500, 3), dtype=np.float32)
        for cells, weight in ((6, 0.6), (25, 0.3), (90, 0.1)):
            coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
            picture += weight * np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC))
        picture += rng.normal(0, 6, picture.shape)
        files.append(folder / f"{number}.jpg")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


class Photographs(Dataset):
    """Rows that show the drawn pictures in turn; nothing but their images is used."""

    def __init__(self, files: list[Path], rows: int):
        self.name, self.classes, self._files = "photographs", ("one",), files
        self.labels = np.ones((rows, 1), dtype=np.bool_)
        number = np.arange(rows)
        self.splits = Splits(number[2:], number[:1], number[1:2], "none")

    def image(self, row: int) -> Image.Image:
        return open_picture(self._files[row % len(self._files)])

    def text(self, row: int) -> str:
        return ""

    def fingerprint(self) -> str:
        return "drawn"


@torch.inference_mode()
def plain(files: list[Path], rows: int, encoder: Lite0) -> np.ndarray:
    """What a script does."""
    torch.set_num_threads(available_threads())
    found = []
    for start in range(0, rows, PLAIN_BATCH):
        batch = []
        for row in range(start, min(start + PLAIN_BATCH, rows)):
            with Image.open(files[row % len(files)]) as picture:
                batch.append(encoder.prepare(picture.convert("RGB")))
        found.append(encoder.model(encoder.normalise(torch.stack(batch))))
    return torch.cat(found).numpy()


def ours(data: Photographs, encoder: Lite0, how: Extraction) -> np.ndarray:
    """Files to features in a cache that is empty at first."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HASHZOO_CACHE"] = cache
        return np.array(
            encode_modality(data, Described.of(encoder, {"name": "lite0", **how.card()}), "image", how=how).features
        )


def prepare(data: Photographs, encoder: Lite0) -> None:
    """Decoding and resizing alone."""
    how = Extraction()
    ranges = [range(start, min(start + how.rows, len(data))) for start in range(0, len(data), how.rows)]
    for _ in blocks(ranges, lambda row: encoder.prepare(data.image(row)), lambda batch: batch[:, 0, 0], how):
        pass


def processor_seconds() -> float:
    times = os.times()
    return times.user + times.system


def compare(files: list[Path], rows: int, pixels: int, repeat: int) -> list[dict[str, Any]]:
    """One size: a row for each way."""
    encoder = Lite0(pixels=pixels, weights="random")
    data = Photographs(files, rows)
    ways: dict[str, Callable[[], Any]] = {
        "plain loop": lambda: plain(files, rows, encoder),
        "hashzoo": lambda: ours(data, encoder, Extraction()),
        "hashzoo, bfloat16": lambda: ours(data, encoder, Extraction(precision="bfloat16")),
        "prepare": lambda: prepare(data, encoder),
    }
    wall, processor, found = dict.fromkeys(ways, float("inf")), dict.fromkeys(ways, float("inf")), {}
    for way in ways:  # torch chooses its kernels at the first batch of each
        plain(files, 8, encoder) if way == "plain loop" else ours(Photographs(files, 8), encoder, Extraction())
    for _ in range(repeat):
        for way, call in ways.items():
            began, began_processor = time.perf_counter(), processor_seconds()
            found[way] = call()
            wall[way] = min(wall[way], time.perf_counter() - began)
            processor[way] = min(processor[way], processor_seconds() - began_processor)
    usual = found["plain loop"]
    return [
        {
            "pixels": pixels,
            "way": way,
            "images_s": round(rows / wall[way], 1),
            "ratio": round(wall["plain loop"] / wall[way], 2),
            "cpu_ms": round(1000 * processor[way] / rows, 2),
            "difference": None
            if found[way] is None
            else float(f"{np.abs(found[way] - usual).max() / np.abs(usual).max():.1e}"),
        }
        for way in ways
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer pictures, under 50 s on two cores")
    asked = parser.parse_args()
    rows, repeat = (128, 2) if asked.quick else (512, 5)
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder))
        results = [row for pixels in (128, 224) for row in compare(files, rows, pixels, repeat)]
    if asked.json:
        print(json.dumps({"schema": 1, "processors": available_threads(), "rows": results}))
        return
    print("| pixels | way | images/s | ratio | cpu ms | difference |\n|---|---|---|---|---|---|")
    for row in results:
        print("| " + " | ".join("" if value is None else str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
