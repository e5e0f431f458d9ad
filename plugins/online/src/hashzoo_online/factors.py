"""Latent factors that are orthogonal and balanced: the closest ones to a target, in closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def balanced_factors(target: Tensor, drawn: Callable[[int, int], Tensor]) -> Tensor:
    """The V that maximises tr(V^T Z) under V^T V = n I and V^T 1 = 0.

    With the centred Z = U s Q^T it is sqrt(n) U Q^T. Where Z lacks directions U is completed by random ones.

    Args:
        target: Z, (n, L) with n > L, float64.
        drawn: (n, count) standard normal numbers, `drawn(n, count)`.
    """
    rows = len(target)
    left, values, right = torch.linalg.svd(target - target.mean(dim=0), full_matrices=False)
    lacking = values <= values[0] * rows * torch.finfo(values.dtype).eps
    if lacking.any():
        left[:, lacking] = drawn(rows, int(lacking.sum()))
    # Small singular values leave their vectors neither centred nor orthogonal to the last digits: once more.
    ones = torch.full((rows, 1), rows**-0.5, dtype=target.dtype, device=target.device)
    basis, triangle = torch.linalg.qr(torch.cat([ones, left], dim=1))
    return rows**0.5 * (basis * triangle.diagonal().sign())[:, 1:] @ right
