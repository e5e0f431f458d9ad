"""Checks of losses: on batches that are made up, without any towers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo.model import Outputs
from hashzoo.testing.kit import Subject, check
from hashzoo.train import Batch

BITS, ROWS, CLASSES = 16, 12, 5


def build(subject: Subject) -> nn.Module:
    """The loss with its default settings."""
    return subject.target()()


def batch(labels: Tensor) -> Batch:
    """Rows with these labels (B, C); inputs of both modalities are noise, (B, 8)."""
    noise = torch.Generator().manual_seed(1)
    inputs = [torch.randn(len(labels), 8, generator=noise) for _ in range(2)]
    return Batch(torch.arange(len(labels)), inputs[0], inputs[1], labels.float())


def some_labels(rows: int = ROWS) -> Tensor:
    """One or two labels a row, so that some pairs of rows share one and others do not."""
    place = torch.arange(rows)
    return torch.eye(CLASSES)[place % CLASSES].maximum(torch.eye(CLASSES)[place * 3 % 4])


def some_outputs(rows: int = ROWS, seed: int = 0) -> Outputs:
    """Values in (-1, 1) that gradients can be asked of, as heads with tanh give them."""
    noise = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(rows, BITS, generator=noise).tanh().requires_grad_() for _ in range(2))
    return Outputs(image, text)


@check("loss")
def check_terms_are_named_finite_scalars(subject: Subject) -> None:
    """The loss returns a dict of at least one finite scalar by name."""
    terms = build(subject)(some_outputs(), batch(some_labels()))
    assert isinstance(terms, dict), f"it returns {type(terms).__name__}, not a dict of named terms"
    assert terms, "it returns no terms"
    for name, term in terms.items():
        assert isinstance(name, str), f"the name of a term is {name!r}, not a string"
        assert isinstance(term, Tensor), f"'{name}' is {type(term).__name__}, not a tensor"
        assert term.shape == (), f"'{name}' has the shape {tuple(term.shape)}, not that of a scalar"
        assert torch.isfinite(term), f"'{name}' is {term.item()}"
