"""What a model costs: its parameters, and the multiply-accumulates of its layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo.model import Towers


def cost_of(towers: Towers, image: Tensor, text: Tensor) -> dict[str, dict[str, int]]:
    """What it takes to encode one row: {"image": {"parameters", "macs"}, "text": {...}}.

    A frozen encoder is no part of a tower and not counted; one that was trained along is.

    Args:
        towers: of a trained model.
        image: what the image tower takes, one row.
        text: the same of the text tower.
    """
    return {
        role: {"parameters": parameters(tower), "macs": multiply_accumulates(tower, inputs)}
        for role, tower, inputs in (("image", towers.image, image), ("text", towers.text, text))
    }


def parameters(model: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def multiply_accumulates(model: nn.Module, *inputs: Tensor) -> int:
    """Of the linear and convolution layers of a model, in evaluation mode, for these inputs together.

    Products between activations, such as those of an attention, are not counted.
    """
    total = 0

    def count(layer: nn.Module, taken: tuple[Tensor, ...], given: Tensor) -> None:
        nonlocal total
        assert isinstance(layer.weight, Tensor)
        total += given.numel() * layer.weight[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    model.eval()
    try:
        model(*inputs)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total
