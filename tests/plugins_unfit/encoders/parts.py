import os
import random

import numpy as np
import torch
from torch import nn

from hashzoo import Encoder
from hashzoo.encoders.weights import weights_card
from hashzoo.errors import HashzooError


def from_the_system():
    return torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "little"))


class Fit(Encoder):
    """A picture as 4 x 4 pixels, scaled by parameters; its rows are a second output."""

    modality = "image"
    dim = 48

    def __init__(self, gain: float = 1.0, grey: bool = False, pixels: int = 64, weights: str = "pretrained"):
        super().__init__()
        if weights != "random":
            raise HashzooError("there are no weights but random ones")
        if pixels % 32:
            raise ValueError("pixels must be a multiple of 32")
        self.outputs = {"rows": 12}
        self.gain, self.grey, self.pixels, self.weights = gain, grey, pixels, weights
        self.scale = nn.Parameter(torch.linspace(gain, 2 * gain, 48))

    def prepare(self, item):
        small = item.resize((self.pixels, self.pixels)).resize((4, 4))
        small = small.convert("L").convert("RGB") if self.grey else small
        return torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())

    def forward(self, x):
        return x.flatten(1).float() / 255 * self.scale

    def forward_outputs(self, x):
        return {"pooled": self(x), "rows": (x.float() / 255).mean(3).flatten(1)}

    def card(self):
        settings = {"encoder": "fit", "gain": self.gain, "grey": self.grey, "pixels": self.pixels}
        return settings | weights_card(self, self.weights)


class FitForBoth(Fit):
    """Texts are pictures of their bytes."""

    def __init__(self, modality: str, weights: str = "pretrained"):
        super().__init__(weights=weights)
        self.modality = modality

    def prepare(self, item):
        if self.modality == "image":
            return super().prepare(item)
        row = np.frombuffer(item.encode()[:48].ljust(48, b"\0"), dtype=np.uint8)
        return torch.from_numpy(row.reshape(3, 4, 4).copy())

    def card(self):
        return super().card() | {"modality": self.modality}


class Uninstalled(Fit):
    def __init__(self):
        raise HashzooError("its weights come with a package; type: pip install the-package")


class Unsaid(Fit):
    modality = "picture"


class KeepsTheShape(Fit):
    def prepare(self, item):
        width = max(1, 4 * item.width // item.height)
        return torch.from_numpy(np.asarray(item.resize((width, 4))).transpose(2, 0, 1).copy())


class Double(Fit):
    def forward(self, x):
        return super().forward(x).double()


class MeanOfLetters(Encoder):
    modality = "text"
    dim = 256

    def prepare(self, item):
        counts = np.bincount(np.frombuffer(item.encode(), dtype=np.uint8), minlength=256)
        return torch.from_numpy(counts.astype(np.int32))

    def forward(self, x):
        return x.float() / x.sum(dim=1, keepdim=True)

    def card(self):
        return {"encoder": "mean-of-letters"}


class PromisesMore(Fit):
    def __init__(self, weights: str = "pretrained"):
        super().__init__(weights=weights)
        self.outputs = {"rows": 16}


class PoolsOtherwise(Fit):
    def forward_outputs(self, x):
        return super().forward_outputs(x) | {"pooled": 2 * self(x)}


class CentresBatches(Fit):
    def forward(self, x):
        features = super().forward(x)
        return features - features.mean(dim=0) if len(features) > 1 else features


class Constant(Fit):
    def forward(self, x):
        return self.scale.expand(len(x), -1)


class CutsAnywhere(Fit):
    def prepare(self, item):
        left = int(torch.randint(item.width // 2 + 1, (1,), generator=from_the_system()))
        return super().prepare(item.crop((left, 0, left + item.width // 2 + 1, item.height)))


class Noisy(Fit):
    def forward(self, x):
        features = super().forward(x)
        return features + 1e-6 * torch.randn(features.shape, generator=from_the_system())


class WritesIntoPictures(Fit):
    def prepare(self, item):
        item.putpixel((0, 0), (0, 0, 0))
        return super().prepare(item)


class Drawn(Fit):
    def __init__(self, gain: float = 1.0):
        super().__init__(gain, weights="random")
        self.scale = nn.Parameter(gain * torch.rand(48, generator=from_the_system()))

    def card(self):
        return {"encoder": "drawn", "gain": self.gain}


class UnwritableCard(Fit):
    def card(self):
        return super().card() | {"precision": torch.float32}


class CardOfTheDay(Fit):
    def card(self):
        return super().card() | {"made": os.urandom(4).hex()}


class HidesRandomWeights(Fit):
    def card(self):
        card = super().card()
        return card | {"weights": card["digest"]}


class ForgetsASetting(Fit):
    def card(self):
        return {name: value for name, value in super().card().items() if name != "grey"}


class ForgetsItsWeights(Fit):
    def card(self):
        return {name: value for name, value in super().card().items() if name != "digest"}


class DrawsGlobally(Fit):
    def prepare(self, item):
        random.random()
        return super().prepare(item)


class LetsNothingThrough(Fit):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)
