"""Towers: an encoder (or its cached features) and a hash head for each modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hashzoo.encoders.base import Encoder, Width, numbers


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


def sequence(x: Mapping[str, Tensor], name: str = "tokens") -> tuple[Tensor, Tensor]:
    """A named sequence of what a head takes, (B, tokens, width), and which of its tokens are padding, (B, tokens) bool.

    Where the encoder has none: the feature vector as a sequence of one token, without padding.
    """
    if name not in x:
        tokens = x["pooled"][:, None]
        return tokens, torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return x[name], ~x[name].any(dim=2)


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
    and scaled by statistics of the training rows before the head sees them; of a sequence all tokens
    alike, and padding, which is zero, stays so.

    Args:
        head: takes {"pooled": (B, dim), ...}, of a sequence (B, tokens, width), and gives (B, bits).
        widths: width of each named output, in the order in which they lie side by side.
        encoder: None when the input is features.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: nn.Module, widths: Mapping[str, Width], encoder: Encoder | None = None):
        super().__init__()
        self.head = head
        self.encoder = encoder
        self.widths: dict[str, Any] = dict(widths)
        self._sizes = [numbers(width) for width in widths.values()]
        self.register_buffer("mean", torch.zeros(sum(self._sizes)))
        self.register_buffer("scale", torch.ones(sum(self._sizes)))

    def standardise(self, features: Tensor) -> None:
        """Set centre (per feature) and scale (one number a named output) from training features, (n, width)."""
        self.mean.copy_(features.mean(dim=0))
        parts = zip(*(x.split(self._sizes, dim=-1) for x in (features, self.mean, self.scale)), strict=True)
        for (part, mean, scale), width in zip(parts, self.widths.values(), strict=True):
            rows = part
            if not isinstance(width, int):
                rows = _without_padding(part.unflatten(1, width))
                mean.copy_(rows.mean(dim=0).repeat(width[0]))
            scale.fill_((rows - mean[: rows.shape[1]]).square().mean().sqrt().clamp_min(1e-6))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What the head takes: standardised features by name."""
        if self.encoder is not None:
            outputs = self.encoder.forward_outputs(x)
            x = torch.cat([outputs[name].flatten(1) for name in self.widths], dim=1)
        raw = dict(zip(self.widths, x.split(self._sizes, dim=1), strict=True))
        x = (x.float() - self.mean) / self.scale
        found = dict(zip(self.widths, x.split(self._sizes, dim=1), strict=True))
        for name, width in self.widths.items():
            if not isinstance(width, int):
                there = raw[name].unflatten(1, width).any(dim=2, keepdim=True)
                found[name] = found[name].unflatten(1, width) * there
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def _without_padding(tokens: Tensor) -> Tensor:
    """The tokens of all rows that are no padding, (n, T, width) to (m, width); one of zeros where there are none."""
    found = tokens[tokens.any(dim=2)]
    return found if len(found) else tokens.new_zeros(1, tokens.shape[2])


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
