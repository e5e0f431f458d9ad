"""What every encoder promises, as one check; the tests of images and of texts share it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from hashzoo.encoders.base import Encoder


def check_contract(encoder: Encoder, items: Sequence[Any], *, tolerance: float = 1e-5) -> torch.Tensor:
    """Encode `items`, check the promises of `hashzoo.encoders.base.Encoder`, return the features.

    `tolerance` bounds what the other rows of a batch may change, relative to the largest feature.
    """
    assert not any(module.training for module in encoder.modules())
    before = torch.get_rng_state()
    prepared = [encoder.prepare(item) for item in items]
    assert len({(row.shape, row.dtype) for row in prepared}) == 1
    x = torch.stack(prepared)
    assert not x.is_floating_point()
    copy = x.clone()
    with torch.inference_mode():
        together = encoder(x)
        again = encoder(x)
        one_by_one = torch.cat([encoder(row[None]) for row in prepared])
        outputs = encoder.forward_outputs(x)
    assert torch.equal(x, copy)
    assert torch.equal(together, again)
    assert together.shape == (len(items), encoder.dim)
    assert together.dtype == torch.float32
    assert torch.isfinite(together).all()
    scale = together.abs().max()
    assert (together - one_by_one).abs().max() <= tolerance * scale
    widths = {name: value.shape[1] if value.ndim == 2 else tuple(value.shape[1:]) for name, value in outputs.items()}
    assert widths == {"pooled": encoder.dim, **encoder.outputs}
    assert all(value.dtype == torch.float32 for value in outputs.values())
    assert (outputs["pooled"] - together).abs().max() <= tolerance * scale
    assert torch.equal(before, torch.get_rng_state())
    card = encoder.card()
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    return together
