"""Towers: an encoder (or its cached features) and a hash head for each modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hashzoo.encoders.base import Encoder


@dataclass
class Outputs:
    """Real-valued codes of a batch, (B, bits) each; bit = value > 0."""

    image: Tensor
    text: Tensor


class HashHead(nn.Module):
    """Features to real-valued codes: linear, or one hidden layer with ReLU; tanh or nothing at the end.

    Args:
        widths: width of each named input; this head reads "pooled" alone.
        bits: code length.
        hidden: width of the hidden layer, 0 for none.
        dropout: share of hidden units (of inputs, without a hidden layer) dropped in training.
        activation: "tanh" or "none" (DCMH's heads have no tanh).
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        bits: int,
        hidden: int = 512,
        dropout: float = 0.0,
        activation: str = "tanh",
    ):
        super().__init__()
        if activation not in ("tanh", "none"):
            raise ValueError(f"activation is tanh or none, not '{activation}'")
        layers: list[nn.Module] = [nn.Linear(widths["pooled"], hidden), nn.ReLU()] if hidden else []
        layers += [Dropout(dropout)] if dropout else []
        layers += [nn.Linear(hidden or widths["pooled"], bits)]
        layers += [nn.Tanh()] if activation == "tanh" else []
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.layers(x["pooled"])


class Pooled(nn.Module):
    """The standardised feature vector as it is, in the place of a head."""

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return x["pooled"]


class Dropout(nn.Module):
    """`torch.nn.Dropout` from 16 random bits a value: on a CPU, drawing whether to keep a value took as long as
    half a layer.

    Args:
        share: of the values that become zero in training, as a multiple of 1/65,536; the others are scaled up.
    """

    def __init__(self, share: float):
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"dropout is a share from 0 to below 1, not {share}")
        self.dropped = round(share * 2**16)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = torch.ge(bits, self.dropped - 2**15, out=torch.empty_like(x))
        return x * kept.mul_(2**16 / (2**16 - self.dropped))


class RandomHead(nn.Module):
    """Codes that look random: the sign of a fast sine of a random projection of the features.

    Equal features get equal codes, so that encoding stays a function of the item; all else is noise.
    """

    projection: Tensor

    def __init__(self, widths: Mapping[str, int], bits: int):
        super().__init__()
        self.register_buffer("projection", torch.randn(widths["pooled"], bits))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return torch.sin(100 * (x["pooled"] @ self.projection))


class Tower(nn.Module):
    """One modality: prepared items or cached features in, (B, bits) real values out.

    The input is one flat row per item: the features (all named outputs side by side) of a frozen
    encoder, or, when the encoder is trained along, what its `prepare` made. Features are centred
    and scaled by statistics of the training rows before the head sees them.

    Args:
        head: takes {"pooled": (B, dim), ...} and gives (B, bits).
        widths: width of each named output, in the order in which they lie side by side.
        encoder: None when the input is features.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: nn.Module, widths: Mapping[str, int], encoder: Encoder | None = None):
        super().__init__()
        self.head = head
        self.encoder = encoder
        self.widths = dict(widths)
        self.register_buffer("mean", torch.zeros(sum(widths.values())))
        self.register_buffer("scale", torch.ones(sum(widths.values())))

    def standardise(self, features: Tensor) -> None:
        """Set centre (per feature) and scale (one number a named output) from training features, (n, width)."""
        self.mean.copy_(features.mean(dim=0))
        parts = (features - self.mean).split(list(self.widths.values()), dim=1)
        scales = [part.square().mean().sqrt().clamp_min(1e-6).expand(part.shape[1]) for part in parts]
        self.scale.copy_(torch.cat(scales))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What the head takes: standardised features by name."""
        if self.encoder is not None:
            outputs = self.encoder.forward_outputs(x)
            x = torch.cat([outputs[name] for name in self.widths], dim=1)
        x = (x.float() - self.mean) / self.scale
        return dict(zip(self.widths, x.split(list(self.widths.values()), dim=1), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Towers(nn.Module):
    """The image tower and the text tower of one model."""

    def __init__(self, image: nn.Module, text: nn.Module):
        super().__init__()
        self.image = image
        self.text = text

    def forward(self, image: Tensor, text: Tensor) -> Outputs:
        return Outputs(self.image(image), self.text(text))


@torch.no_grad()
def encode(tower: nn.Module, inputs: Tensor, batch: int = 1024) -> Tensor:
    """Real-valued codes of all rows, (n, bits) on the CPU, in evaluation mode."""
    device = next((p.device for p in [*tower.parameters(), *tower.buffers()]), torch.device("cpu"))
    training = tower.training
    tower.eval()
    try:
        return torch.cat([tower(rows.to(device)).float().cpu() for rows in inputs.split(batch)])
    finally:
        tower.train(training)
