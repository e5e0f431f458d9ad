import numpy as np
import torch
from torch import nn

from hashzoo import Encoder, Trainer


class Tiny(Encoder):
    """A picture as 4 x 4 pixels; one parameter a feature, so that it can be trained along."""

    modality = "image"
    dim = 48

    def __init__(self, gain: float = 1.0):
        super().__init__()
        self.outputs = {"rows": 12}
        self.gain = gain
        self.scale = nn.Parameter(torch.full((48,), gain))

    def prepare(self, item):
        return torch.from_numpy(np.asarray(item.resize((4, 4)), dtype=np.uint8).transpose(2, 0, 1).copy())

    def forward(self, x):
        return x.flatten(1).float() / 255 * self.scale

    def forward_outputs(self, x):
        return {"pooled": self(x), "rows": (x.float() / 255).mean(3).flatten(1)}

    def card(self):
        return {"encoder": "tiny", "gain": self.gain}


class Fragile(Trainer):
    def __init__(self, bits: int = 32):
        self.bits = bits

    def fit(self, job):
        if job.bits == self.bits:
            raise RuntimeError(f"cannot make {job.bits} bits\nof [/this]")
        return job.towers()
