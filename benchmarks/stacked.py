"""Would cells train faster if their heads took steps together, as stacked matrices? Why hashzoo does not stack them.

    python benchmarks/stacked.py [--hidden 0,128,512] [--cells 5,20] [--bits 64] [--device cpu] [--json]

Both train image and text heads on the features of `emoji`'s encoders' widths (random numbers), batches of 128, the
likelihood of pairs and AdamW. `alone` is a step of one cell, as hashzoo's trainer takes it: `Perceptron`, `Descent`.
`stacked` is a step of all cells, whose weights are one tensor and whose products are `torch.baddbmm`, divided by the
number of cells: the best case, without dropout and without what a general mechanism would cost. Milliseconds, the
least of several, with one thread on a CPU; `times` is alone over stacked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hashzoo.losses import pair_likelihood
from hashzoo.model import HashHead, Tower, Towers
from hashzoo.train import Descent

ROWS, WIDTHS, CLASSES, BATCH, STEPS, REPEAT = 3073, (1280, 384), 50, 128, 30, 5


class StackedHead(nn.Module):
    """The heads of some cells: (cells, B, width) to (cells, B, bits)."""

    def __init__(self, cells: int, width: int, hidden: int, bits: int):
        super().__init__()
        sizes = [width, hidden, bits] if hidden else [width, bits]
        made = [[nn.Linear(a, b) for a, b in itertools.pairwise(sizes)] for _ in range(cells)]
        layers = list(zip(*made, strict=True))
        self.weights = nn.ParameterList(torch.stack([one.weight.detach().T for one in layer]) for layer in layers)
        self.biases = nn.ParameterList(torch.stack([one.bias.detach()[None] for one in layer]) for layer in layers)

    def forward(self, x: Tensor) -> Tensor:
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, torch.relu(x) if number else x, weight)
        return torch.tanh(x)


def similar(labels: Tensor) -> Tensor:
    return (labels @ labels.transpose(-1, -2)).clamp_max(1)


def milliseconds(step: Callable[[], None], device: torch.device) -> float:
    """Of one step, the least of several rounds."""
    best = float("inf")
    for _ in range(REPEAT):
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - start) / STEPS)
    return 1000 * best


def measured(cells: int, hidden: int, bits: int, device: torch.device) -> dict[str, Any]:
    torch.manual_seed(0)
    rows = [torch.randn(ROWS, width, device=device) for width in WIDTHS]
    labels = (torch.rand(ROWS, CLASSES, device=device) < 0.05).float()

    def tower(width: int) -> Tower:
        return Tower(HashHead({"pooled": width}, bits, hidden), {"pooled": width})

    one = Towers(*map(tower, WIDTHS)).to(device)
    descent = Descent.adamw([one], 1, 1e-3, 1e-3)

    def alone() -> None:
        index = torch.randint(ROWS, (BATCH,), device=device)
        outputs = one(*(x[index] for x in rows))
        descent.step({"pairs": pair_likelihood(outputs.image @ outputs.text.T / 2, similar(labels[index]))}, BATCH)

    heads = nn.ModuleList(StackedHead(cells, width, hidden, bits) for width in WIDTHS).to(device)
    together = Descent.adamw([heads], 1, 1e-3, 1e-3)

    def stacked() -> None:
        index = torch.randint(ROWS, (cells, BATCH), device=device)
        image, text = (head(x[index]) for head, x in zip(heads, rows, strict=True))
        theta = torch.bmm(image, text.transpose(1, 2)) / 2
        pairs = pair_likelihood(theta.flatten(0, 1), similar(labels[index]).flatten(0, 1))
        together.step({"pairs": cells * pairs}, BATCH)

    found = {"alone": milliseconds(alone, device), "stacked": milliseconds(stacked, device) / cells}
    row = {"hidden": hidden, "cells": cells} | {name: round(value, 3) for name, value in found.items()}
    return row | {"times": round(found["alone"] / found["stacked"], 2)}


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=numbers, default=[0, 128, 512], help="widths of the hidden layer, 0 for none")
    parser.add_argument("--cells", type=numbers, default=[5, 20], help="how many are stacked")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for hidden in asked.hidden:
        for cells in asked.cells:
            found.append(measured(cells, hidden, asked.bits, asked.device))
            if not asked.json:
                print("  ".join(f"{name} {value}" for name, value in found[-1].items()), flush=True)
    if asked.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
