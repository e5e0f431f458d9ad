"""Towers: an encoder (or its cached features) and a hash head for each modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hashzoo import fused
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
        dropout: share of hidden units (of inputs, without a hidden layer) dropped in training, to 1/256.
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
        width, tanh = widths["pooled"], activation == "tanh"
        layers: list[nn.Module] = [Perceptron(width, hidden, bits, dropout, tanh)] if hidden else []
        if not hidden:
            layers += [Dropout(dropout)] if dropout else []
            layers += [nn.Linear(width, bits)]
            layers += [nn.Tanh()] if tanh else []
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


class Perceptron(nn.Module):
    """Linear, ReLU, dropout, linear, and tanh or nothing. In training it is one step of autograd.

    Args:
        width: of what it takes, (B, width).
        hidden: width of its hidden layer.
        bits: width of what it gives, (B, bits).
        dropout: share of hidden units dropped in training, to 1/256 (see `Dropout`).
        tanh: at the end.
    """

    def __init__(self, width: int, hidden: int, bits: int, dropout: float = 0.0, tanh: bool = True):
        super().__init__()
        self.hidden, self.output = nn.Linear(width, hidden), nn.Linear(hidden, bits)
        self.dropped, self.tanh = dropped_of_256(dropout), tanh

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.hidden, self.output
        if self.training:
            return _Perceptron.apply(x, first.weight, first.bias, second.weight, second.bias, self.dropped, self.tanh)
        values = second(torch.relu(first(x)))
        return torch.tanh(values) if self.tanh else values


class _Perceptron(torch.autograd.Function):
    """The layers of a `Perceptron` with their gradient, made in the memory of few tensors.

    Of the hidden layer its output says enough: what is zero there, below the ReLU's or dropped, has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, dropped: int, tanh: bool
    ) -> Tensor:
        hidden = torch.addmm(b1, x, w1.T)
        if dropped:
            _rectify_and_drop_(hidden, dropped)
        else:
            hidden.relu_()
        values = torch.addmm(b2, hidden, w2.T)
        if tanh:
            values.tanh_()
        ctx.save_for_backward(x, w1, w2, hidden, values)
        ctx.scale, ctx.tanh = _scale(dropped), tanh
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, w1, w2, hidden, values = ctx.saved_tensors
        if ctx.tanh:
            gradient = torch.addcmul(gradient, gradient * values, values, value=-1)
        slope = ((gradient * ctx.scale) @ w2).mul_(hidden.sign())
        of_x = slope @ w1 if ctx.needs_input_grad[0] else None
        return of_x, slope.T @ x, slope.sum(dim=0), gradient.T @ hidden, gradient.sum(dim=0), None, None


class Dropout(nn.Module):
    """`torch.nn.Dropout` from eight random bits a value: on a CPU, drawing whether to keep a value took as long as
    half a layer.

    Args:
        share: of the values that become zero in training, to the nearest of 1/256 to 255/256, by which the others
            are scaled up: 0.2 is 51/256.
    """

    def __init__(self, share: float):
        super().__init__()
        self.dropped = dropped_of_256(share)

    def forward(self, x: Tensor) -> Tensor:
        return x * _kept(x, self.dropped) if self.training and self.dropped else x


def dropped_of_256(share: float) -> int:
    """A share of dropout in 256ths: 0 for 0, and otherwise 1 to 255."""
    if not 0 <= share < 1:
        raise ValueError(f"dropout is a share from 0 to below 1, not {share}")
    return min(max(round(share * 256), 1), 255) if share else 0


def _scale(dropped: int) -> float:
    """By what dropout multiplies the values that it keeps, so that their mean stays."""
    return 256 / (256 - dropped)


def _kept(x: Tensor, dropped: int) -> Tensor:
    """What dropout multiplies each value by, as x: 0 with probability dropped / 256, otherwise the scale."""
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    drawn = words.view(torch.uint8)[: x.numel()].view(x.shape)
    return torch.ge(drawn, dropped, out=torch.empty_like(x)).mul_(_scale(dropped))


def _rectify_and_drop_(values: Tensor, dropped: int) -> None:
    """ReLU and dropout in place."""
    if values.device.type == "cpu" and values.dtype == torch.float32:
        seed = torch.empty((), dtype=torch.int64).random_().item()
        scale = np.float32(_scale(dropped))
        fused.rectify_and_drop(values.view(-1).numpy(), np.uint64(seed), np.uint8(dropped), scale)
    else:
        values.relu_().mul_(_kept(values, dropped))


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


def standard(features: Tensor, widths: Mapping[str, Width]) -> tuple[Tensor, Tensor]:
    """Centre (per feature) and scale (one number a named output) of training features, (n, width): (width,) each.

    The tokens of a sequence share one centre; padding has no say.
    """
    centre, scale = features.mean(dim=0), torch.empty(features.shape[1], device=features.device)
    sizes = [*map(numbers, widths.values())]
    parts = zip(*(x.split(sizes, dim=-1) for x in (features, centre, scale)), strict=True)
    for (part, mean, spread), width in zip(parts, widths.values(), strict=True):
        rows = part
        if not isinstance(width, int):
            rows = _without_padding(part.unflatten(1, width))
            mean.copy_(rows.mean(dim=0).repeat(width[0]))
        spread.fill_((rows - mean[: rows.shape[1]]).square().mean().sqrt().clamp_min(1e-6))
    return centre, scale


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
        self.set_standard(*standard(features, self.widths))

    def set_standard(self, mean: Tensor, scale: Tensor) -> None:
        """Set what `standard` gives."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What the head takes: standardised features by name."""
        if self.encoder is not None:
            outputs = self.encoder.forward_outputs(x)
            x = torch.cat([outputs[name].flatten(1) for name in self.widths], dim=1)
        raw = dict(zip(self.widths, x.split(self._sizes, dim=1), strict=True))
        x = (x.float() - self.mean).mul_(self.scale.reciprocal())
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
